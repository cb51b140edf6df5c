"""Turning the keyring of events: data keys move under a new key, and the old one can go."""

import json
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from drivewake.eventstore import rewrapping
from drivewake.eventstore.connections import READER, connect
from drivewake.eventstore.erasing import ErasureDesk
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import ABSENT, Batch, HeadWrite
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import an_event
from drivewake.runtime.errors import UnknownKeyError
from drivewake.runtime.keyring import Keyring

KEYS = {name: secrets.token_bytes(32) for name in ("old", "new", "lost")}
TENANTS = ("acme", "globex", "initech")
Cli = Callable[..., subprocess.CompletedProcess[str]]


def ring(*names: str) -> Keyring:
    """Return a keyring of some keys, the first of them current."""
    return Keyring({name: KEYS[name] for name in names})


@pytest.fixture
async def dsn(database: str) -> str:
    """A store with events of six connections and a head of each of three tenants, under `old`."""
    async with PostgresStore.open(database) as store:
        await SealedStore(store, store.data_keys(ring("old"))).append(
            Batch(
                events=[
                    an_event(number, tenant=tenant, connection=connection, file=f"f{number}")
                    for number, (tenant, connection) in enumerate(
                        (tenant, connection) for tenant in TENANTS for connection in ("a", "b")
                    )
                ],
                heads=[
                    HeadWrite(tenant=tenant, kind="file", id="f", expected=ABSENT, state=b"known")
                    for tenant in TENANTS
                ],
            )
        )
    return database


@pytest.fixture
def cli(postgres_server: PostgresServer, dsn: str, prefix: str) -> Iterator[Cli]:
    """Run `drivewake keys …` as an eraser, with a keyring of some keys."""
    postgres_server.create_role(prefix, "secret", options="in role drivewake_eraser")
    address = postgres_server.dsn(dsn.rpartition("/")[2], prefix, "secret")

    def run(*arguments: str, ring: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        text = ",".join(f"{name}:{b64encode(KEYS[name]).decode()}" for name in ring)
        settings = {"DRIVEWAKE_POSTGRES_DSN": address, "DRIVEWAKE_DATA_KEYRING": text}
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", "keys", *arguments],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    postgres_server.execute(f"drop role {prefix}")


async def told(dsn: str, keyring: Keyring) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """Return types and data of all events, and the states of heads, as a new process reads them."""
    async with PostgresStore.open(dsn) as plain:
        store = SealedStore(plain, plain.data_keys(keyring))
        events = [(event.type, event.data) for event in await store.read(0, 0, 100)]
        heads = [await store.heads(tenant, "file", ["f"]) for tenant in TENANTS]
    return events, [head["f"].state for head in heads if head]


async def erase(dsn: str, tenant: str, connection: str) -> None:
    """Delete the data key of a connection."""
    async with ErasureDesk.open(dsn) as desk:
        await desk.erase_keys(await desk.begin(f"e-{tenant}", tenant, connection, "a test"))


async def test_the_old_key_can_go_after_all_are_rewrapped(dsn: str, cli: Cli) -> None:
    """With the new key alone everything opens as before; what was erased stays erased."""
    await erase(dsn, "globex", "a")
    before = await told(dsn, ring("old"))
    with pytest.raises(UnknownKeyError):
        await told(dsn, ring("new"))
    listed = json.loads(cli("list", "--json", ring=("new", "old")).stdout)
    assert {"current": "new", "keys": {"old": 8}} == listed
    done = cli("rewrap", "--json", ring=("new", "old"))
    assert 0 == done.returncode, done.stderr
    assert {"current": "new", "rewrapped": 8, "unreadable": {}} == json.loads(done.stdout)
    assert "new  8  (current)\n" == cli("list", ring=("new",)).stdout
    assert before == await told(dsn, ring("new"))
    assert 1 == [kind for kind, _ in before[0]].count("event.erased")
    assert "0 data keys moved to new\n" == cli("rewrap", ring=("new",)).stdout


async def test_what_does_not_open_stays_and_is_told(dsn: str, cli: Cli) -> None:
    """A data key under a key that is not in the ring is counted; the others move."""
    async with PostgresStore.open(dsn) as plain:
        await SealedStore(plain, plain.data_keys(ring("lost", "old"))).append(
            Batch(events=[an_event(9, tenant="acme", connection="c", file="f9")])
        )
    done = cli("rewrap", ring=("new", "old"))
    assert 1 == done.returncode
    assert "9 data keys moved to new\n" == done.stdout
    assert "1 under lost" in done.stderr
    assert 7 == len((await told(dsn, ring("new", "lost")))[0])


async def test_many_are_taken_a_page_at_a_time(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages end wherever they end; each key is moved once, and progress is told."""
    monkeypatch.setattr(rewrapping, "PAGE_KEYS", 4)
    session = await connect(dsn, READER)
    seen: list[int] = []
    done = await rewrapping.rewrap(session, ring("new", "old"), seen.append)
    assert (9, [4, 8, 9]) == (done.rewrapped, seen)
    assert {"new": 9} == await rewrapping.lie(session)
    await session.close()


async def test_a_key_that_was_erased_meanwhile_does_not_come_back(dsn: str) -> None:
    """What was read before an erasure cannot be put back after it."""
    session = await asyncpg.connect(dsn)
    wrapped = await session.fetchval(
        "select wrapped from eventstore.data_key where (tenant, connection) = ('acme', 'a')"
    )
    await erase(dsn, "acme", "a")
    assert 0 == await session.fetchval(
        "select eventstore.rewrap_data_keys('{acme}', '{a}', $1, 'new', $1)", [wrapped]
    )
    assert await session.fetchval(
        "select wrapped is null from eventstore.data_key where (tenant, connection) = ('acme', 'a')"
    )
    await session.close()
