"""The event store in memory: the same promises, except that it ends with its process."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from drivewake.eventstore.checks import find_poison
from drivewake.eventstore.errors import HeadMovedError, KeysChangedError, MovedHead, PoisonError
from drivewake.eventstore.store import (
    ABSENT,
    ANY,
    EVERYTHING,
    EXISTS,
    MAX_READ_EVENTS,
    Appended,
    Applied,
    Batch,
    Head,
    HeadWrite,
    Lease,
    Mark,
    NewEvent,
    Selection,
    StoredEvent,
)

_HeadKey = tuple[str, str, str]


class MemoryStore:
    """An EventStore in memory; a crash is imitated by throwing it away."""

    def __init__(self) -> None:
        self.key_epoch = 0
        self._events: dict[int, list[StoredEvent]] = {}
        self._keys: set[uuid.UUID] = set()
        self._heads: dict[_HeadKey, Head] = {}
        self._marks: dict[tuple[str, str, str], set[int]] = {}
        self._applied: dict[tuple[str, str, int], Applied] = {}
        self._checkpoints: dict[tuple[str, int], int] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    async def append(self, batch: Batch) -> Appended:
        """See Appender. Nothing here waits, so nothing comes between check and write."""
        poison = find_poison(batch)
        if poison is not None:
            raise PoisonError(poison.reason, poison.keys)
        if batch.key_epoch not in {None, self.key_epoch}:
            raise KeysChangedError
        self._check_heads(batch.heads)
        events = [*batch.events, *self._set_marks(batch.marks)]
        log = self._events.setdefault(batch.lane, [])
        first = len(log) + 1
        duplicates: list[uuid.UUID] = []
        for event in events:
            if event.key in self._keys:
                duplicates.append(event.key)
                continue
            self._keys.add(event.key)
            log.append(
                StoredEvent(lane=batch.lane, position=len(log) + 1, **msgspec.structs.asdict(event))
            )
        self._advance(batch.heads)
        for cursor in batch.applied:
            place = (cursor.tenant, cursor.log, cursor.partition)
            known = self._applied.get(place)
            if known is None or known.observed_at <= cursor.observed_at:
                self._applied[place] = cursor
        stored = len(log) + 1 - first
        return Appended(
            first_position=first if stored else 0, stored=stored, duplicates=tuple(duplicates)
        )

    def _check_heads(self, writes: Sequence[HeadWrite]) -> None:
        moved: list[MovedHead] = []
        for write in writes:
            head = self._heads.get((write.tenant, write.kind, write.id))
            found = ABSENT if head is None else head.revision
            if write.expected in {ANY, found} or (write.expected == EXISTS and found):
                continue
            moved.append(
                MovedHead(
                    tenant=write.tenant,
                    kind=write.kind,
                    id=write.id,
                    expected=write.expected,
                    found=found,
                )
            )
        if moved:
            raise HeadMovedError(tuple(moved))

    def _advance(self, writes: Sequence[HeadWrite]) -> None:
        for write in writes:
            place = (write.tenant, write.kind, write.id)
            known = self._heads.get(place)
            revision = 1 if known is None else known.revision + 1
            self._heads[place] = Head(revision=revision, state=write.state)

    def _set_marks(self, marks: Sequence[Mark]) -> list[NewEvent]:
        completed: list[NewEvent] = []
        for mark in marks:
            seen = self._marks.setdefault((mark.tenant, mark.log, mark.fact), set())
            before = len(seen)
            seen.add(mark.partition)
            if before < len(seen) == mark.of and mark.then is not None:
                completed.append(mark.then)
        return completed

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """See HeadReader."""
        found = {id_: self._heads.get((tenant, kind, id_)) for id_ in ids}
        return {id_: head for id_, head in found.items() if head is not None}

    async def head_ids(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """See HeadReader."""
        ids = (id_ for of, named, id_ in self._heads if (of, named) == (tenant, kind))
        return sorted(id_ for id_ in ids if id_ > after)[:limit]

    async def applied(self, tenant: str, connection: str) -> Sequence[Applied]:
        """See HeadReader."""
        mine = [
            cursor
            for cursor in self._applied.values()
            if (cursor.tenant, cursor.connection) == (tenant, connection)
        ]
        return sorted(mine, key=lambda cursor: (cursor.log, cursor.partition))

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """See EventReader."""
        bound = min(limit, MAX_READ_EVENTS)
        chosen: list[StoredEvent] = []
        for event in self._events.get(lane, [])[max(after, 0) :]:
            if len(chosen) == bound:
                break
            if _selected(event, selection):
                chosen.append(event)
        return chosen

    async def last_position(self, lane: int) -> int:
        """See EventReader."""
        return len(self._events.get(lane, []))

    @asynccontextmanager
    async def exclusive(self, name: str, lane: int) -> AsyncIterator[Lease]:
        """See Coordination."""
        async with self._locks.setdefault((name, lane), asyncio.Lock()):
            yield _Held()

    async def checkpoint(self, name: str, lane: int) -> int:
        """See Coordination."""
        return self._checkpoints.get((name, lane), 0)

    async def save_checkpoint(self, name: str, lane: int, position: int) -> None:
        """See Coordination."""
        self._checkpoints[name, lane] = max(position, self._checkpoints.get((name, lane), 0))

    async def restarted(self, lane: int, position: int) -> int | None:
        """See store.Coordination. Memory is not restored."""
        del lane, position
        return None


class _Held:
    """A lock in memory is never lost while it is held."""

    async def check(self) -> None:
        """See Lease."""


def _selected(event: StoredEvent, selection: Selection) -> bool:
    return (
        selection.tenant in {"", event.tenant}
        and selection.connection in {"", event.connection}
        and selection.stream in {"", event.stream}
        and (not selection.types or event.type in selection.types)
    )
