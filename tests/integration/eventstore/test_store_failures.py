"""What a store says when its database does not fit, is away, or fails in the middle."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from drivewake.eventstore.errors import StoreMismatchError, StoreUnavailableError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import Batch
from drivewake.lab.servers import PostgresServer, free_port
from drivewake.lab.suites.eventstore import an_event, eventually

WAITING_WRITERS = (
    "from pg_stat_activity where datname = current_database()"
    " and application_name = 'drivewake-writer' and wait_event_type = 'Lock'"
)
CUT = "count(pg_terminate_backend(pid))"


async def test_database_without_schema_does_not_fit(clone_database: Callable[..., str]) -> None:
    """Opening a store in a database that was not migrated fails at once, clearly."""
    with pytest.raises(StoreMismatchError, match="does not fit: UndefinedTableError"):
        async with PostgresStore.open(clone_database("template1")):
            pass


async def test_wrong_password_does_not_fit(postgres_server: PostgresServer, database: str) -> None:
    """A refused password is no outage: it is said at once, without the password."""
    name = database.rpartition("/")[2]
    with pytest.raises(StoreMismatchError) as caught:
        async with PostgresStore.open(postgres_server.dsn(name, password="hunter2")):
            pass
    assert "hunter2" not in str(caught.value)


async def test_database_that_is_away_is_unavailable() -> None:
    """Nothing listens there: unavailable, which is retried by whoever can wait."""
    with pytest.raises(StoreUnavailableError):
        async with PostgresStore.open(f"postgresql://u:p@127.0.0.1:{free_port()}/d"):
            pass


async def test_database_that_forgets_commits_is_refused(database: str) -> None:
    """With synchronous_commit off, acknowledged events could be lost: the store does not open."""
    session = await asyncpg.connect(database)
    name = database.rpartition("/")[2]
    await session.execute(f"alter database {name} set synchronous_commit = off")
    await session.close()
    with pytest.raises(StoreMismatchError, match="synchronous_commit"):
        async with PostgresStore.open(database):
            pass


async def test_cut_append_writes_nothing_and_the_next_works(database: str) -> None:
    """An append whose session is cut while it waits for the lane leaves nothing behind."""
    batch = Batch(events=[an_event()])
    async with PostgresStore.open(database) as store:
        session = await asyncpg.connect(database)
        await session.execute("begin; select from eventstore.lane where id = 0 for update")
        appending = asyncio.create_task(store.append(batch))
        await eventually(lambda: session.fetchval(f"select {CUT} {WAITING_WRITERS}"))
        with pytest.raises(StoreUnavailableError):
            await appending
        await session.close()
        assert 0 == await store.last_position(0)
        assert 1 == (await store.append(batch)).stored


async def test_cancelled_append_writes_nothing_and_the_next_works(database: str) -> None:
    """An append that is cancelled while it waits gives its session up, not on."""
    async with PostgresStore.open(database, writers=1) as store:
        session = await asyncpg.connect(database)
        await session.execute("begin; select from eventstore.lane where id = 0 for update")
        appending = asyncio.create_task(store.append(Batch(events=[an_event()])))
        await eventually(lambda: session.fetchval(f"select count(*) {WAITING_WRITERS}"))
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        await session.close()
        assert 1 == (await store.append(Batch(events=[an_event()]))).first_position


async def test_lease_ends_with_its_session(database: str) -> None:
    """Who lost the session of its lock is told so, and another gets the lock."""
    async with PostgresStore.open(database) as store:
        session = await asyncpg.connect(database)
        async with store.exclusive("relay", 0) as lease:
            await lease.check()
            await session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'drivewake-lease' and datname = current_database()"
            )
            async with store.exclusive("relay", 0) as other:
                await other.check()
                await asyncio.sleep(1.1)  # a lease asks the server once a second
                with pytest.raises(StoreUnavailableError):
                    await lease.check()
        await session.close()
