"""Sealed events in a real database: what is stored, who opens it, what erasing takes away."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from drivewake.contracts.events import EventErased
from drivewake.eventstore.codec import to_event
from drivewake.eventstore.errors import ErasedError, StoreMismatchError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import ABSENT, ANY, Batch, HeadWrite, NewEvent
from drivewake.lab.suites.eventstore import a_head, an_event
from drivewake.runtime.errors import TamperedError, UnknownKeyError
from drivewake.runtime.keyring import Keyring

KEYRING = Keyring({"k1": secrets.token_bytes(32)})


@pytest.fixture
async def plain(database: str) -> AsyncIterator[PostgresStore]:
    """The store without sealing."""
    async with PostgresStore.open(database) as store:
        yield store


@pytest.fixture
def store(plain: PostgresStore) -> SealedStore:
    """The same, sealing."""
    return sealing(plain)


def sealing(plain: PostgresStore, keyring: Keyring = KEYRING) -> SealedStore:
    """Return another process's view: a sealing store that remembers no key yet."""
    return SealedStore(plain, plain.data_keys(keyring))


async def erase(database: str, tenant: str, connection: str = "") -> None:
    """Delete the keys of a tenant or connection, as the erasing command does."""
    session = await asyncpg.connect(database)
    name = f"e-{tenant}-{connection}"
    await session.execute(
        "select eventstore.begin_erasure($1, $2, $3, 'test')", name, tenant, connection
    )
    await session.execute("select eventstore.erase_data_keys($1)", name)
    await session.close()


async def kinds(store: SealedStore) -> list[str]:
    """Return the types of all events, in order."""
    return [event.type for event in await store.read(0, 0, 100)]


def of_acme(event: NewEvent) -> HeadWrite:
    """Return a head of the tenant `acme`, named as an event's file."""
    return HeadWrite(tenant="acme", kind="file", id=event.stream, expected=ANY, state=b"state")


async def test_nothing_personal_is_stored(store: SealedStore, database: str) -> None:
    """Neither a row of events nor one of heads holds what was told; the store tells it."""
    event = an_event(7)
    await store.append(Batch(events=[event], heads=[a_head(ABSENT, b"a secret state")]))
    session = await asyncpg.connect(database)
    rows = await session.fetch("select e::text as row from eventstore.event e")
    rows += await session.fetch("select h::text as row from eventstore.head h")
    await session.close()
    hexed = [b"name 7".hex(), b"a secret state".hex()]
    assert not [text for row in rows for text in ["name 7", "a secret", *hexed] if text in row[0]]
    assert event.data == (await store.read(0, 0, 1))[0].data
    assert b"a secret state" == (await store.heads("acme", "file", ["f1"]))["f1"].state


async def test_what_was_stored_before_sealing_is_read(
    plain: PostgresStore, store: SealedStore
) -> None:
    """Rows from before the keyring stay as they are, beside those that are sealed."""
    old, new = an_event(1), an_event(2)
    await plain.append(Batch(events=[old], heads=[a_head(ABSENT, b"\x81old")]))
    await store.append(Batch(events=[new]))
    assert [old.data, new.data] == [event.data for event in await store.read(0, 0, 10)]
    assert b"\x81old" == (await store.heads("acme", "file", ["f1"]))["f1"].state


@pytest.mark.parametrize(
    "change",
    [
        *("key = '00000000-0000-8000-8000-000000000001'", "type = 'file.moved'"),
        *("stream = 'f2'", "connection = 'c2'", "tenant = 'other'"),
    ],
)
async def test_relabelled_event_does_not_open(
    store: SealedStore, database: str, change: str
) -> None:
    """A row moved to another key, type, file, connection or tenant is refused, not believed."""
    await store.append(Batch(events=[an_event(1), an_event(1, connection="c2", file="f3")]))
    await store.append(Batch(events=[an_event(1, tenant="other", file="f4")]))
    session = await asyncpg.connect(database)
    await session.execute("set session_replication_role = replica")  # past the triggers
    await session.execute(f"update eventstore.event set {change} where position = 1")
    await session.close()
    with pytest.raises(TamperedError):
        await store.read(0, 0, 10)


