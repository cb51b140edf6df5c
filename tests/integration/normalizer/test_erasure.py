"""Erasing, with real servers: what is gone, what stays, and that it does not come back."""

import asyncio
import contextlib
import datetime as dt
import inspect
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest
from pydantic import SecretStr

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection, Status
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.events import EventErased, FileDiscovered
from drivewake.contracts.raw import Raw, Source
from drivewake.contracts.records import LogRecord
from drivewake.eventstore import projection
from drivewake.eventstore.erasing import ErasureDesk
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.restoring import Restart
from drivewake.eventstore.sealing import SealedStore
from drivewake.lab.servers import PostgresServer
from drivewake.normalizer.erasing import Erasing, Places
from drivewake.normalizer.restating import Restating
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.bus import Message
from drivewake.runtime.keyring import Keyring
from drivewake.runtime.nats_erase import NatsEraser

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

pytestmark = pytest.mark.slow
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
GONE = ("Canary private", "Canary old name", "Canary in a letter", "Canary comment", "Canary drive")
STAYS = "Shared plan"
OTHER = "Globex budget"
Erase = Callable[..., Any]


async def say(
    world: "World", connection: str, status: Status, revision: int, tenant: str = "acme"
) -> None:
    """Publish the state of a connection, as auth does."""
    state = Connection(
        status=status, principal_kind="user", scopes=(), revision=revision, since=START
    )
    envelope = Envelope(
        id=secrets.token_hex(8),
        source="/test",
        type=CONNECTION_TYPE,
        time=START,
        tenant=tenant,
        connection=connection,
        data=state,
    )
    subject = subjects.connection(tenant, connection)
    await world.bus.publish(Message(subject=subject, data=CONNECTIONS.encode(envelope)))


def raw_of(source: Source, item: str, body: dict[str, object]) -> Raw:
    """Return a raw of something beside files."""
    return Raw(
        source=source,
        log="l1",
        item=item,
        observed_at=START + dt.timedelta(seconds=5),
        body=msgspec.Raw(msgspec.json.encode(body)),
    )


async def live(world: "World") -> None:
    """Let two people of acme and one of globex live a little; c1 is revoked at last."""
    for tenant, connection in (("acme", "c1"), ("acme", "c2"), ("globex", "c9")):
        await say(world, connection, "active", 1, tenant)
    await world.change(1, "private", 1, "Canary private")
    await world.change(1, "shared", 1, "Canary old name")
    await world.change(2, "shared", 2, STAYS)
    await world.change(3, "shared", 2, STAYS, connection="c2")
    await world.change(3, "own", 1, "c2's own", connection="c2")
    await world.change(4, "budget", 1, OTHER, connection="c9", tenant="globex")
    comment = {
        "id": "k1",
        "content": "Canary comment",
        "createdTime": "2026-01-01T00:00:00Z",
        "modifiedTime": "2026-01-01T00:00:00Z",
        "deleted": False,
    }
    await world.raw(raw_of("comments", "private", comment))
    await world.raw(raw_of("drive", "d1", {"id": "d1", "name": "Canary drive"}))
    await world.raw(raw_of("drive", "d2", {"id": "d2", "name": "A team"}))
    await world.raw(raw_of("drive", "d2", {"id": "d2", "name": "A team"}), "c2")
    subject = subjects.raw(0, "acme", "c1")
    await world.bus.publish(Message(subject=subject, data=b'{"broken": "Canary in a letter"'))
    log = LogRecord(tenant="acme", connection="c1", log="l1", kind="user_changes")
    bucket = await world.bus.key_value(subjects.LOGS)
    await bucket.put("c1.l1", msgspec.json.encode(log), revision=0)
    await world.drained()
    await say(world, "c1", "revoked", 2)

    async def revoked() -> bool:
        last = await world.bus.last(subjects.EVENT.name, "drive.event.v1.acme.connection.revoked")
        return last is not None

    await world.until(revoked)


@pytest.fixture
def eraser(postgres_server: PostgresServer, world: "World") -> str:
    """The URL of the world's database for a user that may erase."""
    return a_user(postgres_server, world, "drivewake_eraser")


