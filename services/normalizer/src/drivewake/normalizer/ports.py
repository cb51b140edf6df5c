"""What the normalizer needs of the world, beside the bus."""

from typing import Protocol

from drivewake.eventstore.store import Appender, HeadReader


class Store(Appender, HeadReader, Protocol):
    """The event store, as far as the normalizer uses it."""
