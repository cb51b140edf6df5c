"""What the normalizer needs of the world, beside the bus."""

from collections.abc import Sequence
from typing import Protocol

from drivewake.contracts.dead import DeadLetter
from drivewake.eventstore.store import Appender, Coordination, HeadReader


class Store(Appender, HeadReader, Protocol):
    """The event store, as far as the normalizer uses it."""


class ConsumerStore(Store, Coordination, Protocol):
    """The same, with the lock that lets one replica consume at a time."""


class SightingIndex(Protocol):
    """Finds the heads of files that a connection ever saw. Raises StoreUnavailableError."""

    async def files(
        self, tenant: str, connection: str, partition: int, after: str, limit: int
    ) -> Sequence[str]:
        """Return the next file ids behind `after` (first ""), in an order of its own, each once.

        Holds every file of the partition whose head tells of a sighting by the connection
        committed before the call; it may hold more.
        """
        ...


class Graveyard(Protocol):
    """Keeps what cannot be handled."""

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters durably; raises BusError: then none may be acknowledged."""
        ...