@pytest.fixture
def keeper(postgres_server: PostgresServer, world: "World") -> str:
    """The URL of the world's database for a user that may see to a restore."""
    return a_user(postgres_server, world, "drivewake_keeper")


def a_user(postgres_server: PostgresServer, world: "World", role: str) -> str:
    """Return the URL of the world's database for a new user with a role, who reads and writes."""
    name, password = f"u_{secrets.token_hex(4)}", secrets.token_hex(8)
    postgres_server.create_role(name, password)
    postgres_server.execute(f"grant {role}, drivewake_writer, drivewake_reader to {name}")
    return postgres_server.dsn(world.dsn.rpartition("/")[2], name, password)


async def restored(world: "World", keeper: str) -> Restart:
    """Run `drivewake resync --from-store` on a world without logs; return how its lane goes on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drivewake.cli", "resync", "--from-store", "--json"),
        env={
            **os.environ,
            "DRIVEWAKE_NATS_URL": world.nats_url,
            "DRIVEWAKE_NATS_PREFIX": world.bus.link.prefix,
            "DRIVEWAKE_POSTGRES_DSN": keeper,
            "DRIVEWAKE_DATA_KEYRING": world.keyring,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, said = await process.communicate()
    assert 0 == process.returncode, said
    (lane,) = json.loads(output)["lanes"]
    return msgspec.convert(lane, Restart)


@pytest.fixture
def blobs(tmp_path: Path) -> ObjectBlobs:
    """A place for blobs with one of each connection."""
    return ObjectBlobs.open(f"file://{tmp_path}/blobs")


@pytest.fixture
def erase(world: "World", eraser: str, tmp_path: Path) -> Erase:
    """Run `drivewake erase`; return exit code, output and what it said meanwhile."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "drivewake.cli", "erase", *arguments),
            env={
                **os.environ,
                "DRIVEWAKE_NATS_URL": world.nats_url,
                "DRIVEWAKE_NATS_PREFIX": world.bus.link.prefix,
                "DRIVEWAKE_POSTGRES_DSN": eraser,
                "DRIVEWAKE_EVENT_KEY": world.key,
                "DRIVEWAKE_DATA_KEYRING": world.keyring,
                "DRIVEWAKE_BLOBS_URL": f"file://{tmp_path}/blobs",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, said = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), said.decode()

    return run


async def bodies(world: "World", *streams: str) -> bytes:
    """Return all that stands in streams, and in the dead letters the originals."""
    found = b"".join([letter.original() for letter in await world.dead()])
    for stream in streams:
        async with contextlib.aclosing(world.bus.follow(stream)) as messages:
            async for message in messages:
                if message is None:
                    break
                found += message.data
    return found


async def stored_bytes(server: PostgresServer, dsn: str) -> bytes:
    """Return every byte of the database's files."""
    name = dsn.rpartition("/")[2]
    session = await asyncpg.connect(server.dsn(name))
    await session.execute("checkpoint")
    oid = await session.fetchval("select oid from pg_database where datname = $1", name)
    await session.close()
    folder = server.data_path / "base" / str(oid)
    return await asyncio.to_thread(lambda: b"".join(_read(path) for path in folder.iterdir()))


