"""Following a lane: first everything that is there, then what comes, as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from drivewake.contracts.subjects import DOORBELL
from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.store import (
    EVERYTHING,
    Appended,
    Appender,
    Batch,
    EventReader,
    Selection,
    StoredEvent,
)
from drivewake.eventstore.waiting import Retry
from drivewake.runtime.bus import Doorbell
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

POLL_S: Final = 0.25
"""How long news may take when the bell is silent: it may be lost, and it is not needed."""
BATCH_EVENTS: Final = 1_000

_log = get_logger(__name__)


class RingingAppender:
    """An Appender that rings the doorbell after each commit that stored something."""

    def __init__(self, appender: Appender, doorbell: Doorbell) -> None:
        self._appender = appender
        self._doorbell = doorbell

    async def append(self, batch: Batch) -> Appended:
        """See store.Appender."""
        result = await self._appender.append(batch)
        if result.stored:
            await self._doorbell.ring(DOORBELL)
        return result


class ReadAhead:
    """Reads a lane batch by batch, the next while its user still works on the last one."""

    def __init__(self, reader: EventReader, lane: int, limit: int) -> None:
        self._reader = reader
        self._lane = lane
        self._limit = limit
        self._next: tuple[int, asyncio.Task[Sequence[StoredEvent]]] | None = None

    async def read(self, after: int) -> Sequence[StoredEvent]:
        """Return the events behind a position, at most `limit`; raises as EventReader.read."""
        ahead, self._next = self._next, None
        if ahead is not None and ahead[0] == after:
            events = await ahead[1]
        else:
            _forget(ahead)
            events = await self._reader.read(self._lane, after, self._limit)
        if len(events) == self._limit:
            after = events[-1].position
            reading = self._reader.read(self._lane, after, self._limit)
            self._next = after, asyncio.ensure_future(reading)
        return events

    def forget(self) -> None:
        """Give up what was read ahead."""
        ahead, self._next = self._next, None
        _forget(ahead)


def _forget(ahead: tuple[int, asyncio.Task[Sequence[StoredEvent]]] | None) -> None:
    if ahead is not None:
        ahead[1].cancel()
        ahead[1].add_done_callback(_hear_out)


def _hear_out(task: asyncio.Task[Sequence[StoredEvent]]) -> None:
    """Take the failure of a read that nobody wants any more."""
    if not task.cancelled():
        task.exception()


async def follow(
    reader: EventReader,
    doorbell: Doorbell,
    stop: Stop,
    *,
    lane: int = 0,
    after: int = 0,
    selection: Selection = EVERYTHING,
    limit: int = BATCH_EVENTS,
) -> AsyncGenerator[Sequence[StoredEvent] | None, None]:
    """Yield the events behind position `after` in batches, then new ones until the stop.

    Yields None once, when everything that was there has been yielded. Never skips and never
    repeats; outlives a database that is away for a while.
    """
    retry = Retry(stop)
    caught_up = False
    while not stop.requested:
        try:
            # The head is asked for first: what is not found up to it will never be there.
            head = await reader.last_position(lane) if selection != EVERYTHING else after
            events = await reader.read(lane, after, limit, selection)
        except StoreUnavailableError as error:
            _log.warning("cannot read events", action="follow_retry", reason=str(error))
            await retry.wait()
            continue
        retry.reset()
        if events:
            yield events
            after = events[-1].position
        if len(events) == limit:
            continue
        after = max(after, head)
        if not caught_up:
            caught_up = True
            yield None
        await doorbell.wait(DOORBELL, POLL_S)
