"""The broker is killed and started again under load: nothing acknowledged is lost."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from drivewake.contracts.subjects import Consumer
from drivewake.lab.servers import NatsServer
from drivewake.lab.suites.bus_world import (
    BUCKET,
    LOG,
    PATIENCE_S,
    SIGNALS,
    World,
    a_message,
    prepare,
    take,
)
from drivewake.lab.suites.bus_writing import soon
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusError, BusUnavailableError, ConflictError
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import NatsProvisioner

KILLS = 3
WORK = Consumer(
    stream="SUITE_QUEUE",
    name="restart",
    filters=("suite.queue.restart",),
    ack_wait_s=2.0,
    owner="suite",
    description="redelivers soon",
)
T = TypeVar("T")


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server that this test may kill."""
    with NatsServer() as own:
        yield own


@pytest.fixture
async def world(server: NatsServer, prefix: str) -> AsyncIterator[World]:
    """Two connections to it."""
    bus = await connect(name="suite", url=server.url, prefix=prefix)
    other = await connect(name="suite-other", url=server.url, prefix=prefix)
    provisioner = NatsProvisioner(bus)
    await prepare(provisioner)
    await provisioner.ensure_consumer(WORK)
    yield World(bus=bus, other=other)
    await bus.close()
    await other.close()


async def until_it_works(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while the broker is away."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except BusUnavailableError:
                await asyncio.sleep(0.05)


async def kill_and_start(server: NatsServer, seed: int) -> None:
    """Kill the broker a few times at random moments."""
    chance = random.Random(seed)
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 0.8))
        server.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        server.start()
    await asyncio.sleep(0.5)


async def while_it_dies(server: NatsServer, *loops: Coroutine[Any, Any, None]) -> None:
    """Run endless loops while the broker is killed; whatever they raise fails the test."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        await kill_and_start(server, seed=7)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError)


async def test_nothing_acknowledged_is_lost(server: NatsServer, world: World) -> None:
    """Single messages and batches that were acknowledged are all delivered, batches whole."""
    acknowledged: list[str] = []
    delivered: Counter[str] = Counter()

    async def write(name: str) -> None:
        number = 0
        while True:
            number += 1
            label = f"{name}-{number}"
            await until_it_works(
                lambda label=label: world.bus.publish(  # type: ignore[misc]
                    a_message("suite.queue.restart", label.encode())
                )
            )
            acknowledged.append(label)

    async def write_batches() -> None:
        number = 0
        while True:
            number += 1
            labels = [f"batch-{number}-{part}" for part in range(20)]
            batch = [a_message("suite.queue.restart", label.encode()) for label in labels]
            await until_it_works(lambda batch=batch: world.bus.publish_batch(batch))  # type: ignore[misc]
            acknowledged.extend(labels)

    async def read() -> None:
        puller = await world.other.puller(WORK)
        while True:
            for delivery in await until_it_works(lambda: puller.fetch(50, 1.0)):
                delivered[delivery.data.decode()] += 1
                with contextlib.suppress(BusUnavailableError):
                    await delivery.ack()

    await while_it_dies(server, write("a"), write("b"), write_batches(), read())
    puller = await world.other.puller(WORK)
    while batch := await puller.fetch(100, 2 * WORK.ack_wait_s):
        for delivery in batch:
            delivered[delivery.data.decode()] += 1
            await delivery.ack()
    assert 100 < len(acknowledged)
    assert set() == set(acknowledged) - delivered.keys()
    batches = Counter(label.rpartition("-")[0] for label in delivered if label.startswith("batch"))
    assert {20} == set(batches.values())


async def test_a_follower_skips_and_repeats_nothing(server: NatsServer, world: World) -> None:
    """Through every restart a follower yields each sequence once, in order."""
    seen: list[int] = []

    async def write() -> None:
        while True:
            await until_it_works(lambda: world.bus.publish(a_message("suite.log.a.b")))

    async def follow() -> None:
        async for message in world.other.follow(LOG.name):
            sequence = message.sequence if message is not None else 0
            seen.append(sequence)

    following = asyncio.create_task(follow())
    await while_it_dies(server, write())
    last = await until_it_works(lambda: world.bus.last_sequence(LOG.name))
    async with asyncio.timeout(PATIENCE_S):
        while not seen or seen[-1] < last:
            assert not following.done()
            await asyncio.sleep(0.05)
    following.cancel()
    assert 100 < last
    seen.remove(0)
    # A write that was cancelled may still have come through behind the last one read.
    assert list(range(1, max(last, seen[-1]) + 1)) == seen


async def test_a_watcher_sees_the_end_state(server: NatsServer, world: World) -> None:
    """Revisions that a watcher yields only rise, and its last value is the bucket's."""
    kv = await world.bus.key_value(BUCKET)
    watched: list[tuple[int, bytes | None]] = []

    async def write() -> None:
        number = 0
        while True:
            number += 1
            with contextlib.suppress(ConflictError):
                entry = await until_it_works(lambda: kv.get("k"))
                revision = entry.revision if entry else 0
                await until_it_works(
                    lambda revision=revision, number=number: kv.put(  # type: ignore[misc]
                        "k", str(number).encode(), revision=revision
                    )
                )

    async def watch() -> None:
        async for entry in (await world.other.key_value(BUCKET)).watch():
            change = (entry.revision, entry.value) if entry is not None else (0, None)
            watched.append(change)

    watching = asyncio.create_task(watch())
    await while_it_dies(server, write())
    end = await until_it_works(lambda: kv.get("k"))
    assert end is not None
    async with asyncio.timeout(PATIENCE_S):
        while not watched or watched[-1][0] < end.revision:
            assert not watching.done()
            await asyncio.sleep(0.05)
    watching.cancel()
    assert (end.revision, end.value) in watched
    watched.remove((0, None))
    assert sorted(watched) == watched


