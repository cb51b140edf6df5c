"""A database restored to an older day: noticed, and gone on from without a position given twice."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.events import POSITION_HEADER
from drivewake.eventstore.connections import READER, Connection, connect
from drivewake.eventstore.errors import StoreBehindError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.relay import Relay, resume
from drivewake.eventstore.restoring import STEP, Restart, logs, restart
from drivewake.eventstore.store import Applied, Batch, NewEvent
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import NOON, an_event, eventually
from drivewake.runtime.bus import Message, StoredMessage
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

ENOUGH = 1_000


class Published:
    """The stream of a bus in memory, by sequence."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def _all(self) -> list[StoredMessage]:
        found = []
        async for message in self._bus.follow(subjects.EVENT.name):
            if message is None:
                break
            found.append(message)
        return found

    async def bounds(self) -> tuple[int, int]:
        """See restoring.Published."""
        found = await self._all()
        return (found[0].sequence, found[-1].sequence) if found else (1, 0)

    async def at(self, sequence: int) -> StoredMessage | None:
        """See restoring.Published."""
        return next((one for one in await self._all() if one.sequence >= sequence), None)

    async def behind(self, sequence: int) -> AsyncIterator[StoredMessage | None]:
        """See restoring.Published."""
        for message in await self._all():
            if message.sequence > sequence:
                yield message
        yield None

    async def told(self) -> list[tuple[int, str]]:
        """Return position and id of what downstream has."""
        return [
            (int(one.headers[POSITION_HEADER].partition(":")[2]), one.headers["Nats-Msg-Id"])
            for one in await self._all()
        ]


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    """A bus with the stream of events."""
    bus = MemoryBus(provisioned=False)
    await bus.ensure_stream(subjects.EVENT, replicas=1, scale=1.0)
    yield bus
    await bus.close()


@pytest.fixture
def day(
    postgres_server: PostgresServer, clone_database: Callable[..., str]
) -> Callable[[str], str]:
    """Copy a database as it is now: `(dsn) -> dsn of the copy`."""

    def copy(dsn: str) -> str:
        return clone_database(dsn.rpartition("/")[2])

    return copy


async def keeper(dsn: str) -> Connection:
    """Return a session with the rights of a keeper."""
    session = await connect(dsn, READER)
    await session.execute("set role drivewake_keeper")
    return session


async def append(dsn: str, count: int) -> list[NewEvent]:
    """Append events."""
    events = [an_event(file=f"f{number % 3}") for number in range(count)]
    async with PostgresStore.open(dsn) as store:
        await store.append(Batch(events=events))
    return events


async def relay(dsn: str, bus: MemoryBus, upto: int) -> None:
    """Relay until the stream holds a position of the store."""
    stop = Stop()
    async with PostgresStore.open(dsn) as store:

        async def there() -> bool:
            last = await bus.last(subjects.EVENT.name)
            if last is None or not last.headers[POSITION_HEADER].endswith(f":{upto}"):
                return False
            stop.request()
            return True

        async with asyncio.TaskGroup() as group:
            group.create_task(Relay(store, bus).run(stop))
            await eventually(there)


async def mended(dsn: str, bus: MemoryBus, *, dry: bool = False) -> Restart:
    """Let the only lane go on, and say how."""
    session = await keeper(dsn)
    async with PostgresStore.open(dsn) as store:
        (found,) = await restart(session, store, Published(bus), dry=dry)
    await session.close()
    return found


async def test_what_was_lost_comes_back_from_the_stream(
    database: str, day: Callable[[str], str], bus: MemoryBus
) -> None:
    """The restored store is refused, takes back what it lost, and goes on: no hole, none twice."""
    first = await append(database, 5)
    await relay(database, bus, 5)
    older = day(database)
    lost = await append(database, 4)
    await relay(database, bus, 9)

    async with PostgresStore.open(older) as store:
        with pytest.raises(StoreBehindError, match="resync --from-store"):
            await resume(store, bus, 0)
        with pytest.raises(StoreBehindError):
            await Relay(store, bus).run(Stop())
    planned = await mended(older, bus, dry=True)
    assert (5, 9, 5, 0) == (planned.head, planned.seen, planned.relayed, planned.taken_back)
    done = await mended(older, bus)
    assert (4, 0) == (done.taken_back, done.next_position)
    assert not (await mended(older, bus)).lacks

    new = await append(older, 3)
    await relay(older, bus, 12)
    expected = [(place, str(each.key)) for place, each in enumerate((*first, *lost, *new), 1)]
    assert expected == await Published(bus).told()
    async with PostgresStore.open(older) as restored, PostgresStore.open(database) as former:
        before = await former.read(0, 0, ENOUGH)
        after = await restored.read(0, 0, ENOUGH)
        assert list(before) == list(after)[:9]
        assert 12 == len(after)


async def test_facts_that_came_back_are_not_stored_again(
    database: str, day: Callable[[str], str], bus: MemoryBus
) -> None:
    """Decided again from older heads, at another time and so under another key, they are known."""
    numbers = range(7_000, 7_004)
    older = day(database)
    async with PostgresStore.open(database) as store:
        await store.append(Batch(events=[an_event(number) for number in numbers]))
    await relay(database, bus, 4)
    assert 4 == (await mended(older, bus)).taken_back
    later = [an_event(number, at=NOON + dt.timedelta(hours=1)) for number in (*numbers, 7_004)]
    async with PostgresStore.open(older) as store:
        await store.load_recovered()
        assert 1 == (await store.append(Batch(events=later))).stored
        found = await store.read(0, 0, ENOUGH)
    assert later[-1].key == found[-1].key
    assert 5 == len(found)


