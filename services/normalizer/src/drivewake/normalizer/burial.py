"""What cannot be decoded or decided: kept whole in DRIVE_DEAD, as long as it is the exception."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec

from drivewake.contracts.dead import DeadLetter
from drivewake.normalizer import metrics
from drivewake.normalizer.limits import DeadBound
from drivewake.runtime.bus import Delivery
from drivewake.runtime.clock import Clock
from drivewake.runtime.dead import MAX_REASON_CHARS, Graveyard, dead_delivery
from drivewake.runtime.logging import get_logger

SERVICE: Final = "normalizer"
MAX_COUNTED: Final = 10_000
"""So many of the latest dead messages are known again when they are delivered again."""

_log = get_logger(__name__)


class Corpse(msgspec.Struct, frozen=True):
    """A message that cannot be handled, the stream it stands in, and why."""

    delivery: Delivery
    stream: str
    reason: str

    @property
    def place(self) -> tuple[str, int]:
        """Which message it is, however often it is delivered."""
        return self.stream, self.delivery.stream_sequence

    def letter(self, at: dt.datetime) -> DeadLetter:
        """Return what is buried."""
        return dead_delivery(SERVICE, self.stream, self.delivery, self.reason, at)


class Burial:
    """Buries messages durably, so that they may be acknowledged."""

    def __init__(self, graveyard: Graveyard, bound: DeadBound, clock: Clock) -> None:
        self._graveyard = graveyard
        self._bound = bound
        self._clock = clock
        self._counted: dict[tuple[str, int], None] = {}

    async def bury(self, verdicts: Sequence[Corpse | None]) -> None:
        """Keep the dead among messages in order (None: alive) as dead letters.

        Raises TooManyDeadError before any is buried, and BusError. A message counts once,
        after it was buried: retries must not make one fault look like many.
        """
        fresh = [each for each in verdicts if each is None or each.place not in self._counted]
        dead = [each is not None for each in fresh]
        corpses = [each for each in verdicts if each is not None]
        reason = corpses[-1].reason if corpses else ""
        if corpses:
            self._bound.check(dead, reason)
            await self._graveyard.bury([corpse.letter(self._clock.now()) for corpse in corpses])
            self._tell(corpses, counted=sum(dead))
        self._bound.note(dead, reason)

    def _tell(self, corpses: Sequence[Corpse], *, counted: int) -> None:
        metrics.MESSAGES.add(counted, outcome="dead")
        self._counted |= {corpse.place: None for corpse in corpses}
        while len(self._counted) > MAX_COUNTED:
            del self._counted[next(iter(self._counted))]
        for corpse in corpses:
            _log.error(
                f"a message went to the dead letters: {corpse.reason[:MAX_REASON_CHARS]}",
                action="dead",
                stream=corpse.stream,
                sequence=corpse.delivery.stream_sequence,
            )
