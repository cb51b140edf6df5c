"""Data keys: one for each tenant and one for each connection, kept wrapped under a keyring.

The database has the wrapped keys and never the keyring; the keyring's owner has no data. An
erased key leaves a tombstone, so that none is ever made again for its owner. The epoch rises
with every erasure: who remembers keys compares it.
"""

import os
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivewake.eventstore.connections import Pool, borrowed
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.queries import load_queries
from drivewake.runtime.keyring import KEY_BYTES, Keyring, Place, Sealed

PURPOSE: Final = "data_key"

Owner = tuple[str, str]
"""Tenant and connection; "" for the tenant itself."""

_SQL = load_queries("data_keys")


class DataKeys(Protocol):
    """Where data keys are. Safe to share between tasks; may raise StoreUnavailableError."""

    async def epoch(self) -> int:
        """Return how many erasures there were."""
        ...

    async def load(self, owners: Collection[Owner], *, make: bool) -> Mapping[Owner, AESGCM | None]:
        """Return the cipher of each owner, None for an erased one.

        With `make` every owner that has no key gets one, kept durably before it is returned;
        without, it is left out. An erased tenant's connections are erased. Raises SecretError
        if a key cannot be unwrapped.
        """
        ...


class PostgresDataKeys:
    """Data keys in the event store's database."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def epoch(self) -> int:
        """See DataKeys."""
        async with borrowed(self._pool) as connection:
            return int(await connection.fetchval(_SQL["epoch"]))

    async def load(self, owners: Collection[Owner], *, make: bool) -> Mapping[Owner, AESGCM | None]:
        """See DataKeys."""
        wanted = {*owners, *((tenant, "") for tenant, _ in owners)}
        rows = sorted(wanted)
        async with borrowed(self._pool) as connection:
            found = await connection.fetch(
                _SQL["keys"], [tenant for tenant, _ in rows], [one for _, one in rows]
            )
        known = {
            (row["tenant"], row["connection"]): self._unwrap(
                (row["tenant"], row["connection"]), row["ring_key"], row["wrapped"]
            )
            for row in found
        }
        gone = {tenant for (tenant, one), cipher in known.items() if not one and cipher is None}
        known |= {owner: None for owner in wanted if owner[0] in gone}
        if make:
            # In this order a tenant's own key comes before those of its connections.
            for owner in rows:
                if owner not in known:
                    known[owner] = await self._make(owner)
        return {owner: known[owner] for owner in owners if owner in known}

    async def _make(self, owner: Owner) -> AESGCM | None:
        """Keep a new key; if somebody else was faster, return theirs."""
        wrapped = self._keyring.seal_bytes(os.urandom(KEY_BYTES), place(owner))
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(_SQL["keep"], *owner, wrapped.key_id, wrapped.data)
        assert row is not None  # noqa: S101 - the function returns one row
        return self._unwrap(owner, row["ring_key"], row["wrapped"])

    def _unwrap(self, owner: Owner, ring_key: str | None, wrapped: bytes | None) -> AESGCM | None:
        if ring_key is None or wrapped is None:
            return None
        return AESGCM(self._keyring.open_bytes(Sealed(ring_key, wrapped), place(owner)))


class MemoryDataKeys:
    """Data keys in memory, of a store in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._keys: dict[Owner, AESGCM | None] = {}

    async def epoch(self) -> int:
        """See DataKeys."""
        return self._store.key_epoch

    async def load(self, owners: Collection[Owner], *, make: bool) -> Mapping[Owner, AESGCM | None]:
        """See DataKeys."""
        found: dict[Owner, AESGCM | None] = {}
        for owner in owners:
            if self._keys.get((owner[0], ""), 1) is None:
                found[owner] = None
            elif owner in self._keys or make:
                found[owner] = self._keys.setdefault(owner, AESGCM(os.urandom(KEY_BYTES)))
        return found

    def erase(self, owner: Owner) -> None:
        """Delete the key of a connection, or of a tenant and all of its connections."""
        self._keys[owner] = None
        self._store.key_epoch += 1


def place(owner: Owner) -> Place:
    """Return what an owner's wrapped key is bound to."""
    tenant, connection = owner
    return Place(tenant, connection, PURPOSE)
