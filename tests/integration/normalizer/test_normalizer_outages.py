"""Servers that die under a working normalizer, and what it does until they are back."""

import asyncio
import contextlib
import secrets
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drivewake.contracts.events import Event
from drivewake.lab.servers import NatsServer, PostgresServer
from drivewake.lab.suites.eventstore import migrated
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

Told = Callable[[Sequence[Event]], Counter[tuple[str, str, int]]]
pytestmark = pytest.mark.slow


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    """A nats-server that the test may kill."""
    with NatsServer() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A Postgres that the test may kill."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def fragile(
    own_nats: NatsServer,
    own_postgres: PostgresServer,
    make_world: "Callable[..., World]",
    tmp_path: Path,
) -> "AsyncIterator[World]":
    """A world whose servers belong to the test alone."""
    name = f"d{secrets.token_hex(4)}"
    own_postgres.create_database(name)
    dsn = own_postgres.dsn(name)
    await asyncio.to_thread(migrated, dsn)
    bus = await connect(name="test", url=own_nats.url)
    await provision(bus, scale=0.01)
    one = make_world(bus, own_nats.url, dsn, tmp_path)
    yield one
    one.stop()
    await bus.close()


@pytest.mark.parametrize("victim", ["nats", "postgres", "both"])
async def test_killed_servers_lose_and_repeat_nothing(
    fragile: "World",
    told: Told,
    own_nats: NatsServer,
    own_postgres: PostgresServer,
    victim: str,
) -> None:
    """SIGKILL of broker and database under load: the same process goes on when they are back."""
    process = fragile.normalizer(batch_least="1", batch_most="20").start()
    expected: Counter[tuple[str, str, int]] = Counter()
    for number in range(3):
        expected += await fragile.history(files=10, versions=3, name=f"{number}-")
        if victim in {"nats", "both"}:
            own_nats.kill()
        if victim in {"postgres", "both"}:
            own_postgres.kill()
        if victim in {"nats", "both"}:
            own_nats.start()
        if victim in {"postgres", "both"}:
            own_postgres.start()
    events = await fragile.drained()
    assert process.running
    assert expected == told(events)
    assert [*range(1, len(events) + 1)] == [event.position for event in events]
    assert len(events) == len({event.id for event in events})


async def test_starts_while_postgres_is_away(
    fragile: "World", own_postgres: PostgresServer
) -> None:
    """A normalizer waits for a database that is still starting."""
    own_postgres.kill()
    process = fragile.normalizer().start(wait=False)
    await asyncio.sleep(1)
    assert process.running
    own_postgres.start()
    process.wait_ready()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["  commit", "ack"])
async def test_server_that_dies_in_the_middle_of_a_step(
    fragile: "World",
    told: Told,
    own_nats: NatsServer,
    own_postgres: PostgresServer,
    step: str,
    when: str,
) -> None:
    """Postgres dies around a commit, NATS around an acknowledgement: the process goes on."""
    server = own_postgres if step == "  commit" else own_nats
    expected = await fragile.history(files=10, versions=3, name="a")
    process = fragile.normalizer(
        f"{step}:{when}:2", victim=server.pid, batch_least="1", batch_most="20"
    )
    process.start(wait=False)

    async def dead() -> bool:
        return not server.running

    await fragile.until(dead)
    server.kill()
    server.start()
    expected += await fragile.history(files=10, versions=3, name="b")
    events = await fragile.drained()
    assert process.running
    assert expected == told(events)
    assert [*range(1, len(events) + 1)] == [event.position for event in events]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own, small enough to fill, that a server under another user may enter."""
    directory = tempfile.mkdtemp(prefix="drivewake-disk-")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=320m,mode=0711", "none", directory],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        Path(directory).rmdir()
        pytest.skip("a small disk can only be mounted by a root that may mount")
    yield Path(directory)
    subprocess.run(["umount", "--lazy", directory], check=True)
    Path(directory).rmdir()


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; deleting the file returned makes room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * (64 << 10))
    return filler


@pytest.mark.parametrize("victim", ["nats", "postgres"])
async def test_full_disk_stops_and_loses_nothing(
    small_disk: Path,
    make_world: "Callable[..., World]",
    tmp_path: Path,
    told: Told,
    victim: str,
) -> None:
    """A server without space: the normalizer waits, and goes on when there is some again."""
    places = {name: small_disk / name if name == victim else None for name in ("nats", "postgres")}
    with NatsServer(places["nats"]) as nats, PostgresServer(places["postgres"]) as postgres:
        postgres.create_database("d")
        await asyncio.to_thread(migrated, postgres.dsn("d"))
        bus = await connect(name="test", url=nats.url)
        await provision(bus, scale=0.01)
        world = make_world(bus, nats.url, postgres.dsn("d"), tmp_path)
        try:
            expected = await world.history(files=20, versions=3, name="a")
            filler = fill(small_disk)
            process = world.normalizer(batch_least="1", batch_most="20").start(wait=False)
            await asyncio.sleep(4)
            filler.unlink()
            # What an operator does: nats-server switches JetStream off when its disk is full.
            server = nats if victim == "nats" else postgres
            server.kill()
            server.start()
            if not process.running:
                world.normalizer().start()
            expected += await world.history(files=20, versions=3, name="b")
            events = await world.drained()
        finally:
            world.stop()
            await bus.close()
    assert expected == told(events)
    assert [*range(1, len(events) + 1)] == [event.position for event in events]
    assert len(events) == len({event.id for event in events})