async def test_a_run_that_dies_is_repeated(
    database: str, day: Callable[[str], str], bus: MemoryBus
) -> None:
    """Whatever was taken back before the end, the next run takes back the rest."""
    older = day(database)
    events = await append(database, 6)
    await relay(database, bus, 6)

    class Dying(Published):
        async def behind(self, sequence: int) -> AsyncIterator[StoredMessage | None]:
            count = 0
            async for message in super().behind(sequence):
                count += 1
                if count == 4:
                    raise SystemExit
                yield message

    session = await keeper(older)
    async with PostgresStore.open(older) as store:
        for _ in range(2):
            with pytest.raises(SystemExit):
                await restart(session, store, Dying(bus), dry=False, chunk=2)
        with pytest.raises(StoreBehindError):
            await resume(store, bus, 0)
        (done,) = await restart(session, store, Published(bus), dry=False)
        assert 2 == done.taken_back
        assert [event.key for event in events] == [
            event.key for event in await store.read(0, 0, ENOUGH)
        ]
    await session.close()


async def test_positions_of_what_is_gone_are_not_given_again(
    database: str, day: Callable[[str], str], bus: MemoryBus
) -> None:
    """Where the stream has a hole, the lane goes on behind all that downstream has seen."""
    first = await append(database, 5)
    older = day(database)
    lost = await append(database, 4)
    await relay(database, bus, 9)

    class Holed(Published):
        async def _all(self) -> list[StoredMessage]:
            return [one for one in await super()._all() if one.sequence != 7]

    session = await keeper(older)
    async with PostgresStore.open(older) as store:
        (done,) = await restart(session, store, Holed(bus), dry=False)
    await session.close()
    assert (1, 2 * STEP + 1) == (done.taken_back, done.next_position)
    new = await append(older, 3)
    await relay(older, bus, 2 * STEP + 3)
    told = await Published(bus).told()
    assert [str(event.key) for event in (*first, *lost, *new)] == [id_ for _, id_ in told]
    assert [*range(1, 10), *range(2 * STEP + 1, 2 * STEP + 4)] == [place for place, _ in told]
    async with PostgresStore.open(older) as store:
        assert 9 == len(await store.read(0, 0, ENOUGH))
        assert 9 == await _applied_by_a_projection(older, store)


async def _applied_by_a_projection(dsn: str, store: PostgresStore) -> int:
    """Return how many events a new projection takes in, over the positions that are left out."""
    taken: list[int] = []

    class Counting(CurrentTree):
        async def apply(self, connection: object, events: Sequence[object]) -> None:
            taken.append(len(events))
            await super().apply(connection, events)  # type: ignore[arg-type]

    reached = await ProjectionRunner(dsn, store, Counting()).catch_up()
    assert 2 * STEP + 3 == reached
    return sum(taken)


async def test_appends_before_the_restart_are_relayed_too(
    database: str, day: Callable[[str], str], bus: MemoryBus
) -> None:
    """Positions that were given twice after all: downstream gets the second events as well."""
    first = await append(database, 6)
    older = day(database)
    lost = await append(database, 3)
    await relay(database, bus, 9)
    hasty = await append(older, 5)  # 7 to 11: the head alone looks sound
    async with PostgresStore.open(older) as store:
        with pytest.raises(StoreBehindError):
            await resume(store, bus, 0)
    done = await mended(older, bus)
    assert (11, 6, 0) == (done.head, done.relayed, done.taken_back)
    new = await append(older, 1)
    await relay(older, bus, done.next_position)
    expected = [str(event.key) for event in (*first, *lost, *hasty, *new)]
    assert expected == [id_ for _, id_ in await Published(bus).told()]


async def test_a_whole_store_is_left_alone(database: str, bus: MemoryBus) -> None:
    """With nothing lost, an empty stream included, a restart changes nothing."""
    for count in (0, 4):
        await append(database, count)
        if count:
            await relay(database, bus, count)
        assert not (await mended(database, bus)).lacks
    async with PostgresStore.open(database) as store:
        assert 0 == await store.restarts()


async def test_a_stream_that_went_back_gets_what_it_lost(database: str) -> None:
    """An older copy of the stream: the relay publishes the rest again, under the same ids."""
    events = await append(database, 6)
    buses = [MemoryBus(provisioned=False) for _ in range(2)]
    for bus in buses:
        await bus.ensure_stream(subjects.EVENT, replicas=1, scale=1.0)
    older = buses[1]
    await relay(database, buses[0], 6)
    for message in (await Published(buses[0])._all())[:2]:
        headers = dict(message.headers)
        id_ = headers.pop("Nats-Msg-Id")
        await older.publish(
            Message(subject=message.subject, data=message.data, headers=headers, id=id_)
        )
    await relay(database, older, 6)
    expected = [(place, str(event.key)) for place, event in enumerate(events, 1)]
    assert expected == await Published(older).told()
    for bus in buses:
        await bus.close()


async def test_logs_go_on_from_their_oldest_cursor(database: str) -> None:
    """Of a log's partitions the one that is furthest behind counts."""
    cursors = [("l1", 0, "30"), ("l1", 1, "10"), ("l1", 2, "20"), ("l2", 0, "7")]
    async with PostgresStore.open(database) as store:
        applied = [
            Applied(
                tenant="acme",
                connection="c1",
                log=log,
                partition=partition,
                cursor=cursor,
                observed_at=NOON + dt.timedelta(minutes=int(cursor)),
            )
            for log, partition, cursor in cursors
        ]
        await store.append(Batch(applied=applied))
    session = await keeper(database)
    assert [("l1", "10"), ("l2", "7")] == [(one.log, one.cursor) for one in await logs(session)]
    await session.close()
