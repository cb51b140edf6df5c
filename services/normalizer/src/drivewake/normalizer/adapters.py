"""The normalizer's ports over NATS."""

from collections.abc import Sequence

from drivewake.contracts.dead import DeadLetter, encode_dead
from drivewake.normalizer.burial import DEAD_SUBJECT
from drivewake.runtime.bus import Message, Publisher


class BusGraveyard:
    """Dead letters into DRIVE_DEAD."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See ports.Graveyard."""
        for letter in letters:
            await self._publisher.publish(Message(subject=DEAD_SUBJECT, data=encode_dead(letter)))
