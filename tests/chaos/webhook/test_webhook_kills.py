"""SIGKILL under load: whatever was answered 200 is in the stream."""

import asyncio
import datetime as dt
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from webhook_world import TENANT, World, provisioned

from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord
from drivewake.contracts.signals import SIGNALS
from drivewake.lab.google.serve import RunningGoogle
from drivewake.lab.servers import ManagedProcess, NatsServer, free_port
from drivewake.runtime.errors import BusError
from drivewake.webhook.tokens import Subject

pytestmark = pytest.mark.slow
LOGS = 20
CLIENTS = 16


class Load:
    """Pushes without pause on many channels, and a poller that takes the signals."""

    def __init__(self, world: World, ports: list[int]) -> None:
        self.world = world
        self.ports = ports
        self.records: list[ChannelRecord] = []
        self.answers: Counter[int] = Counter()
        self.promised: dict[str, dt.datetime] = {}
        self.taken: dict[str, dt.datetime] = {}
        self.stop = asyncio.Event()

    async def prepare(self) -> None:
        """Write the records of channels, as if Google had opened them."""
        bucket = await self.world.bus.key_value(subjects.CHANNELS)
        now = dt.datetime.now(dt.UTC)
        for number in range(LOGS):
            record = ChannelRecord(
                channel=f"channel{number}",
                tenant=TENANT,
                connection=f"person{number}",
                log=f"log{number}",
                created_at=now,
                expires_at=now + dt.timedelta(days=1),
                status="live",
                resource=f"res{number}",
            )
            self.records.append(record)
            await bucket.put(record.channel, msgspec.json.encode(record), revision=0)

    async def push(self, seed: int) -> None:
        """Push until told to stop; note for each log the start of its last answered push."""
        chance = random.Random(seed)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self.stop.is_set():
                record = chance.choice(self.records)
                port = chance.choice(self.ports)
                subject = Subject(record.tenant, record.connection, record.log)
                path = "/".join(msgspec.structs.astuple(subject))
                began = dt.datetime.now(dt.UTC)
                status = 0
                try:
                    async with session.post(
                        f"http://127.0.0.1:{port}/v1/notifications/drive/{path}",
                        headers=self.world.headers(record),
                        timeout=aiohttp.ClientTimeout(total=15),
                    ) as answer:
                        status = answer.status
                except (aiohttp.ClientError, TimeoutError, OSError):
                    await asyncio.sleep(0.02)
                self.answers[status] += 1
                if status == 200:
                    known = self.promised.get(record.log, began)
                    self.promised[record.log] = max(known, began)

    async def take(self) -> None:
        """Take signals as a poller does, until they are all there after the stop.

        What counts is when a signal is taken: the poll that it causes begins then, and sees
        every change whose push began earlier. A slower replica may have put its older signal
        in the place of a younger one.
        """
        puller = await self.world.bus.puller(subjects.POLLER_SIGNALS)
        while True:
            try:
                deliveries = await puller.fetch(100, 1.0)
            except BusError:
                continue  # the broker is away: it has them, or webhook was told that it has not
            if not deliveries and self.stop.is_set():
                return
            for delivery in deliveries:
                self.taken[SIGNALS.decode(delivery.data).data.log] = dt.datetime.now(dt.UTC)
                await delivery.ack()

    async def run(self, faults: Callable[[], Awaitable[None]]) -> None:
        """Push and take while faults happen, then check the promise."""
        async with asyncio.TaskGroup() as group:
            for seed in range(CLIENTS):
                group.create_task(self.push(seed))
            group.create_task(self.take())
            await asyncio.sleep(0.5)
            await faults()
            await asyncio.sleep(1.0)
            self.stop.set()
        lost = [
            log
            for log, began in self.promised.items()
            if self.taken.get(log, dt.datetime.min.replace(tzinfo=dt.UTC)) < began
        ]
        assert [] == lost
        assert LOGS == len(self.promised)
        assert 100 < self.answers[200]
        assert {0, 200, 503} >= set(self.answers), self.answers

    async def until_served(self) -> None:
        """Wait until pushes are answered with 200 again."""
        before = self.answers[200]
        for _ in range(1200):
            if self.answers[200] > before + 20:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("webhook did not recover")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A nats-server to kill."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def world(
    broker: NatsServer, prefix: str, google: RunningGoogle, tmp_path: Path
) -> AsyncIterator[World]:
    """An installation on that broker."""
    async with provisioned(broker.url, prefix, google, tmp_path) as made:
        yield made


