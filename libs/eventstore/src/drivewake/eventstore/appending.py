"""What one append does inside its transaction.

Lock order: the lane, then heads, marks and cursors; whoever holds the lane's lock is alone with
all that belongs to it.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from drivewake.eventstore.connections import AnyConnection
from drivewake.eventstore.errors import (
    HeadMovedError,
    KeysChangedError,
    MovedHead,
    StoreUnavailableError,
)
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.store import Appended, Applied, Batch, HeadWrite, Mark, NewEvent

_SQL = load_queries("store")
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
    "sealed",
)


async def write(connection: AnyConnection, batch: Batch) -> Appended:
    """Write the batch inside the open transaction; raises HeadMovedError, KeysChangedError."""
    events = batch.events
    if batch.marks:
        await connection.fetchrow(_SQL["append_begin"], batch.lane, [])
        events = [*events, *await _set_marks(connection, batch.marks)]
    fresh, repeated = _distinct(events)
    row = await connection.fetchrow(_SQL["append_begin"], batch.lane, list(fresh))
    assert row is not None  # noqa: S101 - the function returns one row
    if batch.key_epoch is not None and batch.key_epoch != row["key_epoch"]:
        raise KeysChangedError
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
            None if event.sealed else event.data,
            event.metadata,
            event.data if event.sealed else None,
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
