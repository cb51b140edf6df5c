"""Servers that die under a working normalizer, and what it does until they are back."""

import asyncio
import secrets
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
