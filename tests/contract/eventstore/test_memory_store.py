"""The store in memory keeps the store's promises."""

import pytest

from drivewake.eventstore.memory import MemoryStore
from drivewake.lab.suites.eventstore import EventStoreContract


class TestMemoryStore(EventStoreContract):
    """The contract, in memory."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """A fresh store."""
        return MemoryStore()
