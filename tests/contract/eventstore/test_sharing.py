"""Sharing out numbers, in memory and in Postgres; and a member whose session is cut."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sharing import MemorySharing, Sharing
from drivewake.lab.suites.sharing import SharingContract


class TestMemorySharing(SharingContract):
    """The contract, in memory."""

    @pytest.fixture
    async def sharing(self) -> Sharing:
        """A fresh one."""
        return MemorySharing()


class TestPostgresSharing(SharingContract):
    """The contract, in Postgres."""

    @pytest.fixture
    async def sharing(self, database: str) -> AsyncIterator[Sharing]:
        """A fresh database."""
        async with PostgresStore.open(database) as store:
            yield store

    async def test_cut_session_has_lost_its_numbers_and_hears_of_it(
        self, sharing: Sharing, database: str
    ) -> None:
        """What the database does to a member that is silent for too long."""
        async with sharing.shares("a") as first, sharing.shares("a") as second:
            await first.claim(1)
            me = (await first.standing()).me
            admin = await asyncpg.connect(database)
            await admin.execute("select pg_terminate_backend($1, 5000)", me)
            await admin.close()
            assert await second.claim(1)
            with pytest.raises(StoreUnavailableError):
                await first.standing()
