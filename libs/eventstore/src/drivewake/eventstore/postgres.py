"""The event store in Postgres: its append, its reads and its heads.

An append is one transaction of five round trips: begin; lock the lane and find known keys;
compare and advance heads; binary COPY; commit. Whatever goes wrong cuts the connection and
drops the batch: the caller reads the heads again and decides again, and keys and heads
recognise what had been committed after all.
"""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self

import asyncpg

from drivewake.eventstore import metrics
from drivewake.eventstore.appending import write
from drivewake.eventstore.archive.files import Files
from drivewake.eventstore.archive.reading import ArchiveReader
from drivewake.eventstore.archive.records import Manifest, decode_manifest
from drivewake.eventstore.checks import find_oversize, find_poison
from drivewake.eventstore.connections import (
    READER,
    WRITER,
    Pool,
    borrowed,
    open_pool,
)
from drivewake.eventstore.coordination import PostgresCoordination
from drivewake.eventstore.data_keys import Owner, PostgresDataKeys
from drivewake.eventstore.errors import (
    ArchivedError,
    PoisonError,
    StoreMismatchError,
)
from drivewake.eventstore.months import Months
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.recovery import without_recovered
from drivewake.eventstore.store import (
    EVERYTHING,
    MAX_READ_EVENTS,
    Appended,
    Applied,
    Batch,
    Head,
    Selection,
    StoredEvent,
)
from drivewake.runtime.keyring import Keyring

_SQL = load_queries("store")
_ARCHIVE_SQL = load_queries("archive")
_KEYS_SQL = load_queries("data_keys")
STRIDE: Final = 250_000
"""Positions that one statement looks through for what is selected: no statement is for ever."""
_CLOSE_S: Final = 5.0


