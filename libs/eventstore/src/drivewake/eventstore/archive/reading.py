"""Archived and live events as one log, for whoever begins before what the store still holds."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from drivewake.eventstore.archive.files import Files
from drivewake.eventstore.archive.records import Manifest, Part, unpack
from drivewake.eventstore.errors import ArchiveError
from drivewake.eventstore.store import (
    EVERYTHING,
    MAX_READ_EVENTS,
    EventReader,
    Selection,
    StoredEvent,
)

ATTEMPTS: Final = 3
MAX_IDLE: Final = 4
"""Readers that are remembered between two reads; each holds its open files, compressed."""


class ArchivedStore(EventReader, Protocol):
    """A store, some of whose months may be archived."""

    async def read_live(self, lane: int, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return up to `limit` events behind `after` of those that are not archived."""
        ...

    async def manifests(self) -> Sequence[Manifest]:
        """Return the manifests of all archived months."""
        ...

    async def unused(self, lane: int, after: int, upto: int) -> int:
        """Return how many positions of (after, upto] are not given to any event."""
        ...


class ArchiveReader:
    """An EventReader over archive and store. Best read in order: it then opens a file once.

    What it returns has no hole: a month that is being archived meanwhile is found in the one
    place or the other. Raises ArchiveError where the archive is damaged or incomplete.
    """

    def __init__(self, store: ArchivedStore, files: Files) -> None:
        self._store = store
        self._files = files
        self._idle: dict[tuple[int, int], _Lane] = {}
        self._parts: list[Part] = []

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """See store.EventReader."""
        bound = min(limit, MAX_READ_EVENTS)
        found: list[StoredEvent] = []
        while len(found) < bound:
            events = await self._all(lane, after, bound)
            found += (event for event in events if _matches(selection, event))
            if len(events) < bound:
                break
            after = events[-1].position
        return found[:bound]

    async def last_position(self, lane: int) -> int:
        """See store.EventReader."""
        return await self._store.last_position(lane)

    async def _all(self, lane: int, after: int, limit: int) -> Sequence[StoredEvent]:
        for _ in range(ATTEMPTS):
            # In this order: what is not live any more is in the archive by then.
            live = await self._store.read_live(lane, after, limit)
            reader = await self._lane(lane, after)
            events = list(heapq.merge(live, await reader.peek(limit), key=_position))[:limit]
            if not events or await self._whole(lane, after, events):
                after = events[-1].position if events else after
                reader.advance(after)
                self._keep(lane, after, reader)
                return events
            self._parts.clear()
        raise ArchiveError(f"positions behind {after} of lane {lane} are in no archive we know")

    async def _whole(self, lane: int, after: int, events: Sequence[StoredEvent]) -> bool:
        last = events[-1].position
        missing = last - after - len(events)
        return missing == 0 or missing == await self._store.unused(lane, after, last)

    async def _lane(self, lane: int, after: int) -> "_Lane":
        """Return a reader that stands at a position: the one that came there, or a new one."""
        if not self._parts:
            self._parts = [part for one in await self._store.manifests() for part in one.parts]
            self._idle.clear()
        reader = self._idle.pop((lane, after), None)
        if reader is None:
            parts = [one for one in self._parts if one.lane == lane and one.last_position > after]
            reader = _Lane(self._files, parts, after)
        return reader

    def _keep(self, lane: int, after: int, reader: "_Lane") -> None:
        """Remember where a reader stands, whoever goes on there; the oldest is forgotten."""
        self._idle[lane, after] = reader
        if len(self._idle) > MAX_IDLE:
            del self._idle[next(iter(self._idle))]


class _Lane:
    """The archived events of one lane, merged from their files, each opened when its turn comes."""

    def __init__(self, files: Files, parts: Sequence[Part], after: int) -> None:
        self.after = after
        self._files = files
        self._closed = deque(sorted(parts, key=lambda part: part.first_position))
        self._open: list[tuple[int, int, StoredEvent, Iterator[StoredEvent]]] = []
        self._ahead: deque[StoredEvent] = deque()

    async def peek(self, limit: int) -> Sequence[StoredEvent]:
        """Return up to `limit` events behind `after`; they are returned again until `advance`."""
        while len(self._ahead) < limit:
            while self._closed and (
                not self._open or self._closed[0].first_position < self._open[0][0]
            ):
                await self._begin(self._closed.popleft())
            if not self._open:
                break
            position, number, event, rest = heapq.heappop(self._open)
            del position
            self._ahead.append(event)
            self._next(number, rest)
        return list(self._ahead)[:limit]

    def advance(self, position: int) -> None:
        """Leave behind what stands up to a position."""
        while self._ahead and self._ahead[0].position <= position:
            self._ahead.popleft()
        self.after = position

    async def _begin(self, part: Part) -> None:
        file = await self._files.get(part.name, limit_bytes=part.bytes)
        events = (event for event in unpack(part, file) if event.position > self.after)
        self._next(part.first_position, events)

    def _next(self, number: int, events: Iterator[StoredEvent]) -> None:
        event = next(events, None)
        if event is not None:
            heapq.heappush(self._open, (event.position, number, event, events))


def _position(event: StoredEvent) -> int:
    return event.position


def _matches(selection: Selection, event: StoredEvent) -> bool:
    return (
        selection.tenant in ("", event.tenant)
        and selection.connection in ("", event.connection)
        and selection.stream in ("", event.stream)
        and (not selection.types or event.type in selection.types)
    )
