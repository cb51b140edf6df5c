"""Connecting, and what a connection does besides the promises of a bus."""

import asyncio
import contextlib

import pytest

from drivewake.contracts import subjects as s
from drivewake.lab.servers import NatsServer, free_port
from drivewake.runtime import telemetry
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    ConfigurationError,
    TooLargeError,
)
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision
from drivewake.runtime.settings import ServiceSettings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://127.0.0.1:4222"}, "DRIVEWAKE_NATS_URL"),
        ({"url": ""}, "DRIVEWAKE_NATS_URL"),
        ({"url": "nats://127.0.0.1:4222", "seed": "nonsense"}, "DRIVEWAKE_NATS_SEED"),
        ({"url": "nats://127.0.0.1:4222", "prefix": "a.b"}, "DRIVEWAKE_NATS_PREFIX"),
    ],
)
async def test_a_malformed_setting_is_named(options: dict[str, str], said: str) -> None:
    """The error names the variable, and shows nothing of its value."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        await connect(
            name="x",
            url=options["url"],
            seed=options.get("seed", ""),
            prefix=options.get("prefix", ""),
        )
    assert "nonsense" not in str(caught.value)


async def test_no_broker() -> None:
    """An address where nobody listens is given up after the time."""
    with pytest.raises(BusUnavailableError, match="no broker answered"):
        await connect(name="x", url=f"nats://127.0.0.1:{free_port()}", timeout_s=0.5)


async def test_a_broker_that_comes_later() -> None:
    """Who waits for the broker is connected when it comes."""
    server = NatsServer(port=free_port())
    connecting = asyncio.create_task(connect(name="x", url=server.url, timeout_s=30))
    await asyncio.sleep(0.3)
    with server:
        bus = await connecting
        await bus.check()
        await bus.close()


async def test_settings_connect(nats_url: str, prefix: str) -> None:
    """All that a connection needs stands in the settings."""
    settings = ServiceSettings(nats_url=nats_url, nats_prefix=prefix, nats_user="poller")
    bus = await connect(settings, name="poller")
    assert bus.link.client.new_inbox().startswith("_INBOX_poller.")
    await bus.close()


async def test_installations_do_not_see_each_other(nats_url: str, prefix: str) -> None:
    """Two prefixes on one server are two worlds; neither is seen in subjects or answers."""
    one = await connect(name="one", url=nats_url, prefix=f"{prefix}a")
    two = await connect(name="two", url=nats_url, prefix=f"{prefix}b")
    for bus in (one, two):
        await provision(bus, scale=0.01)
    subject = s.connection("acme", "c1")
    ack = await one.publish(Message(subject=subject, data=b"x"))
    stored = await one.last(s.CONNECTION.name)
    assert stored is not None
    assert (s.CONNECTION.name, subject) == (ack.stream, stored.subject)
    assert await two.last(s.CONNECTION.name) is None
    kv = await one.key_value(s.LOGS)
    await kv.put("a.b", b"x", revision=0)
    assert await (await two.key_value(s.LOGS)).get("a.b") is None
    with pytest.raises(BusUnavailableError):
        await two.request(s.STATUS_RPC, b"", timeout_s=1)
    await one.close()
    await two.close()


async def test_a_trace_travels(nats_url: str, prefix: str) -> None:
    """Messages and requests carry the span they were sent in; a handler continues it."""
    telemetry.configure("test")
    bus = await connect(name="x", url=nats_url, prefix=prefix)
    await provision(bus, scale=0.01)

    async def handler(subject: str, data: bytes) -> bytes:
        del subject, data
        return (telemetry.traceparent() or "").encode()

    await bus.serve("trace", "trace", handler, concurrency=1)
    with telemetry.continue_trace(PARENT, "work"):
        await bus.publish(Message(subject=s.connection("acme", "c1"), data=b"x"))
        answered = await bus.request("trace", b"", timeout_s=5)
    stored = await bus.last(s.CONNECTION.name)
    assert stored is not None
    assert [PARENT[3:35]] * 2 == [stored.headers["traceparent"][3:35], answered.decode()[3:35]]
    await bus.close()
    telemetry.shutdown()


async def test_watching_the_connection(nats_url: str) -> None:
    """As a task it lasts until the stop, and fails when the connection is gone for good."""
    bus = await connect(name="x", url=nats_url)
    stop = Stop()
    watching = asyncio.create_task(bus.watch_connection(stop))
    await asyncio.sleep(0.05)
    assert not watching.done()
    stop.request()
    await watching
    watching = asyncio.create_task(bus.watch_connection(Stop()))
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(BusUnavailableError):
        await watching


async def test_what_cannot_be_sent_is_told(nats_url: str, prefix: str) -> None:
    """Subjects and sizes that the protocol does not take are errors of the caller, at once."""
    bus = await connect(name="x", url=nats_url, prefix=prefix)
    await provision(bus, scale=0.01)
    huge = Message(subject=s.raw(0, "acme", "c1"), data=bytes(2 << 20))
    with pytest.raises(TooLargeError):
        await bus.publish_batch([huge, huge])
    for subject in ("with space", "", "line\r\nPUB x 0"):
        with pytest.raises(BusError) as caught:
            await bus.publish(Message(subject=subject, data=b""))
        assert not isinstance(caught.value, BusUnavailableError)
    assert 0 == await bus.last_sequence(s.RAW.name)
    await bus.close()


async def test_a_cancelled_publisher_stops(nats_url: str, prefix: str) -> None:
    """However busy the connection is, a cancelled loop ends: the client library may swallow it."""
    bus = await connect(name="x", url=nats_url, prefix=prefix)
    await provision(bus, scale=0.01)

    async def endless() -> None:
        while True:
            await bus.publish(Message(subject=s.signal("acme", "c1", "l1"), data=b"x"))

    for _ in range(20):
        tasks = [asyncio.create_task(endless()) for _ in range(8)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(20):
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        assert all(task.cancelled() for task in tasks)
    await bus.close()
