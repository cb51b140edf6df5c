"""The erasures that were ever asked for, as the broker remembers them."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import cast

import msgspec

from drivewake.contracts.records import ErasureRecord
from drivewake.eventstore.data_keys import Owner
from drivewake.eventstore.postgres import PostgresStore
from drivewake.runtime.bus import Entry, KeyValueReader


async def unerased(bucket: KeyValueReader, store: PostgresStore) -> Sequence[ErasureRecord]:
    """Return the erasures that the database knows nothing of: it was restored to before them."""
    records = await _records(bucket)
    return [records[owner] for owner in sorted(await store.not_erased(list(records)))]


async def unfinished(bucket: KeyValueReader, store: PostgresStore) -> Sequence[ErasureRecord]:
    """Return the erasures that were not carried out to their end in this database."""
    records = await _records(bucket)
    return [records[owner] for owner in sorted(await store.not_finished(list(records)))]


async def _records(bucket: KeyValueReader) -> dict[Owner, ErasureRecord]:
    records: dict[Owner, ErasureRecord] = {}
    entries = cast("AsyncGenerator[Entry | None, None]", bucket.watch())
    async with contextlib.aclosing(entries):
        async for entry in entries:
            if entry is None:
                break
            if entry.value is not None:
                record = msgspec.json.decode(entry.value, type=ErasureRecord)
                records[record.tenant, record.connection] = record
    return records
