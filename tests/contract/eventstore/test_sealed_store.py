"""A store that seals keeps the store's promises, in memory and in Postgres."""

import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest

from drivewake.eventstore.data_keys import MemoryDataKeys
from drivewake.eventstore.errors import PoisonError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import ABSENT, Batch, EventStore
from drivewake.lab.suites.eventstore import EventStoreContract, a_head, an_event
from drivewake.runtime.keyring import Keyring


class SealedContract(EventStoreContract):
    """All of it; the database judges only what it can still read."""

    @pytest.mark.parametrize(
        "fault",
        [{"stream": "a\x00b"}, {"metadata": b""}, {"data": b'"' + b"x" * (768 << 10) + b'"'}],
        ids=["nul", "empty", "large"],
    )
    async def test_poison_is_named_and_nothing_is_written(
        self, store: EventStore, fault: dict[str, object]
    ) -> None:
        """What can never be stored refuses the batch by name."""
        good, bad = an_event(), msgspec.structs.replace(an_event(), **fault)
        with pytest.raises(PoisonError) as caught:
            await store.append(Batch(events=[good, bad], heads=[a_head(ABSENT)]))
        assert (bad.key,) == caught.value.keys
        assert 0 == await store.last_position(0)


class TestSealedMemoryStore(SealedContract):
    """The contract, sealed in memory."""

    @pytest.fixture
    def store(self) -> SealedStore:
        """A fresh store."""
        store = MemoryStore()
        return SealedStore(store, MemoryDataKeys(store))


class TestSealedPostgresStore(SealedContract):
    """The contract, sealed in a real database."""

    @pytest.fixture
    async def store(self, database: str) -> AsyncIterator[SealedStore]:
        """A store in a database of its own."""
        async with PostgresStore.open(database) as store:
            keyring = Keyring({"k1": secrets.token_bytes(32)})
            yield SealedStore(store, store.data_keys(keyring))
