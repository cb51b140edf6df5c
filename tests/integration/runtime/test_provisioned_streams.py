"""What full streams do, as the contracts size them: on the real server, a hundredth as large."""

from collections.abc import AsyncIterator, Iterable

import pytest

from drivewake.contracts import subjects as s
from drivewake.runtime.bus import Bus, KeyValue, Message
from drivewake.runtime.errors import StreamFullError
from drivewake.runtime.memory import MemoryBus
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

SCALE = 0.01
BIG = bytes(100_000)
BEYOND = int(s.CONNECTION.max_bytes * SCALE) // len(BIG) + 1
"""So many big messages are more than the small streams hold."""


@pytest.fixture
async def bus(nats_url: str, prefix: str) -> AsyncIterator[NatsBus]:
    """A connection under a prefix of its own, with everything provisioned."""
    bus = await connect(name="test", url=nats_url, prefix=prefix)
    await provision(bus, scale=SCALE)
    yield bus
    await bus.close()


async def fill(bus: Bus, subjects: Iterable[str]) -> None:
    """Publish a big message on each subject."""
    for subject in subjects:
        await bus.publish(Message(subject=subject, data=BIG))


async def fill_bucket(kv: KeyValue, keys: Iterable[str]) -> None:
    """Write a big value under each key."""
    for key in keys:
        await kv.put(key, BIG, revision=0)


async def test_a_flapping_connection_keeps_the_state_of_a_quiet_one(bus: NatsBus) -> None:
    """A connection evicts its own oldest states only; the current of each stays."""
    quiet, flapping = s.connection("acme", "quiet"), s.connection("acme", "flapping")
    await bus.publish(Message(subject=quiet, data=b"only"))
    state = bytes(int(s.CONNECTION.max_bytes * SCALE) // 100)
    for _ in range(120):
        await bus.publish(Message(subject=flapping, data=state))
    last = await bus.last(s.CONNECTION.name, quiet)
    assert last is not None
    assert b"only" == last.data
    info = await bus.link.api(f"STREAM.INFO.{bus.link.name(s.CONNECTION.name)}")
    assert s.CONNECTION.max_msgs_per_subject + 1 == info["state"]["messages"]


async def test_a_full_table_of_connections_refuses_and_forgets_nothing(bus: NatsBus) -> None:
    """More connections than fit are refused aloud; those that are there stay."""
    with pytest.raises(StreamFullError):
        await fill(bus, [s.connection("acme", f"c{number}") for number in range(BEYOND)])
    assert await bus.last(s.CONNECTION.name, s.connection("acme", "c0")) is not None


async def test_a_full_queue_of_requests_refuses_and_loses_none(bus: NatsBus) -> None:
    """Who asks when the queue is full is told; what waits is answered in its turn."""
    with pytest.raises(StreamFullError):
        await fill(bus, [s.request("acme", "c1", f"r{number}") for number in range(BEYOND)])
    puller = await bus.puller(s.POLLER_REQUESTS)
    assert s.request("acme", "c1", "r0") == (await puller.fetch(1, 5))[0].subject
    await puller.close()


@pytest.mark.parametrize("bucket", s.BUCKETS, ids=lambda bucket: bucket.name)
async def test_a_full_bucket_refuses_and_forgets_no_key(bus: NatsBus, bucket: s.Bucket) -> None:
    """A bucket has its size, scaled; at it, a write is refused and all keys stay.

    Where only the newest value is kept, a new one may take the place of its own older one.
    """
    info = await bus.link.api(f"STREAM.INFO.KV_{bus.link.name(bucket.name)}")
    assert int(bucket.max_bytes * SCALE) == info["config"]["max_bytes"]
    kv = await bus.key_value(bucket)
    with pytest.raises(StreamFullError):
        await fill_bucket(kv, [f"c1.l{number}" for number in range(BEYOND)])
    first = await kv.get("c1.l0")
    assert first is not None
    if bucket.history > 1:
        with pytest.raises(StreamFullError):
            await kv.put("c1.l0", BIG, revision=first.revision)


async def test_a_full_bucket_in_memory_refuses_too() -> None:
    """The bus of one process keeps the same promise."""
    bus = MemoryBus(provisioned=False)
    small = s.Bucket(name="small", description="", max_bytes=3 * len(BIG))
    await bus.ensure_bucket(small)
    kv = await bus.key_value(small)
    with pytest.raises(StreamFullError):
        await fill_bucket(kv, ["a", "b", "c"])
    assert await kv.get("a") is not None
    await bus.close()