async def loaded(world: World, replicas: int) -> tuple[Load, list[ManagedProcess]]:
    """Return a load and the replicas it goes to, serving."""
    ports = [free_port() for _ in range(replicas)]
    load = Load(world, ports)
    await load.prepare()
    processes = [world.webhook(port=port) for port in ports]
    for process in processes:
        process.start()
    return load, processes


async def test_the_broker_is_killed(world: World, broker: NatsServer) -> None:
    """While it is away pushes are answered 503; what was answered 200 is there afterwards."""
    load, _ = await loaded(world, 1)

    async def faults() -> None:
        for _ in range(4):
            await load.until_served()
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(broker.start)
        await load.until_served()

    await load.run(faults)

    assert load.answers[503] > 0


async def test_webhook_is_killed(world: World) -> None:
    """A process that dies in the middle of a batch owes nothing to anybody."""
    load, processes = await loaded(world, 2)

    async def faults() -> None:
        for number in range(4):
            await load.until_served()
            await asyncio.to_thread(processes[number % 2].kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(processes[number % 2].start)
        await load.until_served()

    await load.run(faults)


async def test_both_are_killed(world: World, broker: NatsServer) -> None:
    """At once, and back in either order."""
    load, (process,) = await loaded(world, 1)

    async def faults() -> None:
        await load.until_served()
        await asyncio.to_thread(process.kill)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(process.start)
        await load.until_served()

    await load.run(faults)


async def test_a_restart_of_a_replica_drops_no_push(world: World) -> None:
    """SIGTERM drains: every request that was read is answered, and with 200."""
    load, processes = await loaded(world, 2)

    async def faults() -> None:
        for process in processes:
            await load.until_served()
            assert 0 == await asyncio.to_thread(process.stop)
            await asyncio.to_thread(process.start)
        await load.until_served()

    await load.run(faults)

    assert 0 == load.answers[503]


async def test_the_broker_stands_still(world: World, broker: NatsServer) -> None:
    """Slower than any patience: nothing is promised meanwhile, and all is well afterwards."""
    load, _ = await loaded(world, 1)

    async def faults() -> None:
        for still_s in (0.5, 6.0):
            await load.until_served()
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(still_s)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        await load.until_served()

    await load.run(faults)

    assert load.answers[503] > 0


async def test_a_broker_that_refuses_signals_is_no_success(world: World) -> None:
    """A stream that takes no message, or is not there at all: 503 until it does."""
    load, _ = await loaded(world, 1)
    name = world.bus.link.name("DRIVE_SIGNAL")
    config = (await world.bus.link.api(f"STREAM.INFO.{name}"))["config"]

    async def faults() -> None:
        await load.until_served()
        await world.bus.link.api(f"STREAM.UPDATE.{name}", config | {"max_msg_size": 1})
        before = load.answers.copy()
        await asyncio.sleep(1.0)
        refused = load.answers - before
        await world.bus.link.api(f"STREAM.UPDATE.{name}", config)
        await load.until_served()
        assert refused[503] > 0
        assert refused[200] <= CLIENTS  # those that were under way when it began

    await load.run(faults)


async def test_a_burst_into_a_stream_at_its_cap(world: World) -> None:
    """What is answered 200 was stored; what a full stream drops is the oldest, as its type says.

    Dropped signals are hints about logs whose cursors stand elsewhere: freshness, never facts.
    """
    port = free_port()
    load = Load(world, [port])
    await load.prepare()
    world.webhook(port=port).start()
    name = world.bus.link.name("DRIVE_SIGNAL")
    config = (await world.bus.link.api(f"STREAM.INFO.{name}"))["config"]
    await world.bus.link.api(f"STREAM.UPDATE.{name}", config | {"max_bytes": 4096})
    answers: list[int] = []
    last = load.records[-1]
    for record in [*load.records * 5, last]:
        path = f"{record.tenant}/{record.connection}/{record.log}"
        url = f"http://127.0.0.1:{port}/v1/notifications/drive/{path}"
        async with world.http.post(url, headers=world.headers(record)) as answer:
            answers.append(answer.status)

    state = (await world.bus.link.api(f"STREAM.INFO.{name}"))["state"]

    assert {200} == set(answers)
    assert len(answers) == state["last_seq"]
    assert 0 < state["messages"] < LOGS
    subject = Subject(last.tenant, last.connection, last.log)
    assert "push" == (await world.until_signal(subject)).reason
