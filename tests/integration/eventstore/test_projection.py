"""Projections: followed, crashed, rebuilt and replaced by newer versions."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from drivewake.contracts.subjects import DOORBELL
from drivewake.eventstore.connections import AnyConnection
from drivewake.eventstore.errors import ProjectionFailedError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.store import Batch, StoredEvent
from drivewake.lab.suites.eventstore import an_event, eventually
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus


class Journal:
    """A projection that writes down the positions it was given, as often as it was given them."""

    name = "journal"

    def __init__(self, version: int = 1, *, fails_at: int = 0, waits: bool = False) -> None:
        self.version = version
        self.fails_at = fails_at
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        if not waits:
            self.go_on.set()

    @property
    def schema_sql(self) -> str:
        """One table."""
        return "create table entry (position bigint, version integer)"

    async def apply(self, connection: AnyConnection, events: Sequence[StoredEvent]) -> None:
        """Write down, or fail."""
        self.entered.set()
        await self.go_on.wait()
        if any(event.position == self.fails_at for event in events):
            raise ValueError
        await connection.executemany(
            "insert into entry values ($1, $2)",
            [(event.position, self.version) for event in events],
        )


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """A store with ten events."""
    async with PostgresStore.open(database) as store:
        await store.append(Batch(events=[an_event() for _ in range(10)]))
        yield store


@pytest.fixture
async def session(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Somebody who reads the read model."""
    session = await asyncpg.connect(database)
    yield session
    await session.close()


async def entries(session: AnyConnection) -> list[tuple[int, int]]:
    """Return position and version of every entry."""
    try:
        rows = await session.fetch("select position, version from journal.entry order by 1")
    except asyncpg.UndefinedTableError:
        return []
    return [(row[0], row[1]) for row in rows]


def of_version(version: int, count: int = 10) -> list[tuple[int, int]]:
    """Return the entries of one version, each position once."""
    return [(position, version) for position in range(1, count + 1)]


