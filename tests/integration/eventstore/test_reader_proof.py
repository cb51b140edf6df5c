"""A reader that follows positions never loses an event, and the test that says so can fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg
import pytest

from drivewake.eventstore.appending import write
from drivewake.eventstore.connections import WRITER, AnyConnection, connect
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import Batch
from drivewake.lab.suites.eventstore import an_event

WRITERS = 3
BATCHES = 25
HOLD_S = 0.05
Hold = Callable[[], Awaitable[None]]


class Design(Protocol):
    """A way to give events positions."""

    async def write(self, session: AnyConnection, names: list[str], hold: Hold) -> None:
        """Write events in one transaction; await `hold` before its commit."""
        ...

    async def read(self, after: int) -> list[tuple[int, str]]:
        """Return position and name of what stands behind a position, in order."""
        ...


class Lane:
    """Ours: positions are handed out under a lock that is held until the commit."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def write(self, session: AnyConnection, names: list[str], hold: Hold) -> None:
        """Append, and dawdle before the commit."""
        async with session.transaction():
            await write(session, Batch(events=[an_event(file=name) for name in names]))
            await hold()

    async def read(self, after: int) -> list[tuple[int, str]]:
        """Read through the store."""
        return [(event.position, event.stream) for event in await self._store.read(0, after, 1000)]


class Serial:
    """The naive one: a sequence."""

    def __init__(self, session: AnyConnection) -> None:
        self._session = session

    async def write(self, session: AnyConnection, names: list[str], hold: Hold) -> None:
        """Insert, and dawdle before the commit."""
        async with session.transaction():
            await session.execute("insert into naive (name) select unnest($1::text[])", names)
            await hold()

    async def read(self, after: int) -> list[tuple[int, str]]:
        """Read as one would."""
        return [
            (row["position"], row["name"])
            for row in await self._session.fetch(
                "select position, name from naive where position > $1 order by position", after
            )
        ]


async def lost_by_a_reader(design: Design, dsn: str) -> tuple[set[str], list[int]]:
    """Let writers race before a reader; return the names it never saw, and what it saw twice.

    Every fifth transaction dawdles until another one has committed and was read, or for
    50 ms where that cannot be; a writer of another database holds a transaction open all the
    time, which is what designs by transaction ids stumble upon.
    """
    written: set[str] = set()
    seen: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def hold() -> None:
        before = len(seen)
        for _ in range(20):
            await asyncio.sleep(HOLD_S / 20)
            if len(seen) > before:
                return

    async def at_once() -> None:
        return

    async def write(number: int) -> None:
        session = await connect(dsn, WRITER)
        try:
            for batch in range(BATCHES):
                names = [f"w{number}b{batch}e{event}" for event in range(1 + batch % 4)]
                await design.write(session, names, hold if batch % 5 == number else at_once)
                written.update(names)
        finally:
            await session.close()

    async def read() -> None:
        position = 0
        while True:
            last = done.is_set()
            found = await design.read(position)
            seen.extend(found)
            position = found[-1][0] if found else position
            if last and not found:
                return

    async with _blocker(dsn):
        reading = asyncio.create_task(read())
        await asyncio.gather(*(write(number) for number in range(WRITERS)))
        done.set()
        await reading
    names = [name for _, name in seen]
    assert len(set(names)) == len(names)
    return written - set(names), [position for position, _ in seen]


@asynccontextmanager
async def _blocker(dsn: str) -> AsyncIterator[None]:
    session = await asyncpg.connect(dsn.rpartition("/")[0] + "/postgres")
    try:
        async with session.transaction():
            await session.fetchval("select pg_current_xact_id()")
            yield
    finally:
        await session.close()


async def test_reader_of_a_lane_loses_nothing(database: str) -> None:
    """With racing writers and long transactions the reader sees every event, densely, once."""
    async with PostgresStore.open(database) as store:
        await store.append(Batch(events=[an_event(file="first")]))
        lost, positions = await lost_by_a_reader(Lane(store), database)
    assert set() == lost
    assert list(range(1, len(positions) + 1)) == positions


async def test_reader_of_a_serial_loses_events(database: str) -> None:
    """The same race in front of a sequence loses events: the test above can fail."""
    session = await asyncpg.connect(database)
    try:
        await session.execute("create table naive (position bigserial primary key, name text)")
        lost, _ = await lost_by_a_reader(Serial(session), database)
    finally:
        await session.close()
    assert set() != lost


@pytest.mark.parametrize("statement", ["commit", "rollback"])
async def test_paused_writer_delays_and_skips_nothing(database: str, statement: str) -> None:
    """While an append is open, no later position is visible; how it ends decides what is."""
    async with PostgresStore.open(database) as store:
        session = await connect(database, WRITER)
        try:
            await session.execute("begin")
            await write(session, Batch(events=[an_event(file="slow")]))
            quick = asyncio.create_task(store.append(Batch(events=[an_event(file="quick")])))
            await asyncio.sleep(HOLD_S)
            assert not quick.done()
            assert [] == list(await store.read(0, 0, 10))
            await session.execute(statement)
            await quick
        finally:
            await session.close()
        expected = ["slow", "quick"] if statement == "commit" else ["quick"]
        assert expected == [event.stream for event in await store.read(0, 0, 10)]
        assert len(expected) == await store.last_position(0)
