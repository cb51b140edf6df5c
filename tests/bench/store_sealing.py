"""What sealing costs an event, without a database: µs of CPU, beside bare AES-GCM of as many bytes.

Sealing and opening are done by `SealedStore` over a store that only holds on to what it is given.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import store_work as work
import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivewake.eventstore.data_keys import MemoryDataKeys
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import Batch, EventStore, NewEvent, StoredEvent
from drivewake.runtime.keyring import KEY_BYTES, NONCE_BYTES

EVENTS: Final = 20_000
BATCH: Final = 1_000
UNIT: Final = "µs/event"


class _Held:
    """A store that holds the last batch, and gives it back when it is read."""

    def __init__(self) -> None:
        self.events: Sequence[NewEvent] = []

    async def append(self, batch: Batch) -> None:
        self.events = batch.events

    async def read(self, lane: int, *_: object) -> Sequence[StoredEvent]:
        return [
            StoredEvent(
                lane=lane,
                position=position,
                key=event.key,
                tenant=event.tenant,
                connection=event.connection,
                stream=event.stream,
                type=event.type,
                occurred_at=event.occurred_at,
                data=event.data,
                metadata=event.metadata,
                sealed=event.sealed,
            )
            for position, event in enumerate(self.events, 1)
        ]


def contest() -> dict[str, Callable[[], float]]:
    """Return what is measured, by row; each gives µs of CPU an event."""
    events = work.new_events(EVENTS)
    batches = [events[start : start + BATCH] for start in range(0, EVENTS, BATCH)]
    return {
        "aes_seal_us": lambda: _aes(batches, opening=False),
        "seal_us": lambda: uvloop.run(_ours(batches, opening=False)),
        "aes_open_us": lambda: _aes(batches, opening=True),
        "open_us": lambda: uvloop.run(_ours(batches, opening=True)),
    }


async def _ours(batches: Sequence[Sequence[NewEvent]], *, opening: bool) -> float:
    """Return what `SealedStore` takes; of an opening, what it takes beyond the bare reading."""
    held = _Held()
    store = SealedStore(cast(EventStore, held), MemoryDataKeys(MemoryStore()))
    await store.append(Batch(events=batches[0]))  # makes the key
    spent_s = 0.0
    for batch in batches:
        start_s = time.process_time()
        await store.append(Batch(events=batch))
        end_s = time.process_time()
        if opening:
            start_s = end_s
            bare = await held.read(0)
            end_s = time.process_time()
            spent_s -= end_s - start_s
            start_s = time.process_time()
            found = await store.read(0, 0, len(bare))
            end_s = time.process_time()
            if [event.data for event in found] != [event.data for event in batch]:
                raise ValueError("what was sealed did not open")
        spent_s += end_s - start_s
    return spent_s * 1e6 / EVENTS


def _aes(batches: Sequence[Sequence[NewEvent]], *, opening: bool) -> float:
    """Return what encrypting or decrypting the same bytes takes, a nonce each and nothing else."""
    cipher = AESGCM(secrets.token_bytes(KEY_BYTES))
    spent_s = 0.0
    for batch in batches:
        texts: Any = [event.data for event in batch]
        start_s = time.process_time()
        nonces = os.urandom(NONCE_BYTES * len(texts))
        places = [nonces[at : at + NONCE_BYTES] for at in range(0, len(nonces), NONCE_BYTES)]
        pairs = list(zip(places, texts, strict=True))
        sealed = [cipher.encrypt(nonce, text, None) for nonce, text in pairs]
        end_s = time.process_time()
        if opening:
            start_s = end_s
            for nonce, text in zip(places, sealed, strict=True):
                cipher.decrypt(nonce, text, None)
            end_s = time.process_time()
        spent_s += end_s - start_s
    return spent_s * 1e6 / EVENTS
