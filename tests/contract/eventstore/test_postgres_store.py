"""The store in Postgres keeps the store's promises."""

from collections.abc import AsyncIterator

import pytest

from drivewake.eventstore import postgres
from drivewake.eventstore.postgres import PostgresStore
from drivewake.lab.suites.eventstore import EventStoreContract


class TestPostgresStore(EventStoreContract):
    """The contract, in a real database."""

    @pytest.fixture
    async def store(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[PostgresStore]:
        """A store in a database of its own, which looks through few events at a time."""
        monkeypatch.setattr(postgres, "STRIDE", 2)
        async with PostgresStore.open(database) as store:
            yield store
