"""The provisioning step: everything there, again and again, changed in place."""

import asyncio
import os
import sys

import pytest

from drivewake.contracts import subjects as s
from drivewake.lab.servers import free_port
from drivewake.lab.suites.bus_world import take
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusError
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import NatsProvisioner, provision


async def run(url: str, **settings: str) -> tuple[int, str, str]:
    """Run the command; return the exit code, stdout and stderr."""
    variables = {f"DRIVEWAKE_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drivewake.runtime.provision"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "DRIVEWAKE_NATS_URL": url, **variables},
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


@pytest.fixture
async def bus(nats_url: str, prefix: str) -> NatsBus:
    """A connection under a prefix of its own."""
    return await connect(name="test", url=nats_url, prefix=prefix)


async def config(bus: NatsBus, stream: str) -> dict[str, object]:
    """Return a stream's configuration on the server."""
    info = await bus.link.api(f"STREAM.INFO.{bus.link.name(stream)}")
    found: dict[str, object] = info["config"]
    return found


async def test_the_command_makes_everything(nats_url: str, prefix: str, bus: NatsBus) -> None:
    """After it, every stream, bucket and consumer of the contracts can be bound; twice is fine."""
    for _ in range(2):
        code, output, errors = await run(nats_url, NATS_PREFIX=prefix, SCALE="0.01")
        assert (0, "") == (code, errors)
        assert '"action": "provisioned"' in output
    for stream in s.STREAMS:
        assert 0 == await bus.last_sequence(stream.name)
    for bucket in s.BUCKETS:
        await bus.key_value(bucket)
    for consumer in s.CONSUMERS:
        await (await bus.puller(consumer)).close()
    await bus.close()


async def test_streams_are_as_specified(bus: NatsBus) -> None:
    """What the contracts say is what the server has; `scale` multiplies sizes."""
    await provision(bus, scale=0.5)
    signal, raw, event = [await config(bus, x.name) for x in (s.SIGNAL, s.RAW, s.EVENT)]
    assert ("workqueue", "old", 1, True, True) == tuple(
        signal[name]
        for name in (
            *("retention", "discard", "max_msgs_per_subject"),
            *("allow_msg_schedules", "allow_atomic"),
        )
    )
    assert ("limits", "new", s.RAW.max_bytes // 2, True) == tuple(
        raw[name] for name in ("retention", "discard", "max_bytes", "allow_atomic")
    )
    assert ("limits", s.EVENT.max_age_s * 1_000_000_000) == (event["retention"], event["max_age"])
    await bus.close()


async def test_a_change_is_made_in_place(bus: NatsBus) -> None:
    """Another size or wait is applied; messages and consumers' places stay."""
    await provision(bus, scale=0.01)
    for number in range(3):
        await bus.publish(Message(subject=s.connection("acme", f"c{number}"), data=b"x"))
    puller = await bus.puller(s.NORMALIZER_CONNECTIONS)
    await (await puller.fetch(1, 5))[0].ack(confirm=True)
    await puller.close()
    await provision(bus, scale=0.02)
    spec = s.NORMALIZER_CONNECTIONS
    await NatsProvisioner(bus).ensure_consumer(
        type(spec)(
            stream=spec.stream,
            name=spec.name,
            filters=spec.filters,
            owner=spec.owner,
            description="changed",
            max_ack_pending=1,
        )
    )
    assert int(s.CONNECTION.max_bytes * 0.02) == (await config(bus, s.CONNECTION.name))["max_bytes"]
    assert [2] == [d.stream_sequence for d in await (await bus.puller(spec)).fetch(5, 5)]
    await bus.close()


async def test_what_cannot_be_changed_is_an_error(bus: NatsBus) -> None:
    """A change that would need a new stream is refused, never done by deleting."""
    await provision(bus, scale=0.01)
    name, subjects = s.RAW.name, s.RAW.subjects
    other = type(s.RAW)(name=name, subjects=subjects, description="", retention="workqueue")
    with pytest.raises(BusError):
        await NatsProvisioner(bus).ensure_stream(other)
    assert "limits" == (await config(bus, s.RAW.name))["retention"]
    await bus.close()


async def test_a_work_queue_becomes_a_log_when_it_is_empty(bus: NatsBus) -> None:
    """DRIVE_RAW of an earlier release: refused while it holds anything, then made anew."""
    name, subjects = s.RAW.name, s.RAW.subjects
    former = type(s.RAW)(name=name, subjects=subjects, description="", retention="workqueue")
    maker = NatsProvisioner(bus)
    await maker.ensure_stream(former)
    await maker.ensure_consumer(s.NORMALIZER_RAW[0])
    message = Message(subject=s.raw(0, "acme", "c1"), data=b"x")
    await bus.publish(message)
    with pytest.raises(BusError, match="still holds 1 messages"):
        await provision(bus, scale=0.01)
    await bus.publish(message)
    puller = await bus.puller(s.NORMALIZER_RAW[0])
    for delivery in await take(puller, 2):
        await delivery.ack(confirm=True)
    await puller.close()
    await provision(bus, scale=0.01)
    await provision(bus, scale=0.01)
    assert "limits" == (await config(bus, s.RAW.name))["retention"]
    await bus.publish(message)
    assert 1 == len(await take(await bus.puller(s.NORMALIZER_RAW[0]), 1))
    await bus.close()


async def test_no_broker_is_one_line() -> None:
    """Without a broker the command fails in bounded time, in one log line."""
    code, output, errors = await run(f"nats://127.0.0.1:{free_port()}")
    assert (1, "") == (code, errors)
    (line,) = [line for line in output.splitlines() if "provision_failed" in line]
    assert "no broker answered" in line
    assert "Traceback" not in output


async def test_a_wrong_setting_is_one_line(nats_url: str) -> None:
    """Exit code 2 and the variable."""
    code, _, errors = await run(nats_url, REPLICAS="9")
    assert 2 == code
    assert ["DRIVEWAKE_REPLICAS: input should be less than or equal to 5."] == errors.splitlines()
    code, _, errors = await run(nats_url, NATS_SEED="nonsense")
    assert 2 == code
    assert ["DRIVEWAKE_NATS_SEED: this is not an NKEY seed"] == errors.splitlines()