async def test_a_schedule_survives(server: NatsServer, world: World) -> None:
    """A schedule fires although the broker died in between, also while it was down."""
    await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(0.3), b"during")
    await world.bus.schedule("suite.slot.b", "suite.signal.b", soon(2.0), b"after")
    server.kill()
    await asyncio.sleep(0.5)
    server.start()
    puller = await until_it_works(lambda: world.bus.puller(SIGNALS))
    ticks = await take_through(puller.fetch, 2)
    assert {b"during", b"after"} == ticks


async def take_through(fetch: Callable[[int, float], Awaitable[Any]], count: int) -> set[bytes]:
    """Fetch and acknowledge until that many different messages came."""
    found: set[bytes] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            for delivery in await until_it_works(lambda: fetch(5, 1.0)):
                found.add(delivery.data)
                await delivery.ack()
    return found


async def test_everything_says_unavailable_while_the_broker_is_away(
    server: NatsServer, world: World
) -> None:
    """No verb hangs or invents an answer; the connection works again afterwards."""
    puller = await world.bus.puller(SIGNALS)
    kv = await world.bus.key_value(BUCKET)
    (delivery,) = await _one(world)
    server.kill()
    calls = (
        world.bus.publish(a_message("suite.log.a.b")),
        world.bus.publish_batch([a_message("suite.log.a.b")] * 3),
        world.bus.schedule("suite.slot.a", "suite.signal.a", soon(1), b""),
        world.bus.last(LOG.name),
        world.bus.request("suite.rpc", b"", timeout_s=1),
        puller.fetch(1, 1.0),
        kv.get("k"),
        kv.put("k", b"", revision=0),
        delivery.ack(confirm=True),
        world.bus.check(),
    )
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [BusUnavailableError] * len(calls) == [type(result) for result in results]
    await world.bus.ring("suite.bell")
    server.start()
    await until_it_works(world.bus.check)
    await world.bus.publish(a_message("suite.log.a.b"))


async def test_an_answering_service_answers_again(server: NatsServer, world: World) -> None:
    """Endpoints and bells come back with the connection."""

    async def handler(subject: str, data: bytes) -> bytes:
        del subject
        return data

    await world.bus.serve("echo", "suite.rpc.echo", handler, concurrency=2)
    assert not await world.bus.wait("suite.bell", 0.0)
    server.kill()
    server.start()
    assert b"x" == await until_it_works(
        lambda: world.other.request("suite.rpc.echo", b"x", timeout_s=2)
    )
    waiting = asyncio.create_task(world.bus.wait("suite.bell", PATIENCE_S))
    while not waiting.done():
        await world.other.ring("suite.bell")
        await asyncio.sleep(0.05)
    assert await waiting


async def test_a_reconnect_does_not_publish_what_was_refused(
    server: NatsServer, world: World
) -> None:
    """What could not be published while disconnected is not sent behind one's back."""
    server.kill()
    await asyncio.sleep(0.2)
    with pytest.raises(BusUnavailableError):
        await world.bus.publish(a_message("suite.log.a.b", b"refused"))
    server.start()
    await until_it_works(world.bus.check)
    assert 0 == await world.bus.last_sequence(LOG.name)


async def test_a_follower_notices_an_older_stream(server: NatsServer, world: World) -> None:
    """A stream that ends before what was already read is an error, never a silent wait."""
    await world.bus.publish_batch([a_message("suite.log.a.b")] * 5)
    messages = world.other.follow(LOG.name)
    for _ in range(6):
        await anext(messages)
    assert isinstance(world.bus, NatsBus)
    await world.bus.link.api(f"STREAM.DELETE.{world.bus.link.name(LOG.name)}")
    await NatsProvisioner(world.bus).ensure_stream(LOG)
    await world.bus.publish(a_message("suite.log.a.b"))
    with pytest.raises(BusError, match="ends at 1"):
        async with asyncio.timeout(PATIENCE_S):
            await anext(messages)
    del server


async def _one(world: World) -> list[Any]:
    await world.bus.publish(Message(subject="suite.queue.restart", data=b"x"))
    return list(await take(await world.bus.puller(WORK), 1))
