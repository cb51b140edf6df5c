"""Sealing: personal data is encrypted before it is stored, and opened when it is read.

Personal are an event's data, under the key of the connection that saw it, and the state of
heads, under the key of the tenant. Ids, types and times are not: they are opaque, and the store
works with them. Ciphertext is bound to the event's key, type and stream, or the head's kind and
id: a row that was moved or relabelled does not open. Rows that were stored before sealing was
switched on are read as they are.

    sealed event data   01 | nonce (12) | AES-256-GCM ciphertext and tag
    sealed head state   C1 01 | the same   (no MessagePack document begins with C1)

What was erased is read as an event of the type `event.erased`, at its old place.
"""

import os
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivewake.contracts.events import ERASURES, EventErased
from drivewake.eventstore.data_keys import DataKeys, Owner
from drivewake.eventstore.errors import ErasedError, KeysChangedError, StoreMismatchError
from drivewake.eventstore.store import (
    EVERYTHING,
    Appended,
    Applied,
    Batch,
    EventStore,
    Head,
    HeadWrite,
    Lease,
    Mark,
    NewEvent,
    Selection,
    StoredEvent,
)
from drivewake.runtime.errors import TamperedError
from drivewake.runtime.keyring import NONCE_BYTES

PLAIN: Final = ERASURES
"""Types that hold nothing personal and must stay readable."""
FRESH_S: Final = 1.0
"""How long a reader may go on with keys that were erased elsewhere."""
MAX_CIPHERS: Final = 100_000
MAX_ATTEMPTS: Final = 8

_VERSION: Final = b"\x01"
_HEAD: Final = b"\xc1" + _VERSION
_encoder: Final = msgspec.json.Encoder()


