"""Each service's NATS user can do its work through the bus, and nothing else."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterator

import nkeys
import pytest

from drivewake.contracts import subjects as s
from drivewake.contracts.permissions import (
    GRANTS,
    PROVISION_USER,
    USERS,
    Grant,
    inbox_prefix,
    permissions,
)
from drivewake.lab.servers import NatsServer
from drivewake.lab.suites.bus_world import take
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusPermissionError, BusUnavailableError
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.nats_erase import NatsEraser
from drivewake.runtime.provision import provision

LITERALS = ("acme", "c1", "l1", "x")


def a_seed(number: int) -> str:
    """Return the seed of one user; the same number gives the same."""
    seed: bytes = nkeys.encode_seed(bytes([number + 1]) * 32, nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def configuration() -> str:
    """Return the users of `contracts.permissions` as nats-server wants them."""
    users = []
    grants = {grant.user: grant for grant in GRANTS}
    for number, user in enumerate(USERS):
        public = nkeys.from_seed(bytearray(a_seed(number).encode())).public_key.decode()
        entry: dict[str, object] = {"nkey": public}
        if user != PROVISION_USER:
            allowed = permissions(grants[user])
            entry["permissions"] = {
                "publish": {"allow": list(allowed.publish), "deny": list(allowed.deny_publish)},
                "subscribe": list(allowed.subscribe),
                **({"allow_responses": True} if allowed.allow_responses else {}),
            }
        users.append(entry)
    return f"authorization {json.dumps({'users': users})}"


def literal(pattern: str) -> str:
    """Return a subject of a pattern."""
    values = iter(LITERALS)
    tokens = pattern.split(".")
    if tokens[1] == "raw" and tokens[3] == "*":
        tokens[3] = "0"
    return ".".join(next(values) if token == "*" else token for token in tokens)


@pytest.fixture(scope="module")
def guarded() -> Iterator[NatsServer]:
    """A server with one user a service."""
    with NatsServer(config=configuration()) as server:
        yield server


async def as_user(server: NatsServer, user: str) -> NatsBus:
    """Connect as a user."""
    seed = a_seed(USERS.index(user))
    return await connect(name=user, url=server.url, seed=seed, user=user)


@pytest.fixture(scope="module")
async def provisioner(guarded: NatsServer) -> AsyncIterator[NatsBus]:
    """The provisioner, done with its work."""
    bus = await as_user(guarded, PROVISION_USER)
    await provision(bus, scale=0.01)
    await provision(bus, scale=0.01)
    yield bus
    await bus.close()


def denials(bus: NatsBus) -> list[str]:
    """Return what the broker denied this connection."""
    return sorted(bus.link.denied)


@pytest.fixture(params=GRANTS, ids=lambda grant: grant.user)
def grant(request: pytest.FixtureRequest) -> Grant:
    """Each user's needs, one after the other."""
    given: Grant = request.param
    return given


@pytest.fixture
async def bus(guarded: NatsServer, provisioner: NatsBus, grant: Grant) -> AsyncIterator[NatsBus]:
    """A connection of the user; nothing may be denied to it during the test."""
    del provisioner
    bus = await as_user(guarded, grant.user)
    yield bus
    await bus.check()
    assert [] == denials(bus)
    await bus.close()


async def test_a_service_writes_what_it_must(bus: NatsBus, grant: Grant) -> None:
    """Every subject of the grant takes a message, a schedule or a ring."""
    for pattern in grant.writes:
        if pattern == s.DOORBELL:
            await bus.ring(pattern)
        elif pattern.startswith("drive.schedule"):
            slot, target = s.schedule("acme", "c1", "l1"), s.signal("acme", "c1", "l1")
            at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
            await bus.schedule(slot, target, at, b"")
            await bus.cancel(slot)
        else:
            await bus.publish(Message(subject=literal(pattern), data=b"x"))
            if "raw" in pattern or "event" in pattern or "signal" in pattern:
                await bus.publish_batch([Message(subject=literal(pattern), data=b"x")] * 3)


