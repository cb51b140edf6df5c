"""The event store in Postgres: its append, its reads and its heads.

An append is one transaction of five round trips: begin; lock the lane and find known keys;
compare and advance heads; binary COPY; commit. Whatever goes wrong cuts the connection and
drops the batch: the caller reads the heads again and decides again, and keys and heads
recognise what had been committed after all.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self

import asyncpg

from drivewake.eventstore import metrics
from drivewake.eventstore.checks import find_oversize, find_poison
from drivewake.eventstore.connections import (
    READER,
    WRITER,
    AnyConnection,
    Pool,
    borrowed,
    open_pool,
)
from drivewake.eventstore.coordination import PostgresCoordination
from drivewake.eventstore.errors import (
    HeadMovedError,
    MovedHead,
    PoisonError,
    StoreMismatchError,
    StoreUnavailableError,
)
from drivewake.eventstore.months import Months
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.store import (
    EVERYTHING,
    MAX_READ_EVENTS,
    Appended,
    Applied,
    Batch,
    Head,
    HeadWrite,
    Mark,
    NewEvent,
    Selection,
    StoredEvent,
)

_SQL = load_queries("store")
_CLOSE_S: Final = 5.0
_COLUMNS: Final = (
    "position",
    "occurred_at",
    "key",
    "tenant",
    "connection",
    "lane",
    "type",
    "stream",
    "data",
    "metadata",
)


class PostgresStore(PostgresCoordination):
    """An EventStore in a Postgres database that has the migrations of `sql/migrations`."""

    def __init__(self, dsn: str, *, writers: Pool, readers: Pool) -> None:
        super().__init__(dsn, readers)
        self._writers = writers
        self._readers = readers
        self._months = Months(self._ensure_month)

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, writers: int = 2, readers: int = 4) -> AsyncIterator[Self]:
        """Connect, and disconnect at the end.

        Raises StoreUnavailableError; StoreMismatchError when user, schema or settings do not
        fit, above all when the database would acknowledge commits that it may still lose.
        """
        async with AsyncExitStack() as stack:
            pools = []
            for settings, size in ((WRITER, writers), (READER, readers)):
                pool = await open_pool(dsn, settings, size=size)
                stack.push_async_callback(_close, pool)
                pools.append(pool)
            store = cls(dsn, writers=pools[0], readers=pools[1])
            await store.check()
            yield store

    async def check(self) -> None:
        """Return if the database answers and is durable; raise as `open` does."""
        async with borrowed(self._writers) as connection:
            if await connection.fetchval(_SQL["durability"]) == "off":
                raise StoreMismatchError("synchronous_commit is off: commits would be lost")
            await connection.fetchval(_SQL["last_position"], 0)

    async def prepare(self, now: dt.datetime, months: int = 2) -> Sequence[dt.datetime]:
        """Make the partitions of this month and the next ones; return those that are missing."""
        return await self._months.ahead(now, months)

    async def _ensure_month(self, month: dt.datetime) -> bool:
        async with borrowed(self._writers) as connection:
            return bool(await connection.fetchval(_SQL["ensure_month"], month))

    async def append(self, batch: Batch) -> Appended:
        """See store.Appender."""
        events = [*batch.events, *(mark.then for mark in batch.marks if mark.then is not None)]
        if not (events or batch.heads or batch.marks or batch.applied):
            return Appended(first_position=0, stored=0)
        if (poison := find_oversize(batch)) is not None:
            raise PoisonError(poison.reason, poison.keys)
        await self._months.of_keys(event.key for event in events)
        started_s = time.perf_counter()
        try:
            async with borrowed(self._writers) as connection, connection.transaction():
                result = await _append(connection, batch)
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
        bound = min(limit, MAX_READ_EVENTS)
        async with borrowed(self._readers) as connection:
            if selection == EVERYTHING:
                rows = await connection.fetch(_SQL["read"], lane, after, bound)
            else:
                rows = await connection.fetch(
                    _SQL["read_selected"],
                    *(lane, after, bound, selection.tenant, selection.connection),
                    *(selection.stream, list(selection.types)),
                )
        return [_stored(lane, row) for row in rows]

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


async def _append(connection: AnyConnection, batch: Batch) -> Appended:
    """Write the batch inside a transaction that is open. Lock order: lane, then the rest."""
    events = batch.events
    if batch.marks:
        await connection.fetchrow(_SQL["append_begin"], batch.lane, [])
        events = [*events, *await _set_marks(connection, batch.marks)]
    fresh, repeated = _distinct(events)
    row = await connection.fetchrow(_SQL["append_begin"], batch.lane, list(fresh))
    assert row is not None  # noqa: S101 - the function returns one row
    base, known = row["base"], set(row["dup"] or ())
    if batch.heads:
        await _advance(connection, batch.heads)
    new = [event for key, event in fresh.items() if key not in known] if known else fresh.values()
    if len(known) < len(fresh):
        await connection.copy_records_to_table(
            "event",
            schema_name="eventstore",
            columns=_COLUMNS,
            records=_records(new, base, batch.lane),
        )
    if batch.applied:
        await _set_applied(connection, batch.applied)
    stored = len(fresh) - len(known)
    return Appended(
        first_position=base + 1 if stored else 0,
        stored=stored,
        duplicates=_duplicates(events, known) if known or repeated else (),
    )


def _distinct(events: Sequence[NewEvent]) -> tuple[dict[uuid.UUID, NewEvent], bool]:
    """Return the first event of each key, in order, and whether a key came again."""
    fresh: dict[uuid.UUID, NewEvent] = {}
    for event in events:
        fresh.setdefault(event.key, event)
    return fresh, len(fresh) < len(events)


def _duplicates(events: Sequence[NewEvent], known: set[uuid.UUID]) -> tuple[uuid.UUID, ...]:
    seen = set(known)
    found = []
    for event in events:
        if event.key in seen:
            found.append(event.key)
        seen.add(event.key)
    return tuple(found)


def _records(events: Collection[NewEvent], base: int, lane: int) -> Iterator[tuple[object, ...]]:
    for position, event in enumerate(events, base + 1):
        yield (
            position,
            event.occurred_at,
            event.key,
            event.tenant,
            event.connection,
            lane,
            event.type,
            event.stream,
            event.data,
            event.metadata,
        )


async def _advance(connection: AnyConnection, writes: Sequence[HeadWrite]) -> None:
    rows = await connection.fetch(
        _SQL["advance_heads"],
        [write.tenant for write in writes],
        [write.kind for write in writes],
        [write.id for write in writes],
        [write.expected for write in writes],
        [write.state for write in writes],
    )
    if rows[0]["ordinal"] == 0:
        if rows[0]["found_revision"] != len(writes):
            # Only a writer that does not hold the lane's lock can have come between.
            raise StoreUnavailableError("a head was written from outside of its lane")
        return
    raise HeadMovedError(tuple(_moved(writes[ordinal - 1], found) for ordinal, found in rows))


def _moved(write: HeadWrite, found: int) -> MovedHead:
    return MovedHead(
        tenant=write.tenant, kind=write.kind, id=write.id, expected=write.expected, found=found
    )


async def _set_marks(connection: AnyConnection, marks: Sequence[Mark]) -> list[NewEvent]:
    rows = await connection.fetch(
        _SQL["set_marks"],
        [mark.tenant for mark in marks],
        [mark.log for mark in marks],
        [mark.fact for mark in marks],
        [mark.partition for mark in marks],
        [mark.of for mark in marks],
    )
    completed = (marks[row["ordinal"] - 1].then for row in rows)
    return [event for event in completed if event is not None]


async def _set_applied(connection: AnyConnection, applied: Sequence[Applied]) -> None:
    youngest: dict[tuple[str, str, int], Applied] = {}
    for cursor in applied:
        place = (cursor.tenant, cursor.log, cursor.partition)
        if place not in youngest or youngest[place].observed_at <= cursor.observed_at:
            youngest[place] = cursor
    cursors = youngest.values()
    await connection.execute(
        _SQL["set_applied"],
        [cursor.tenant for cursor in cursors],
        [cursor.connection for cursor in cursors],
        [cursor.log for cursor in cursors],
        [cursor.partition for cursor in cursors],
        [cursor.cursor for cursor in cursors],
        [cursor.observed_at for cursor in cursors],
    )


def _stored(lane: int, row: asyncpg.Record) -> StoredEvent:
    position, key, tenant, connection, stream, type_, occurred_at, data, metadata = row
    return StoredEvent(
        lane=lane,
        position=position,
        key=key,
        tenant=tenant,
        connection=connection,
        stream=stream,
        type=type_,
        occurred_at=occurred_at,
        data=data,
        metadata=metadata,
    )
