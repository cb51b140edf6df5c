"""What one append does inside its transaction.

Lock order: the lane, then heads, marks and cursors; whoever holds the lane's lock is alone with
all that belongs to it.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
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
_MANY: Final = 64
"""From here on a question about the highest key is cheaper than one about each."""


async def write(connection: AnyConnection, batch: Batch) -> Appended:
    """Write the batch inside the open transaction; raises HeadMovedError, KeysChangedError."""
    events = batch.events
    if batch.marks:
        await connection.fetchrow(_SQL["append_take"], batch.lane, [], 0)
        events = [*events, *await _set_marks(connection, batch.marks)]
    fresh = _distinct(events)
    base, known, key_epoch = await _take_positions(connection, batch.lane, fresh)
    if batch.key_epoch is not None and batch.key_epoch != key_epoch:
        raise KeysChangedError
    if batch.heads:
        await _advance(connection, batch.heads)
    new = [event for key, event in fresh.items() if key not in known] if known else fresh.values()
    if new:
        await connection.copy_records_to_table(
            "event",
            schema_name="eventstore",
            columns=_COLUMNS,
            records=_records(new, base, batch.lane),
        )
    if batch.applied:
        await _set_applied(connection, batch.applied)
    return Appended(
        first_position=base + 1 if new else 0,
        stored=len(new),
        duplicates=_duplicates(events, known) if len(new) < len(events) else (),
    )


async def _take_positions(
    connection: AnyConnection, lane: int, fresh: Mapping[int, NewEvent]
) -> tuple[int, set[int], int]:
    """Lock the lane; return the position before the new events, known keys, and the key epoch.

    Keys rise with time. So of a large batch only those are looked for that are not above all
    keys there are, and if there is none of them, nothing is left to ask.
    """
    if len(fresh) < _MANY:
        suspects = [event.key for event in fresh.values()]
    else:
        row = await connection.fetchrow(
            _SQL["append_lock"], lane, uuid.UUID(int=min(fresh)), len(fresh)
        )
        assert row is not None  # noqa: S101 - the function returns one row
        if row["base"] is not None:
            return row["base"], set(), row["key_epoch"]
        high = row["high"].int
        suspects = [event.key for number, event in fresh.items() if number <= high]
    row = await connection.fetchrow(_SQL["append_take"], lane, suspects, len(fresh) - len(suspects))
    assert row is not None  # noqa: S101 - the function returns one row
    return row["base"], {key.int for key in row["dup"] or ()}, row["key_epoch"]


def _distinct(events: Sequence[NewEvent]) -> dict[int, NewEvent]:
    """Return the first event of each key, in order, by the key as a number."""
    fresh: dict[int, NewEvent] = {}
    for event in events:
        fresh.setdefault(event.key.int, event)
    return fresh


def _duplicates(events: Sequence[NewEvent], known: set[int]) -> tuple[uuid.UUID, ...]:
    seen = set(known)
    found = []
    for event in events:
        number = event.key.int
        if number in seen:
            found.append(event.key)
        seen.add(number)
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
