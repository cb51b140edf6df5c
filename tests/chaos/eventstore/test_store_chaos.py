"""The store and its relay while connections, brokers and databases die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from random import Random

import asyncpg
import pytest

from drivewake.contracts.events import decode_event
from drivewake.contracts.subjects import EVENT
from drivewake.eventstore.errors import HeadMovedError, StoreUnavailableError
from drivewake.eventstore.follower import RingingAppender, follow
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.relay import Relay
from drivewake.eventstore.store import Batch, HeadWrite, NewEvent
from drivewake.lab.servers import NatsServer, PostgresServer
from drivewake.lab.suites.eventstore import an_event, eventually, migrated
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import NatsProvisioner

pytestmark = pytest.mark.slow

WRITERS = 4
BATCHES = 40
BATCH = 12


@pytest.fixture
def doomed_postgres() -> Iterator[PostgresServer]:
    """A database server that a test may kill."""
    with PostgresServer() as server:
        server.create_database("store")
        migrated(server.dsn("store"))
        yield server


@pytest.fixture
def doomed_nats() -> Iterator[NatsServer]:
    """A broker that a test may kill."""
    with NatsServer() as server:
        yield server


class Writer:
    """Appends batches, again and again until they are acknowledged, a quarter of them twice.

    It keeps a head of its own and advances it with every batch, as a normalizer would: reads
    the head again whenever the outcome is unknown.
    """

    def __init__(self, name: str, store: PostgresStore, random: Random, bus: MemoryBus) -> None:
        self.name = name
        self.random = random
        self.store = store
        self.appender = RingingAppender(store, bus)
        self.acknowledged: list[NewEvent] = []

    async def run(self) -> None:
        """Write everything."""
        for number in range(BATCHES):
            fresh = [an_event(file=f"{self.name}-{number}-{event}") for event in range(BATCH)]
            events = list(fresh)
            if self.acknowledged and self.random.random() < 0.25:
                events += self.random.sample(self.acknowledged, 3)
            self.random.shuffle(events)
            await self._until_acknowledged(events)
            self.acknowledged += fresh

    async def _until_acknowledged(self, events: Sequence[NewEvent]) -> None:
        while True:
            try:
                heads = await self.store.heads("acme", "writer", [self.name])
                expected = heads[self.name].revision if heads else 0
                head = HeadWrite(
                    tenant="acme", kind="writer", id=self.name, expected=expected, state=b""
                )
                appending = asyncio.ensure_future(
                    self.appender.append(Batch(events=events, heads=[head]))
                )
                if self.random.random() < 0.05:
                    await asyncio.sleep(self.random.random() * 0.005)
                    appending.cancel()
                await appending
            except (StoreUnavailableError, HeadMovedError):
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                if not appending.cancelled():
                    raise
            else:
                return


async def cut_connections(server: PostgresServer, random: Random) -> None:
    """Kill a random session of the store's, from within the server."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        session = await asyncpg.connect(server.dsn("store"), timeout=2)
        try:
            pids = await session.fetch(
                "select pid from pg_stat_activity where application_name like 'drivewake-%'"
            )
            if pids:
                await session.execute("select pg_terminate_backend($1)", random.choice(pids)[0])
        finally:
            session.terminate()


async def followed(store: PostgresStore, bus: MemoryBus, stop: Stop) -> list[tuple[int, str]]:
    """Follow the lane through everything; return positions and keys until the stop."""
    seen: list[tuple[int, str]] = []
    async for events in follow(store, bus, stop, limit=50):
        seen += [(event.position, str(event.key)) for event in events or ()]
    return seen


