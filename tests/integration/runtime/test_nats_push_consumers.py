"""Who may read a stream may also create push consumers: where they reach (decision 0005).

nats-server judges the subject of the creation, never the `deliver_subject` in its body, and
delivers with its own powers. The webhook stands for a service in wrong hands: it chooses the
payload too, by writing its bucket.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import nkeys
import pytest

from drivewake.contracts import subjects as s
from drivewake.contracts.permissions import GRANTS, PROVISION_USER, USERS, permissions
from drivewake.lab.servers import NatsServer
from drivewake.runtime.errors import BusError
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

GROUP = "q"
"""The queue group in which responders share requests (the default of nats.micro)."""


def seed_of(user: str) -> str:
    """Return the seed of a user, always the same."""
    seed: bytes = nkeys.encode_seed(bytes([USERS.index(user) + 1]) * 32, nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def configuration() -> str:
    """Return the users of `contracts.permissions` as nats-server wants them."""
    grants = {grant.user: grant for grant in GRANTS}
    users: list[dict[str, object]] = []
    for user in USERS:
        public = nkeys.from_seed(bytearray(seed_of(user).encode())).public_key.decode()
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


@pytest.fixture(scope="module")
def guarded() -> Iterator[NatsServer]:
    """A server with one user a service."""
    with NatsServer(config=configuration()) as server:
        yield server


class Users:
    """Connections of the users that a test needs."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.open: list[NatsBus] = []

    async def connect(self, user: str) -> NatsBus:
        """Connect as a user."""
        bus = await connect(name=user, url=self._server.url, seed=seed_of(user), user=user)
        self.open.append(bus)
        return bus


@pytest.fixture
async def users(guarded: NatsServer) -> AsyncIterator[Users]:
    """Connections that end with the test."""
    users = Users(guarded)
    yield users
    for bus in users.open:
        await bus.close()


async def push(bus: NatsBus, name: str, target: str, group: str = "") -> None:
    """Create a push consumer of the bucket `channels` that delivers to a subject."""
    stream = s.CHANNELS.stream
    config = {"name": name, "deliver_subject": target, "ack_policy": "none"}
    config |= {"deliver_policy": "all", "replay_policy": "instant"}
    config |= {"deliver_group": group} if group else {}
    body = {"stream_name": stream, "config": config}
    await bus.link.api(f"CONSUMER.CREATE.{stream}.{name}", body)


async def pushed(bus: NatsBus, name: str) -> int:
    """Return how many messages a push consumer has delivered."""
    info = await bus.link.api(f"CONSUMER.INFO.{s.CHANNELS.stream}.{name}")
    return int(info["delivered"]["consumer_seq"])


@pytest.mark.parametrize("group", ["", GROUP])
async def test_a_push_consumer_reaches_no_subject_that_its_maker_may_not_write(
    users: Users, group: str
) -> None:
    """Neither streams, buckets, the JetStream API nor auth get anything; only a bell rings."""
    provisioner = await users.connect(PROVISION_USER)
    await provision(provisioner, scale=0.01)
    auth, listener = await users.connect("auth"), await users.connect("normalizer")
    asked: list[str] = []

    async def handler(subject: str, data: bytes) -> bytes:
        asked.append(subject)
        return data

    await auth.serve("token", s.TOKEN_RPC_ALL, handler, concurrency=1)
    await auth.serve("report", s.REPORT_RPC_ALL, handler, concurrency=1)
    await listener.wait(s.DOORBELL, 0.0)
    streams = [stream.name for stream in s.STREAMS] + [bucket.stream for bucket in s.BUCKETS]
    spy = await users.connect("webhook")
    await (await spy.key_value(s.CHANNELS)).put(f"forged{group}", b"x", revision=0)
    before = [await provisioner.last_sequence(stream) for stream in streams]

    foreign = (
        s.token_rpc("poller"),
        s.report_rpc("poller"),
        s.connection("acme", "c1"),
        s.raw(0, "acme", "c1"),
        s.event("acme", "file.renamed"),
        s.request("acme", "c1", "r1"),
        s.schedule("acme", "c1", "l1"),
        s.dead("poller"),
        f"$KV.{s.LOGS.name}.c1.l1",
        f"$JS.API.STREAM.PURGE.{s.EVENT.name}",
        "_INBOX_poller.x",
    )
    for number, target in enumerate(foreign):
        await push(spy, f"foreign{group}{number}", target, group)
    # A bell is subscribed to literally: it shows that pushing works, and how soon.
    await push(spy, f"bell{group}", s.DOORBELL)
    assert await listener.wait(s.DOORBELL, 10.0)
    assert 0 < await pushed(provisioner, f"bell{group}")
    await asyncio.gather(auth.check(), listener.check())
    assert dict.fromkeys(foreign, 0) == {
        target: await pushed(provisioner, f"foreign{group}{number}")
        for number, target in enumerate(foreign)
    }
    assert [] == asked
    assert before == [await provisioner.last_sequence(stream) for stream in streams]
    async with asyncio.timeout(10):
        assert b"!" == await (await users.connect("poller")).request(
            s.report_rpc("poller"), b"!", timeout_s=5
        )


async def test_a_push_consumer_cannot_name_a_wildcard(users: Users) -> None:
    """The subjects that auth listens to, as it names them, are no place to deliver to."""
    provisioner, spy = await users.connect(PROVISION_USER), await users.connect("webhook")
    await provision(provisioner, scale=0.01)
    for subject in (s.TOKEN_RPC_ALL, s.REPORT_RPC_ALL):
        with pytest.raises(BusError, match="wildcards"):
            await push(spy, "wild", subject, GROUP)


async def test_the_status_question_is_reached_and_hears_where_the_bytes_come_from(
    users: Users,
) -> None:
    """It is served on a literal subject: it answers for nothing, and goes on answering.

    What arrives bears the subject of the stored message, never the one it was delivered to:
    nobody can pass for another caller.
    """
    provisioner = await users.connect(PROVISION_USER)
    await provision(provisioner, scale=0.01)
    poller, spy = await users.connect("poller"), await users.connect("webhook")
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def handler(subject: str, _: bytes) -> bytes:
        await heard.put(subject)
        return b"status"

    await poller.serve("status", s.STATUS_RPC, handler, concurrency=1)
    await (await spy.key_value(s.CHANNELS)).put("asked", b"x", revision=0)
    await push(spy, "status", s.STATUS_RPC, GROUP)
    async with asyncio.timeout(10):
        while await heard.get() != f"$KV.{s.CHANNELS.name}.asked":
            continue
    answer = await (await users.connect("operator")).request(s.STATUS_RPC, b"", timeout_s=5)
    assert b"status" == answer
