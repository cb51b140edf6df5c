"""Following a lane: first everything that is there, then what comes, as it comes."""

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