async def all_events(store: PostgresStore) -> list[tuple[int, str]]:
    """Return positions and keys of the whole lane."""
    found: list[tuple[int, str]] = []
    while True:
        try:
            events = await store.read(0, len(found), 5_000)
        except StoreUnavailableError:  # a session that was cut while it lay in the pool
            continue
        if not events:
            return found
        found += [(event.position, str(event.key)) for event in events]


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_acknowledged_is_lost_or_doubled(
    doomed_postgres: PostgresServer, seed: int
) -> None:
    """Through cut sessions, cancellations and crashes of the server the log stays exact.

    Every acknowledged event is there once, positions are dense, and a reader that followed
    through it all saw exactly the log.
    """
    random = Random(seed)
    bus, stop = MemoryBus(), Stop()
    async with PostgresStore.open(doomed_postgres.dsn("store")) as store:
        writers = [Writer(f"w{n}", store, Random(seed * 100 + n), bus) for n in range(WRITERS)]
        reading = asyncio.create_task(followed(store, bus, stop))
        writing = asyncio.gather(*(writer.run() for writer in writers))
        crashes = 0
        while not writing.done():
            await asyncio.sleep(random.random() * 0.1)
            await cut_connections(doomed_postgres, random)
            if crashes < 2 and random.random() < 0.05:
                crashes += 1
                doomed_postgres.kill()
                doomed_postgres.start()
        await writing
        log = await all_events(store)
        await asyncio.sleep(0.3)
        stop.request()
        keys = [key for _, key in log]
        expected = {str(event.key) for writer in writers for event in writer.acknowledged}
        assert WRITERS * BATCHES * BATCH == len(expected)
        assert expected == set(keys)
        assert len(set(keys)) == len(keys)
        assert list(range(1, len(log) + 1)) == [position for position, _ in log]
        assert log == await reading


@contextlib.asynccontextmanager
async def a_bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection to a broker that a test may kill."""
    bus = await connect(name="chaos", url=server.url)
    try:
        yield bus
    finally:
        await bus.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_downstream_is_the_store(
    doomed_postgres: PostgresServer, doomed_nats: NatsServer, seed: int
) -> None:
    """Relays die, race and lose their broker and database; the stream equals the store."""
    random = Random(seed)
    async with (
        PostgresStore.open(doomed_postgres.dsn("store")) as store,
        a_bus(doomed_nats) as bus,
        a_bus(doomed_nats) as other_bus,
    ):
        await NatsProvisioner(bus).ensure_stream(EVENT, replicas=1, scale=0.01)
        relays: list[asyncio.Task[None]] = []
        for round_ in range(12):
            while len(relays) < 2:
                on = random.choice([bus, other_bus])
                relays.append(asyncio.create_task(Relay(store, on).run(Stop())))
            count = random.randint(1, 1500)
            while True:
                try:
                    await store.append(Batch(events=[an_event() for _ in range(count)]))
                except StoreUnavailableError:
                    continue
                break
            await asyncio.sleep(random.random() * 0.15)
            await _strike(random, round_, doomed_nats, doomed_postgres, relays)
        total = len(await all_events(store))

        async def complete() -> bool:
            return await bus.last_sequence(EVENT.name) >= total

        while not relays:
            relays.append(asyncio.create_task(Relay(store, bus).run(Stop())))
        await eventually(complete)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        expected = [key for _, key in await all_events(store)]
        assert expected == await downstream(bus)


async def _strike(
    random: Random,
    round_: int,
    broker: NatsServer,
    database: PostgresServer,
    relays: list[asyncio.Task[None]],
) -> None:
    """Do one of the terrible things."""
    match random.choice(["kill relay", "cut", "cut", "nothing", "both"]):
        case "kill relay":
            relays.pop(random.randrange(len(relays))).cancel()
        case "both":
            await cut_connections(database, random)
            relays.pop(random.randrange(len(relays))).cancel()
        case "cut":
            await cut_connections(database, random)
    if round_ in {3, 8}:
        broker.kill()
        await asyncio.sleep(random.random() * 0.3)
        broker.start()
    if round_ == 6:
        database.kill()
        database.start()


async def downstream(bus: NatsBus) -> list[str]:
    """Return the ids in the stream, in its order."""
    ids: list[str] = []
    messages = bus.follow(EVENT.name)
    async with contextlib.aclosing(messages):
        async for message in messages:
            if message is None:
                break
            ids.append(decode_event(message.data).id)
    return ids
