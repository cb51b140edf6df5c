"""What the normalizer needs of the world, beside the bus."""

from typing import Protocol

from drivewake.eventstore.store import Appender, Coordination, HeadReader


class Store(Appender, HeadReader, Protocol):
    """The event store, as far as the normalizer uses it."""


class ConsumerStore(Store, Coordination, Protocol):
    """The same, with the lock that lets one replica consume at a time."""
