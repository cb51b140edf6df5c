"""What full streams do, as the contracts size them: on the real server, a hundredth as large."""

from collections.abc import AsyncIterator

import pytest

from drivewake.contracts import subjects as s
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import StreamFullError
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
        for number in range(BEYOND):
            await bus.publish(Message(subject=s.connection("acme", f"c{number}"), data=BIG))
    assert await bus.last(s.CONNECTION.name, s.connection("acme", "c0")) is not None


async def test_a_full_queue_of_requests_refuses_and_loses_none(bus: NatsBus) -> None:
    """Who asks when the queue is full is told; what waits is answered in its turn."""
    with pytest.raises(StreamFullError):
        for number in range(BEYOND):
            await bus.publish(Message(subject=s.request("acme", "c1", f"r{number}"), data=BIG))
    puller = await bus.puller(s.POLLER_REQUESTS)
    assert s.request("acme", "c1", "r0") == (await puller.fetch(1, 5))[0].subject
    await puller.close()