async def test_runner_applies_what_is_there_and_what_comes(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """A runner makes its schema, applies everything once, and goes on with what comes."""
    bus, stop = MemoryBus(), Stop()
    runner = ProjectionRunner(database, store, Journal())
    running = asyncio.create_task(runner.run(bus, stop))

    async def reached(count: int) -> bool:
        return len(await entries(session)) >= count

    await eventually(lambda: reached(10))
    await store.append(Batch(events=[an_event() for _ in range(5)]))
    await bus.ring(DOORBELL)
    await eventually(lambda: reached(15))
    stop.request()
    await running
    assert of_version(1, 15) == await entries(session)


async def test_cut_connections_repeat_nothing(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """When its connection dies within a batch, the batch is applied once by the next one."""
    bus, stop, journal = MemoryBus(), Stop(), Journal(waits=True)
    running = asyncio.create_task(ProjectionRunner(database, store, journal).run(bus, stop))
    await journal.entered.wait()
    killed = await session.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where application_name = 'drivewake-projector' and datname = current_database()"
    )
    journal.go_on.set()

    async def done() -> bool:
        return len(await entries(session)) >= 10

    await eventually(done)
    stop.request()
    await running
    assert (1, of_version(1)) == (killed, await entries(session))


async def test_one_runner_works_at_a_time(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """Of several runners one applies; another takes over when it ends."""
    bus = MemoryBus()
    stops = [Stop() for _ in range(3)]
    running = [
        asyncio.create_task(ProjectionRunner(database, store, Journal()).run(bus, stop))
        for stop in stops
    ]
    for stop, task in zip(stops, running, strict=True):
        before = len(await entries(session))
        await store.append(Batch(events=[an_event()]))

        async def moved(before: int = before) -> bool:
            return len(await entries(session)) > before

        await eventually(moved)
        stop.request()
        await task
    assert of_version(1, await store.last_position(0)) == await entries(session)


async def test_rebuild_gives_what_was_there(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """A rebuilt read model equals the one that followed, and progress was told."""
    runner = ProjectionRunner(database, store, Journal())
    await runner.catch_up()
    before = await entries(session)
    told: list[tuple[int, int]] = []
    await runner.rebuild(lambda position, head: told.append((position, head)))
    assert before == await entries(session)
    assert (10, 10) == told[-1]
    assert ["journal"] == await schemas(session)


async def schemas(session: AnyConnection) -> list[str]:
    """Return the schemas of the read model."""
    rows = await session.fetch("select nspname from pg_namespace where nspname like 'journal%'")
    return [row[0] for row in rows]


async def test_rebuild_beside_a_working_runner(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """While rebuilds switch, the live runner goes on, and every event is applied once."""
    bus, stop = MemoryBus(), Stop()
    running = asyncio.create_task(ProjectionRunner(database, store, Journal()).run(bus, stop))
    for _ in range(5):
        for _ in range(4):
            await store.append(Batch(events=[an_event() for _ in range(5)]))
            await bus.ring(DOORBELL)
        await ProjectionRunner(database, store, Journal()).rebuild()
    head = await store.last_position(0)

    async def done() -> bool:
        return len(await entries(session)) >= head

    await eventually(done)
    stop.request()
    await running
    assert of_version(1, head) == await entries(session)


async def test_newer_version_is_built_beside_and_takes_over(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """A runner of a newer version rebuilds; one of an older version then stands by."""
    await ProjectionRunner(database, store, Journal(1)).catch_up()
    bus, stop = MemoryBus(), Stop()
    newer = asyncio.create_task(ProjectionRunner(database, store, Journal(2)).run(bus, stop))

    async def replaced() -> bool:
        return of_version(2) == await entries(session)

    await eventually(replaced)
    stop.request()
    await newer
    older, stop = Journal(1), Stop()
    standing_by = asyncio.create_task(ProjectionRunner(database, store, older).run(bus, stop))
    await store.append(Batch(events=[an_event()]))
    await asyncio.sleep(0.2)
    stop.request()
    await standing_by
    assert not older.entered.is_set()
    assert of_version(2) == await entries(session)


async def test_interrupted_rebuild_is_continued(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """A rebuild that was cut off leaves the live model alone, and the next one finishes it."""
    await ProjectionRunner(database, store, Journal(1)).catch_up()
    cut = Journal(2, waits=True)
    rebuilding = asyncio.create_task(ProjectionRunner(database, store, cut).rebuild())
    await cut.entered.wait()
    rebuilding.cancel()
    await asyncio.wait([rebuilding])
    assert of_version(1) == await entries(session)
    runner = ProjectionRunner(database, store, Journal(2))
    outlook = await runner.outlook()
    assert (1, 10, 0, 10) == (
        *(outlook.live_version, outlook.live_position),
        *(outlook.built, outlook.events),
    )
    await runner.rebuild()
    assert of_version(2) == await entries(session)
    assert (2, None) == ((await runner.outlook()).live_version, (await runner.outlook()).built)


async def test_leftover_of_another_version_is_not_continued(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """A half-built model of another version is thrown away."""
    cut = Journal(7, waits=True)
    rebuilding = asyncio.create_task(ProjectionRunner(database, store, cut).rebuild())
    await cut.entered.wait()
    rebuilding.cancel()
    await asyncio.wait([rebuilding])
    await ProjectionRunner(database, store, Journal(2)).rebuild()
    assert of_version(2) == await entries(session)


async def test_failing_projection_says_where(database: str, store: PostgresStore) -> None:
    """An event that a projection cannot apply ends it with the positions, and moves nothing."""
    runner = ProjectionRunner(database, store, Journal(fails_at=4))
    with pytest.raises(ProjectionFailedError, match=r"journal failed between positions 0 and 10"):
        await runner.run(MemoryBus(), Stop())


async def test_read_model_is_readable_for_readers(
    database: str, store: PostgresStore, session: AnyConnection
) -> None:
    """The reader's role may read a read model, before and after a rebuild, and not write."""
    runner = ProjectionRunner(database, store, Journal())
    await runner.catch_up()
    await runner.rebuild()
    await session.execute("set role drivewake_reader")
    assert of_version(1) == await entries(session)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.execute("delete from journal.entry")


@pytest.mark.parametrize("name", ["", "Journal", "a b", "x;drop", "a" * 50])
def test_name_must_be_a_schema(name: str) -> None:
    """A name that would not be a plain schema name is refused."""
    journal = Journal()
    journal.name = name
    with pytest.raises(ValueError, match="not a name"):
        ProjectionRunner("", None, journal)  # type: ignore[arg-type]