async def test_swapped_heads_do_not_open(store: SealedStore, database: str) -> None:
    """The state of one head in the place of another is refused."""
    await store.append(Batch(heads=[a_head(ABSENT), a_head(ABSENT, id_="f2")]))
    session = await asyncpg.connect(database)
    await session.execute(
        "update eventstore.head set state = (select state from eventstore.head where id = 'f2')"
    )
    await session.close()
    with pytest.raises(TamperedError):
        await store.heads("acme", "file", ["f1"])


async def test_another_keyring_opens_nothing(plain: PostgresStore, store: SealedStore) -> None:
    """Without the key of the ring there is a clear error; with a rotated ring all opens."""
    await store.append(Batch(events=[an_event(1)]))
    foreign = Keyring({"k2": secrets.token_bytes(32)})
    with pytest.raises(UnknownKeyError):
        await sealing(plain, foreign).read(0, 0, 10)
    assert await plain.is_sealed()


async def test_erased_connection_leaves_tombstones(
    plain: PostgresStore, store: SealedStore, database: str
) -> None:
    """Its events become `event.erased` in their places; those of others are as they were."""
    mine, other = an_event(1), an_event(2, connection="c2")
    await store.append(Batch(events=[mine, other]))
    await erase(database, "acme", "c1")
    again = sealing(plain)
    assert ["event.erased", "file.renamed"] == await kinds(again)
    first, second = await again.read(0, 0, 10)
    assert EventErased(was="file.renamed") == to_event(first).data
    assert (mine.key, other.data) == (first.key, second.data)


async def test_erased_tenant_takes_its_connections_and_heads(
    plain: PostgresStore, store: SealedStore, database: str
) -> None:
    """Nothing of the tenant opens, nothing is sealed for it, another tenant goes on."""
    other = an_event(2, tenant="other")
    await store.append(Batch(events=[an_event(1), other], heads=[a_head(ABSENT)]))
    await erase(database, "acme")
    again = sealing(plain)
    assert ["event.erased", "file.renamed"] == await kinds(again)
    assert {} == await again.heads("acme", "file", ["f1"])
    with pytest.raises(ErasedError):
        await again.append(Batch(events=[an_event(3, connection="a new one")]))
    assert 1 == (await again.append(Batch(events=[an_event(3, tenant="other")]))).stored


async def test_remembered_key_is_of_no_use_after_the_erasure(
    store: SealedStore, database: str
) -> None:
    """A writer that still holds an erased key is refused at once, also with data of others."""
    await store.append(Batch(events=[an_event(1), an_event(2, connection="c2")]))
    await erase(database, "acme", "c1")
    event = an_event(3)
    with pytest.raises(ErasedError) as caught:
        await store.append(Batch(events=[event], heads=[of_acme(event)]))
    assert caught.value.covers("acme", "c1")
    assert not caught.value.covers("acme", "c2")
    assert {} == await store.heads("acme", "file", ["f1"])
    assert 1 == (await store.append(Batch(events=[an_event(4, connection="c2")]))).stored


async def test_lost_key_is_no_erasure(
    plain: PostgresStore, store: SealedStore, database: str
) -> None:
    """A key row that is gone without a tombstone is an error, never a silent hole."""
    await store.append(Batch(events=[an_event(1)]))
    session = await asyncpg.connect(database)
    await session.execute("delete from eventstore.data_key where connection = 'c1'")
    await session.close()
    with pytest.raises(StoreMismatchError, match="never erased"):
        await sealing(plain).read(0, 0, 10)


async def test_racing_writers_share_one_key(plain: PostgresStore) -> None:
    """Two processes that seal for a new connection at once can read each other."""
    first, second = sealing(plain), sealing(plain)
    await first.append(Batch(events=[an_event(1)]))
    await second.append(Batch(events=[an_event(2)]))
    seen = [msgspec.json.decode(event.data)["after"] for event in await first.read(0, 0, 10)]
    assert ["name 1", "name 2"] == seen