class _Ring:
    """Ciphers, None for erased owners, no older than an epoch: they are given up together."""

    __slots__ = ("ciphers", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.ciphers: dict[Owner, AESGCM | None] = {}

    def of(self, owner: Owner) -> AESGCM | None:
        """Return what opens an owner's data, None if it was erased."""
        try:
            return self.ciphers[owner]
        except KeyError:
            raise StoreMismatchError(
                "a data key is missing that was never erased: was the database restored in part?"
            ) from None


class SealedStore:
    """An EventStore that seals what is written to another one and opens what is read.

    Appending may raise ErasedError; reading TamperedError, and StoreMismatchError where a key
    is missing that was never erased.
    """

    def __init__(self, store: EventStore, keys: DataKeys) -> None:
        self._store = store
        self._keys = keys
        self._ring = _Ring(epoch=-1)
        self._checked_s = -FRESH_S

    async def append(self, batch: Batch) -> Appended:
        """See store.Appender."""
        for _ in range(MAX_ATTEMPTS):
            sealed = await self._sealed(batch)
            try:
                return await self._store.append(sealed)
            except KeysChangedError:
                self._checked_s = -FRESH_S
        raise KeysChangedError

    async def _sealed(self, batch: Batch) -> Batch:
        owners = {(e.tenant, e.connection) for e in _events(batch) if e.type not in PLAIN}
        owners |= {(applied.tenant, applied.connection) for applied in batch.applied}
        owners |= {(head.tenant, "") for head in batch.heads}
        owners |= {(mark.tenant, "") for mark in batch.marks}
        ring = await self._load(owners, make=True)
        ciphers = ring.ciphers
        if erased := frozenset(owner for owner in owners if ciphers[owner] is None):
            raise ErasedError(erased)
        return msgspec.structs.replace(
            batch,
            events=_seal_events(batch.events, ciphers),
            heads=[_seal_head(head, ciphers[head.tenant, ""]) for head in batch.heads],
            marks=[_seal_mark(mark, ciphers) for mark in batch.marks],
            key_epoch=ring.epoch,
        )

    async def _load(self, owners: Collection[Owner], *, make: bool) -> "_Ring":
        """Return a ring that holds the ciphers of owners; a new one when there was an erasure."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= FRESH_S:
            epoch = await self._keys.epoch()
            if epoch != self._ring.epoch or len(self._ring.ciphers) > MAX_CIPHERS:
                self._ring = _Ring(epoch=epoch)
            self._checked_s = now_s
        ring = self._ring
        if missing := [owner for owner in owners if owner not in ring.ciphers]:
            ring.ciphers |= await self._keys.load(missing, make=make)
        return ring

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """See store.HeadReader. The heads of an erased tenant are not there any more."""
        found = await self._store.heads(tenant, kind, ids)
        if not any(head.state.startswith(_HEAD) for head in found.values()):
            return found
        cipher = (await self._load([(tenant, "")], make=False)).of((tenant, ""))
        if cipher is None:
            return {}
        return {id_: _open_head(head, kind, id_, cipher) for id_, head in found.items()}

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """See store.EventReader."""
        events = await self._store.read(lane, after, limit, selection)
        if any(event.type in PLAIN for event in events):
            self._checked_s = -FRESH_S  # who has read of an erasure opens nothing of it any more
        owners = {(event.tenant, event.connection) for event in events if event.sealed}
        if not owners:
            return events
        ring = await self._load(owners, make=False)
        return [
            _open_event(event, ring.of((event.tenant, event.connection))) if event.sealed else event
            for event in events
        ]

    async def head_ids(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """See store.HeadReader."""
        return await self._store.head_ids(tenant, kind, after, limit)

    async def applied(self, tenant: str, connection: str) -> Sequence[Applied]:
        """See store.HeadReader."""
        return await self._store.applied(tenant, connection)

    async def last_position(self, lane: int) -> int:
        """See store.EventReader."""
        return await self._store.last_position(lane)

    @asynccontextmanager
    async def exclusive(self, name: str, lane: int) -> AsyncIterator[Lease]:
        """See store.Coordination."""
        async with self._store.exclusive(name, lane) as lease:
            yield lease

    async def checkpoint(self, name: str, lane: int) -> int:
        """See store.Coordination."""
        return await self._store.checkpoint(name, lane)

    async def save_checkpoint(self, name: str, lane: int, position: int) -> None:
        """See store.Coordination."""
        await self._store.save_checkpoint(name, lane, position)

    async def restarted(self, lane: int, position: int) -> int | None:
        """See store.Coordination."""
        return await self._store.restarted(lane, position)


def _events(batch: Batch) -> Iterable[NewEvent]:
    yield from batch.events
    yield from (mark.then for mark in batch.marks if mark.then is not None)


def _seal_events(
    events: Sequence[NewEvent], ciphers: Mapping[Owner, AESGCM | None]
) -> Sequence[NewEvent]:
    nonces = os.urandom(NONCE_BYTES * len(events))
    sealed: list[NewEvent] = []
    start = 0
    for event in events:
        if event.type in PLAIN:
            sealed.append(event)
            continue
        nonce = nonces[start : start + NONCE_BYTES]
        start += NONCE_BYTES
        cipher = ciphers[event.tenant, event.connection]
        assert cipher is not None  # noqa: S101 - judged before
        sealed.append(
            NewEvent(
                key=event.key,
                tenant=event.tenant,
                connection=event.connection,
                stream=event.stream,
                type=event.type,
                occurred_at=event.occurred_at,
                data=_VERSION + nonce + cipher.encrypt(nonce, event.data, _event_place(event)),
                metadata=event.metadata,
                sealed=True,
            )
        )
    return sealed


def _seal_mark(mark: Mark, ciphers: Mapping[Owner, AESGCM | None]) -> Mark:
    if mark.then is None:
        return mark
    (then,) = _seal_events([mark.then], ciphers)
    return msgspec.structs.replace(mark, then=then)


def _seal_head(head: HeadWrite, cipher: AESGCM | None) -> HeadWrite:
    if not head.state:
        return head
    assert cipher is not None  # noqa: S101 - judged before
    nonce = os.urandom(NONCE_BYTES)
    text = cipher.encrypt(nonce, head.state, _head_place(head.kind, head.id))
    return msgspec.structs.replace(head, state=_HEAD + nonce + text)


def _open_event(event: StoredEvent, cipher: AESGCM | None) -> StoredEvent:
    kind = event.type
    if cipher is None:
        erased = EventErased(was=kind)
        kind, data = "event.erased", _encoder.encode(erased)
    else:
        data = _decrypt(cipher, event.data, _VERSION, _event_place(event))
    return StoredEvent(
        lane=event.lane,
        position=event.position,
        key=event.key,
        tenant=event.tenant,
        connection=event.connection,
        stream=event.stream,
        type=kind,
        occurred_at=event.occurred_at,
        data=data,
        metadata=event.metadata,
    )


def _open_head(head: Head, kind: str, id_: str, cipher: AESGCM) -> Head:
    if not head.state.startswith(_HEAD):
        return head
    state = _decrypt(cipher, head.state, _HEAD, _head_place(kind, id_))
    return Head(revision=head.revision, state=state)


def _decrypt(cipher: AESGCM, sealed: bytes, mark: bytes, place: bytes) -> bytes:
    begin = len(mark)
    if not sealed.startswith(mark):
        raise StoreMismatchError("sealed by a newer version than this one")
    try:
        nonce = sealed[begin : begin + NONCE_BYTES]
        return cipher.decrypt(nonce, sealed[begin + NONCE_BYTES :], place)
    except (InvalidTag, ValueError):
        raise TamperedError from None


def _event_place(event: NewEvent | StoredEvent) -> bytes:
    # A type has no NUL, so that no two places read the same.
    return event.key.bytes + f"{event.type}\0{event.stream}".encode()


def _head_place(kind: str, id_: str) -> bytes:
    return f"{kind}\0{id_}".encode()
