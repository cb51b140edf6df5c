"""What the normalizer needs of the world, beside the bus."""

from collections.abc import Sequence
from typing import Protocol

from drivewake.contracts.dead import DeadLetter
from drivewake.eventstore.store import Appender, Coordination, HeadReader


class Store(Appender, HeadReader, Protocol):
    """The event store, as far as the normalizer uses it."""


class ConsumerStore(Store, Coordination, Protocol):
    """The same, with the lock that lets one replica consume at a time."""


class Graveyard(Protocol):
    """Keeps what cannot be handled."""

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters durably; raises BusError: then none may be acknowledged."""
        ...