class PostgresStore(PostgresCoordination):
    """An EventStore in a Postgres database that has the migrations of `sql/migrations`."""

    def __init__(
        self, dsn: str, *, writers: Pool, readers: Pool, archive: Files | None = None
    ) -> None:
        super().__init__(dsn, readers)
        self._recovered: frozenset[bytes] = frozenset()
        self._archive = None if archive is None else ArchiveReader(self, archive)
        self._writers = writers
        self._readers = readers
        self._months = Months(self._ensure_month)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, *, writers: int = 2, readers: int = 4, archive: Files | None = None
    ) -> AsyncIterator[Self]:
        """Connect, and disconnect at the end. What is in no table any more is read from `archive`.

        Raises StoreUnavailableError; StoreMismatchError when user, schema or settings do not
        fit, above all when the database would acknowledge commits that it may still lose.
        """
        async with AsyncExitStack() as stack:
            pools = []
            for settings, size in ((WRITER, writers), (READER, readers)):
                pool = await open_pool(dsn, settings, size=size)
                stack.push_async_callback(_close, pool)
                pools.append(pool)
            store = cls(dsn, writers=pools[0], readers=pools[1], archive=archive)
            await store.check()
            yield store

    async def check(self) -> None:
        """Return if the database answers and is durable; raise as `open` does."""
        async with borrowed(self._writers) as connection:
            if await connection.fetchval(_SQL["durability"]) == "off":
                raise StoreMismatchError("synchronous_commit is off: commits would be lost")
            await connection.fetchval(_SQL["last_position"], 0)

    async def load_recovered(self) -> None:
        """Learn which facts were taken back after a restore, so as not to store them again."""
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(_SQL["recovered"])
        self._recovered = frozenset(row["fact"] for row in rows)

    def data_keys(self, keyring: Keyring) -> PostgresDataKeys:
        """Return the data keys in this database."""
        return PostgresDataKeys(self._readers, keyring)

    async def is_sealed(self) -> bool:
        """Return whether anything was ever sealed here: a keyring is needed then."""
        async with borrowed(self._readers) as connection:
            return bool(await connection.fetchval(_KEYS_SQL["exist"]))

    async def not_erased(self, owners: Collection[Owner]) -> set[Owner]:
        """Return which owners (tenant, connection) this database does not know as erased."""
        return {*owners} - await self._among(owners, "erased")

    async def not_finished(self, owners: Collection[Owner]) -> set[Owner]:
        """Return whose erasure was not carried out to its end in this database."""
        return {*owners} - await self._among(owners, "finished")

    async def _among(self, owners: Collection[Owner], query: str) -> set[Owner]:
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(
                _KEYS_SQL[query], [tenant for tenant, _ in owners], [one for _, one in owners]
            )
        return {(row["tenant"], row["connection"]) for row in rows}

    async def prepare(self, now: dt.datetime, months: int = 2) -> Sequence[dt.datetime]:
        """Make the partitions of this month and the next ones; return those that are missing."""
        return await self._months.ahead(now, months)

    async def _ensure_month(self, month: dt.datetime) -> bool:
        async with borrowed(self._writers) as connection:
            return bool(await connection.fetchval(_SQL["ensure_month"], month))

    async def append(self, batch: Batch) -> Appended:
        """See store.Appender."""
        if self._recovered:
            batch, again = without_recovered(batch, self._recovered)
            metrics.APPENDED.add(len(again), outcome="duplicate")
        events = [*batch.events, *(mark.then for mark in batch.marks if mark.then is not None)]
        if not (events or batch.heads or batch.marks or batch.applied):
            return Appended(first_position=0, stored=0)
        if (poison := find_oversize(batch)) is not None:
            raise PoisonError(poison.reason, poison.keys)
        await self._months.of_keys(event.key for event in events)
        started_s = time.perf_counter()
        try:
            async with borrowed(self._writers) as connection, connection.transaction():
                result = await write(connection, batch)
        except PoisonError as error:
            poison = find_poison(batch)
            if poison is None:
                raise
            raise PoisonError(poison.reason, poison.keys) from error
        metrics.APPEND_S.observe(time.perf_counter() - started_s)
        metrics.APPEND_SIZE.observe(len(events))
        metrics.APPENDED.add(result.stored, outcome="stored")
        metrics.APPENDED.add(len(result.duplicates), outcome="duplicate")
        return result

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """See store.HeadReader."""
        if not ids:
            return {}
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(_SQL["heads"], tenant, kind, list(ids))
        return {id_: Head(revision=revision, state=state) for id_, revision, state in rows}

    async def head_ids(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """See store.HeadReader."""
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(_SQL["head_ids"], tenant, kind, after, limit)
        return [row["id"] for row in rows]

    async def applied(self, tenant: str, connection: str) -> Sequence[Applied]:
        """See store.HeadReader."""
        async with borrowed(self._readers) as session:
            rows = await session.fetch(_SQL["applied"], tenant, connection)
        return [Applied(**dict(row)) for row in rows]

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """See store.EventReader."""
        if selection == EVERYTHING:
            events = await self.read_live(lane, after, limit)
            whole = bool(events) and events[-1].position - after == len(events)
            if whole or not await self._misses(lane, after, events):
                return events
            return await self._archived(lane, after, limit, selection)
        async with borrowed(self._readers) as connection:
            # What is selected has holes anyway, so it is asked whether something is archived.
            if await connection.fetchval(_ARCHIVE_SQL["archived_upto"], lane, after):
                return await self._archived(lane, after, limit, selection)
            head = int(await connection.fetchval(_SQL["last_position"], lane) or 0)
            bound, rows = min(limit, MAX_READ_EVENTS), list[asyncpg.Record]()
            while after < head and len(rows) < bound:
                upto = min(after + STRIDE, head)
                rows += await connection.fetch(
                    _SQL["read_selected"],
                    *(lane, after, bound - len(rows), selection.tenant, selection.connection),
                    *(selection.stream, list(selection.types), upto),
                )
                after = upto
        return [_stored(lane, row) for row in rows]

    async def read_live(self, lane: int, after: int, limit: int) -> Sequence[StoredEvent]:
        """See archive.reading.ArchivedStore."""
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(_SQL["read"], lane, after, min(limit, MAX_READ_EVENTS))
        return [_stored(lane, row) for row in rows]

    async def _misses(self, lane: int, after: int, events: Sequence[StoredEvent]) -> bool:
        """Return whether events are missing behind a position, among or instead of these."""
        last = events[-1].position if events else await self.last_position(lane)
        if last <= after:
            return False
        if not events and await self.read_live(lane, after, 1):
            return False  # they came in this moment: the next read has them
        return last - after - len(events) != await self.unused(lane, after, last)

    async def _archived(
        self, lane: int, after: int, limit: int, selection: Selection
    ) -> Sequence[StoredEvent]:
        if self._archive is None:
            raise ArchivedError
        return await self._archive.read(lane, after, limit, selection)

    async def manifests(self) -> Sequence[Manifest]:
        """See archive.reading.ArchivedStore."""
        async with borrowed(self._readers) as connection:
            rows = await connection.fetch(_ARCHIVE_SQL["archived"])
        return [decode_manifest(row["manifest"]) for row in rows]

    async def unused(self, lane: int, after: int, upto: int) -> int:
        """See archive.reading.ArchivedStore."""
        async with borrowed(self._readers) as connection:
            return int(await connection.fetchval(_ARCHIVE_SQL["unused"], lane, after, upto))

    async def rest_events(self, bound: int) -> int:
        """Return how many events stand outside of the partition of their month, up to a bound."""
        async with borrowed(self._readers) as connection:
            return int(await connection.fetchval(_ARCHIVE_SQL["rest"], bound))

    async def last_position(self, lane: int) -> int:
        """See store.EventReader."""
        async with borrowed(self._readers) as connection:
            return int(await connection.fetchval(_SQL["last_position"], lane) or 0)


async def _close(pool: Pool) -> None:
    """Close in order, but not for longer than a shutdown may take."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def _stored(lane: int, row: asyncpg.Record) -> StoredEvent:
    position, key, tenant, connection, stream, type_, occurred_at, data, metadata, sealed = row
    return StoredEvent(
        lane=lane,
        position=position,
        key=key,
        tenant=tenant,
        connection=connection,
        stream=stream,
        type=type_,
        occurred_at=occurred_at,
        data=data if sealed is None else sealed,
        metadata=metadata,
        sealed=sealed is not None,
    )
