"""What the normalizer needs of the world, beside the bus."""

from collections.abc import Sequence
from typing import Protocol

from drivewake.eventstore.store import Appender, HeadReader
from drivewake.normalizer.decisions import Refetch


class Store(Appender, HeadReader, Protocol):
    """The event store, as far as the normalizer uses it."""


class Refetcher(Protocol):
    """Lets what lies below folders be read anew."""

    async def refetch(self, wanted: Sequence[Refetch]) -> None:
        """Ask for it; returning means that it is not forgotten. Raises BusError: ask again.

        Asking twice for the same does no harm: what did not change makes no event.
        """
        ...