async def test_a_service_pulls_and_settles(
    bus: NatsBus, provisioner: NatsBus, grant: Grant
) -> None:
    """All verbs of a delivery and a puller work on each of its consumers."""
    for consumer in grant.pulls:
        await provisioner.publish(Message(subject=literal(consumer.filters[0]), data=b"x"))
        puller = await bus.puller(consumer)
        first = await take(puller, 1)
        await first[0].in_progress()
        await first[0].nak(0.0)
        await puller.reset()
        again = await take(puller, 1)
        assert first[0].stream_sequence == again[0].stream_sequence
        await again[0].ack(confirm=True)
        await puller.close()


async def test_a_service_reads_its_streams(bus: NatsBus, grant: Grant) -> None:
    """It looks at each stream of the grant, and follows those that are no work queues."""
    for stream in grant.reads_streams:
        await bus.last(stream.name)
        await bus.last_sequence(stream.name)
        if stream.retention == "limits":
            async for message in bus.follow(stream.name, latest=True):
                if message is None:
                    break


async def test_a_service_trims_its_streams(bus: NatsBus, grant: Grant) -> None:
    """It sees how far its consumers are and how full a stream is, and removes what is settled."""
    for consumer in grant.pulls:
        if consumer.stream in {stream.name for stream in grant.trims_streams}:
            progress = await bus.progress(consumer)
            await bus.trim(consumer, progress.settled_sequence)
    for stream in grant.trims_streams:
        assert 0 <= await bus.fullness(stream) < 1


async def test_a_service_erases_from_its_streams(
    bus: NatsBus, provisioner: NatsBus, grant: Grant
) -> None:
    """It overwrites one message, purges a subject, and forgets a key with its history."""
    eraser = NatsEraser(bus)
    for stream in grant.erases_streams:
        subject = literal(stream.subjects[0])
        sent = await provisioner.publish(Message(subject=subject, data=b"x"))
        await eraser.erase(stream, sent.sequence)
        await eraser.erase(stream, sent.sequence)
        await provisioner.publish(Message(subject=subject, data=b"x"))
        assert 1 <= await eraser.purge(stream, subject)
    for stream in grant.removes_from:
        sent = await provisioner.publish(Message(subject=literal(stream.subjects[0]), data=b"x"))
        await eraser.erase(stream, sent.sequence)
    for bucket in grant.writes_buckets if grant.erases_streams else ():
        kv = await bus.key_value(bucket)
        await kv.put("a.b", b"x", revision=0)
        await eraser.forget(bucket, "a.b")
        assert await kv.get("a.b") is None


async def test_a_service_uses_its_buckets(bus: NatsBus, grant: Grant) -> None:
    """It reads and watches its buckets, and writes those it owns."""
    for bucket in (*grant.reads_buckets, *grant.writes_buckets):
        kv = await bus.key_value(bucket)
        await kv.get("a.b")
        async for entry in kv.watch():
            if entry is None:
                break
        if bucket in grant.writes_buckets:
            revision = await kv.put(grant.user, b"x", revision=0)
            await kv.delete(grant.user, revision=revision)


async def test_a_service_asks_and_listens(bus: NatsBus, grant: Grant) -> None:
    """It may ask, though nobody answers here, and hear its bells."""
    for subject in grant.asks:
        with pytest.raises(BusUnavailableError):
            await bus.request(subject, b"", timeout_s=2)
    for subject in grant.listens:
        assert not await bus.wait(subject, 0.0)


@pytest.mark.parametrize("caller", ["webhook", "poller"])
async def test_auth_answers_its_callers(guarded: NatsServer, caller: str) -> None:
    """Auth answers on its subjects, and hears in the subject who asks."""
    auth, bus = await as_user(guarded, "auth"), await as_user(guarded, caller)

    async def handler(subject: str, data: bytes) -> bytes:
        return subject.encode() + data

    await auth.serve("token", s.TOKEN_RPC_ALL, handler, concurrency=2)
    answer = await bus.request(s.token_rpc(caller), b"!", timeout_s=5)
    assert f"{s.token_rpc(caller)}!".encode() == answer
    assert [] == denials(auth)
    await auth.close()
    await bus.close()