def _read(path: Path) -> bytes:
    """Return a file's bytes; it may be gone since it was listed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


async def names(world: "World", tenant: str = "acme") -> dict[str, str]:
    """Return the current tree of a tenant: names by file."""
    rows = await world.rows(
        f"select file, name from current_tree.node where tenant = '{tenant}' and not removed"
    )
    return {row["file"]: row["name"] for row in rows}


def found_in(data: bytes, *texts: str) -> list[str]:
    """Return which texts stand in some bytes."""
    return [text for text in texts if text.encode() in data]


async def test_erased_connection_is_nowhere_and_the_rest_is_as_it_was(
    world: "World", erase: Erase, postgres_server: PostgresServer, blobs: ObjectBlobs
) -> None:
    """Files, rows and streams hold nothing of it; others keep what they see; nothing comes back."""
    world.normalizer().start()
    await live(world)
    for owner in ("acme/c1", "acme/c2", "acme/c10", "globex/c9"):
        await blobs.put(f"{owner}/x", b"a payload")
    before = {event.id: event for event in await world.downstream()}
    assert found_in(await bodies(world, "DRIVE_EVENT"), *GONE) == list(GONE)

    code, output, said = await erase("--connection", "c1", "--yes", "--json")
    assert 0 == code, said
    counts = json.loads(output)["erased"]
    assert (1, 1) == (counts["data_keys"], counts["files_told_anew"])
    assert (1, 1) == (counts["dead_letters"], counts["blobs"])
    kept_blobs = sorted([info.name async for info in blobs.list("")])
    assert ["acme/c10/x", "acme/c2/x", "globex/c9/x"] == kept_blobs

    assert {"shared": STAYS, "own": "c2's own"} == await names(world)
    assert {"budget": OTHER} == await names(world, "globex")
    heads = await world.rows("select kind, id from eventstore.head where tenant = 'acme'")
    kinds = {(row["kind"], row["id"]) for row in heads if not row["kind"].startswith("sighting.")}
    assert {
        *(("connection", "c2"), ("file", "shared"), ("file", "own"), ("shared_drive", "d2")),
        ("membership.c2", "d2"),
    } == kinds
    files = await stored_bytes(postgres_server, world.dsn)
    assert [] == found_in(files, *GONE)
    assert [STAYS, OTHER] == found_in(files, STAYS, OTHER)
    assert [] == found_in(await bodies(world, "DRIVE_EVENT"), *GONE)
    assert await (await world.bus.key_value(subjects.LOGS)).get("c1.l1") is None
    after = await world.downstream()
    kept = [event for event in after if event.id in before]
    assert [event for event in before.values() if event.connection != "c1"] == kept
    told = [event for event in after if event.id not in before]
    assert ["file.discovered", "connection.erased"] == [event.type for event in told]
    assert isinstance(told[0].data, FileDiscovered)
    assert ("c2", STAYS, 2) == (
        told[0].connection,
        told[0].data.file.name,
        told[0].data.file.version,
    )

    await world.change(9, "private", 2, "Canary private")  # was on its way
    await world.change(10, "own", 2, "c2's new name", connection="c2")
    assert (
        {"c2's new name"}
        == {
            event.data.file.name  # type: ignore[union-attr]
            for event in (await world.drained())[len(after) :]
        }
    )
    assert [] == found_in(await stored_bytes(postgres_server, world.dsn), *GONE)
    assert 0 == (await erase("--connection", "c1", "--yes"))[0]
    assert (await names(world))["shared"] == STAYS
    logs = b"".join([_read(path) for path in world.directory.glob("*.log")])
    assert [] == found_in(logs, *GONE, world.keyring.partition(":")[2], world.key)


async def test_erased_tenant_leaves_the_other_one_alone(
    world: "World", erase: Erase, postgres_server: PostgresServer
) -> None:
    """Everything of the tenant is gone; its events are tombstones for whoever reads the store."""
    world.normalizer().start()
    await live(world)
    code, _, said = await erase("--tenant", "acme", "--yes", "--force")
    assert 0 == code, said
    assert {} == await names(world)
    assert {"budget": OTHER} == await names(world, "globex")
    files = await stored_bytes(postgres_server, world.dsn)
    assert [OTHER] == found_in(files, *GONE, STAYS, OTHER)
    assert [] == found_in(await bodies(world, "DRIVE_EVENT"), *GONE, STAYS)
    (heads,) = await world.rows("select count(*) from eventstore.head where tenant = 'acme'")
    assert 0 == heads[0]
    async with PostgresStore.open(world.dsn) as plain:
        store = SealedStore(plain, plain.data_keys(Keyring.parse(SecretStr(world.keyring))))
        events = await store.read(0, 0, 1000)
    mine = [event for event in events if event.tenant == "acme"]
    assert {"event.erased", "tenant.erased"} == {event.type for event in mine}
    was = {msgspec.json.decode(e.data, type=EventErased).was for e in mine[:-1]}
    assert {"file.renamed", "sighting.gained"} <= was


async def test_living_connection_is_not_erased_by_mistake(world: "World", erase: Erase) -> None:
    """Whoever is not revoked stays; nobody there to ask means no; a look changes nothing."""
    world.normalizer().start()
    await live(world)
    code, _, said = await erase("--connection", "c2", "--yes")
    assert (1, True) == (code, "revoke before erasing" in said)
    assert 0 != (await erase("--connection", "c1"))[0]
    assert 0 == (await erase("--connection", "c1", "--dry-run"))[0]
    assert 2 == (await erase())[0]
    assert [] == await world.rows("select from eventstore.data_key where erased_at is not null")


class FaultError(Exception):
    """The process died here."""


class Mortal:
    """Whatever it stands for, until the n-th call of all that share the count."""

    def __init__(self, real: object, left: list[int]) -> None:
        self._real = real
        self._left = left

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        value = getattr(self._real, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
            self._left[0] -= 1
            if self._left[0] < 0:
                raise FaultError
            return await value(*arguments, **more)

        return call


@pytest.fixture
async def at_work(
    world: "World", eraser: str, blobs: ObjectBlobs
) -> AsyncIterator[Callable[[int], Erasing]]:
    """Make an erasing that dies at its n-th call. Nothing reads while the keys are deleted."""
    async with PostgresStore.open(eraser) as plain, ErasureDesk.open(eraser) as desk:
        sealed = SealedStore(plain, plain.data_keys(Keyring.parse(SecretStr(world.keyring))))

        def make(calls: int) -> Erasing:
            left = [calls]
            mortal_desk: Any = Mortal(desk, left)
            store: Any = Mortal(sealed, left)
            bus: Any = Mortal(world.bus, left)
            eraser: Any = Mortal(NatsEraser(world.bus), left)
            mortal_blobs: Any = Mortal(blobs, left)
            restating = Restating(store, mortal_desk, world.key.encode())
            places = Places(
                desk=mortal_desk, store=store, bus=bus, eraser=eraser, blobs=mortal_blobs
            )
            return Erasing(places, restating, lanes=1, wait_s=60, tell=lambda _: None, forget_s=0)

        yield make


async def test_erasing_that_dies_anywhere_is_finished_by_the_next(
    world: "World", at_work: Callable[[int], Erasing], postgres_server: PostgresServer
) -> None:
    """Killed before each of its calls in turn, each time a little further, it ends the same."""
    world.normalizer().start()
    await live(world)
    for calls in range(1, 1000):
        try:
            await at_work(calls).erase(f"try{calls}", "acme", "c1", "test")
        except FaultError:
            continue
        break
    assert calls > 30
    told = [event for event in await world.downstream() if event.type == "connection.erased"]
    assert 1 == len(told)
    assert {"shared": STAYS, "own": "c2's own"} == await names(world)
    assert [] == found_in(await stored_bytes(postgres_server, world.dsn), *GONE)
    assert [] == found_in(await bodies(world, "DRIVE_EVENT"), *GONE)
    rows = await world.rows("select id, finished_at is not null as done from eventstore.erasure")
    assert [("try5", True)] == [(row["id"], row["done"]) for row in rows]


async def test_restored_database_does_not_bring_the_erased_back(
    world: "World",
    erase: Erase,
    keeper: str,
    postgres_server: PostgresServer,
    clone_database: Callable[..., str],
) -> None:
    """With a database from before the erasure no normalizer starts, until it is erased again.

    And before that it takes back what it lost: an erasure would stand in its place.
    """
    first = world.normalizer().start()
    await live(world)
    await world.until(lambda: _is_there(world))
    assert 0 == first.stop()
    backup = await asyncio.to_thread(clone_database, world.dsn.rpartition("/")[2])
    second = world.normalizer().start()
    assert 0 == (await erase("--connection", "c1", "--yes"))[0]
    assert 0 == second.stop()
    current = world.dsn
    name, old = current.rpartition("/")[2], backup.rpartition("/")[2]
    session = await asyncpg.connect(backup.rpartition("/")[0] + "/postgres")
    await session.execute(f'alter database "{name}" rename to "{name}_lost"')
    await session.execute(f'alter database "{old}" rename to "{name}"')
    user = world.dsn.partition("//")[2].partition(":")[0]
    await session.execute(f'grant create on database "{name}" to "{user}"')
    try:
        code, _, said = await erase("--replay")
        assert (1, True) == (code, "drivewake resync --from-store" in said), said
        lost = await restored(world, keeper)
        assert (2, 0) == (lost.taken_back, lost.next_position)
        refused = world.normalizer().start(wait=False)
        assert 0 != refused.wait(30)
        assert any("drivewake erase --replay" in line for line in refused.log_tail(20))
        code, _, said = await erase("--replay", "--wait", "0")
        assert (1, True) == (code, "not finished" in said), said
        rows = await world.rows("select from eventstore.data_key where erased_at is not null")
        assert 1 == len(rows)
        code, _, said = await erase("--replay", "--dry-run")
        assert (0, True) == (code, "1 erasures are to be made again" in said), said
        third = world.normalizer().start()
        code, _, said = await erase("--replay")
        assert 0 == code, said
        assert 0 == third.stop()
        files = await stored_bytes(postgres_server, world.dsn)
        assert [] == found_in(files, *GONE)
    finally:
        await session.execute(f'alter database "{name}" rename to "{old}"')
        await session.execute(f'alter database "{name}_lost" rename to "{name}"')
        await session.close()


async def _is_there(world: "World") -> bool:
    return (await names(world)).get("shared") == STAYS


async def test_erasure_is_finished_after_another_one_of_its_tenant(
    world: "World", at_work: Callable[[int], Erasing]
) -> None:
    """What was cut off waits for the relay to be past it, whoever announced something since."""
    world.normalizer().start()
    await live(world)
    subject = "drive.event.v1.acme.connection.erased"
    for calls in range(8, 1000):
        with contextlib.suppress(FaultError):
            await at_work(calls).erase("cut", "acme", "c1", "test")
        if await world.bus.last(subjects.EVENT.name, subject) is not None:
            break
    await at_work(1000).erase("other", "acme", "c2", "test")
    await at_work(1000).erase("again", "acme", "c1", "test")
    rows = await world.rows("select id, finished_at is not null as done from eventstore.erasure")
    assert {("cut", True), ("other", True)} == {(row["id"], row["done"]) for row in rows}


async def test_dead_letters_of_others_stay_whatever_the_tenant_is_called(
    world: "World", at_work: Callable[[int], Erasing]
) -> None:
    """A tenant called like a partition, or like a word of a subject, owns its own letters alone."""
    world.normalizer().start()
    for tenant in ("0", "raw", "globex"):
        subject = subjects.raw(0, tenant, "c1")
        await world.bus.publish(Message(subject=subject, data=b"broken"))

    async def buried() -> bool:
        return len(await world.dead()) == 3

    await world.until(buried)
    for tenant in ("0", "raw"):
        await at_work(1000).erase(f"of-{tenant}", tenant, "", "test")
    assert [subjects.raw(0, "globex", "c1")] == [letter.subject for letter in await world.dead()]


async def test_read_model_begun_behind_the_announcement_holds_nothing_erased(
    world: "World", eraser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the erasure for settled: no reader may have remembered the keys until then."""
    monkeypatch.setattr(projection, "BATCH_EVENTS", 2)
    first = world.normalizer().start()
    await live(world)
    assert 0 == first.stop()
    ring = Keyring.parse(SecretStr(world.keyring))
    async with (
        PostgresStore.open(eraser) as plain,
        ErasureDesk.open(eraser) as desk,
        PostgresStore.open(world.dsn) as other,
    ):
        reader = SealedStore(other, other.data_keys(ring))
        before = await other.last_position(0)
        sealed = SealedStore(plain, plain.data_keys(ring))
        erasing = Erasing(
            Places(
                desk=desk, store=sealed, bus=world.bus, eraser=NatsEraser(world.bus), blobs=None
            ),
            Restating(sealed, desk, world.key.encode()),
            lanes=1,
            wait_s=60,
            tell=lambda _: None,
        )
        await reader.read(0, 0, 2)
        erasure = asyncio.create_task(erasing.erase("e1", "acme", "c1", "test"))
        while await other.last_position(0) < before + 2:  # noqa: ASYNC110 - as a reader does
            await asyncio.sleep(0.01)
        await ProjectionRunner(world.dsn, reader, CurrentTree()).rebuild()
        rows = await world.rows("select name from current_tree.node where tenant = 'acme'")
        assert {STAYS, "c2's own"} == {row["name"] for row in rows}
        erasure.cancel()
        await asyncio.wait({erasure})
