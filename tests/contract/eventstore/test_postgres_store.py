"""The store in Postgres keeps the store's promises."""

from collections.abc import AsyncIterator

import pytest

from drivewake.eventstore.postgres import PostgresStore
from drivewake.lab.suites.eventstore import EventStoreContract


class TestPostgresStore(EventStoreContract):
    """The contract, in a real database."""

    @pytest.fixture
    async def store(self, database: str) -> AsyncIterator[PostgresStore]:
        """A store in a database of its own."""
        async with PostgresStore.open(database) as store:
            yield store