async def test_webhook_cannot_do_the_work_of_others(
    guarded: NatsServer, provisioner: NatsBus
) -> None:
    """Asking as somebody else, writing others' subjects, pulling, reading: all denied, and told."""
    del provisioner
    bus = await as_user(guarded, "webhook")
    calls = (
        bus.request(s.token_rpc("poller"), b"", timeout_s=1),
        bus.publish(Message(subject=s.connection("acme", "c1"), data=b"")),
        bus.publish(Message(subject=s.raw(0, "acme", "c1"), data=b"")),
        bus.schedule(
            s.schedule("a", "b", "c"), s.signal("a", "b", "c"), dt.datetime.now(dt.UTC), b""
        ),
        bus.last(s.EVENT.name),
        bus.puller(s.POLLER_SIGNALS),
        bus.trim(s.NORMALIZER_RAW[0], 1),
        bus.fullness(s.RAW),
        provision(bus),
        (await bus.key_value(s.LOGS)).put("a.b", b"", revision=0),
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [BusPermissionError] * len(calls) == [type(result) for result in results]
    await bus.close()


async def test_an_operator_cannot_forge_facts(guarded: NatsServer, provisioner: NatsBus) -> None:
    """Raws, states of connections and events are not an operator's to write or to remove."""
    letter = await provisioner.publish(Message(subject=s.dead("poller"), data=b"x"))
    bus = await as_user(guarded, "operator")
    calls = (
        bus.publish(Message(subject=s.connection("acme", "c1"), data=b"")),
        bus.publish(Message(subject=s.raw(0, "acme", "c1"), data=b"")),
        bus.publish(Message(subject=s.event("acme", "file.renamed"), data=b"")),
        NatsEraser(bus).erase(s.DEAD, letter.sequence),
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [BusPermissionError] * len(calls) == [type(result) for result in results]
    await bus.close()


@pytest.mark.parametrize("user", ["webhook", "auth", "poller", "operator"])
async def test_a_reader_cannot_touch_the_consumers_of_others(
    guarded: NatsServer, provisioner: NatsBus, user: str
) -> None:
    """Reading a stream gives no power over its durable consumers and their messages."""
    await provisioner.publish(Message(subject=s.connection("acme", "c9"), data=b"x"))
    bus = await as_user(guarded, user)
    target = f"{s.CONNECTION.name}.{s.NORMALIZER_CONNECTIONS.name}"
    body = {
        "stream_name": s.CONNECTION.name,
        "config": {
            "name": s.NORMALIZER_CONNECTIONS.name,
            "durable_name": s.NORMALIZER_CONNECTIONS.name,
        },
    }
    calls = [
        bus.link.api(f"CONSUMER.DELETE.{target}"),
        bus.link.api(f"CONSUMER.CREATE.{target}", body),
        bus.link.api(f"CONSUMER.CREATE.{target}.drive.connection.v1.*.*", body),
        bus.link.api(f"CONSUMER.CREATE.{s.CONNECTION.name}", body),
        bus.link.api(f"CONSUMER.DURABLE.CREATE.{target}", body),
        bus.link.api(f"CONSUMER.RESET.{target}"),
        bus.link.request(f"$JS.API.CONSUMER.MSG.NEXT.{target}", b"1"),
        bus.link.request(f"$JS.ACK.{target}.1.1.1.1.0", b"+TERM"),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [BusPermissionError] * len(calls) == [type(result) for result in results]
    await (await provisioner.puller(s.NORMALIZER_CONNECTIONS)).close()
    await bus.close()


async def test_nobody_overhears_answers(guarded: NatsServer) -> None:
    """A user may not listen to another's inbox, nor to everything."""
    bus = await as_user(guarded, "webhook")
    for subject in (f"{inbox_prefix('poller')}.>", ">", s.TOKEN_RPC_ALL):
        await bus.link.client.subscribe(subject)
    await bus.check()
    await asyncio.sleep(0.1)
    assert 3 == len(denials(bus))
    await bus.close()


async def test_a_stranger_is_refused(guarded: NatsServer) -> None:
    """Unknown credentials, and none at all, fail at once with a clear error."""
    for seed in (a_seed(200), ""):
        with pytest.raises(BusPermissionError):
            await connect(name="stranger", url=guarded.url, seed=seed)
