"""Following a lane."""

import asyncio
from collections.abc import Sequence

import pytest

from drivewake.contracts.subjects import DOORBELL
from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.follower import ReadAhead, RingingAppender, follow
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.store import EVERYTHING, Batch, Selection, StoredEvent
from drivewake.lab.suites.eventstore import an_event, eventually
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus


class Reading:
    """Follows a lane in the background and notes what it is given; None stands for caught up."""

    def __init__(self, store: MemoryStore, selection: Selection = EVERYTHING) -> None:
        self.bus = MemoryBus()
        self.seen: list[int | None] = []
        self._stop = Stop()
        self._task = asyncio.create_task(self._run(store, selection))

    async def _run(self, store: MemoryStore, selection: Selection) -> None:
        async for events in follow(store, self.bus, self._stop, selection=selection, limit=2):
            self.seen += [None] if events is None else [event.position for event in events]

    async def until(self, seen: list[int | None]) -> None:
        """Wait until exactly that was seen; fails with what was seen instead."""

        async def enough() -> bool:
            return len(self.seen) >= len(seen)

        await eventually(enough)
        assert seen == self.seen

    async def end(self) -> None:
        """Stop following."""
        self._stop.request()
        await self.bus.ring(DOORBELL)
        await self._task


async def test_old_events_then_a_sign_then_new_ones() -> None:
    """First everything that is there, then None once, then what comes; nothing twice."""
    store = MemoryStore()
    await store.append(Batch(events=[an_event() for _ in range(5)]))
    reading = Reading(store)
    await reading.until([1, 2, 3, 4, 5, None])
    appender = RingingAppender(store, reading.bus)
    for _ in range(2):
        await appender.append(Batch(events=[an_event() for _ in range(3)]))
    await reading.until([1, 2, 3, 4, 5, None, 6, 7, 8, 9, 10, 11])
    await reading.end()


async def test_empty_lane_is_caught_up_at_once() -> None:
    """Following an empty lane begins with the sign."""
    reading = Reading(MemoryStore())
    await reading.until([None])
    await reading.end()


async def test_silent_bell_only_delays() -> None:
    """Without the bell, news are found by asking."""
    store = MemoryStore()
    reading = Reading(store)
    await reading.until([None])
    await store.append(Batch(events=[an_event()]))
    await reading.until([None, 1])
    await reading.end()


async def test_selection_follows_only_what_it_wants() -> None:
    """What is not selected is passed over, before and after catching up."""
    store = MemoryStore()
    for connection in ("c1", "c2", "c2", "c1", "c2"):
        await store.append(Batch(events=[an_event(connection=connection)]))
    reading = Reading(store, Selection(connection="c1"))
    await reading.until([1, 4, None])
    appender = RingingAppender(store, reading.bus)
    await appender.append(Batch(events=[an_event(connection="c2"), an_event(connection="c1")]))
    await reading.until([1, 4, None, 7])
    await reading.end()


class Shaky(MemoryStore):
    """A store whose every second read fails."""

    reads = 0

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """Fail every second time."""
        self.reads += 1
        if self.reads % 2:
            raise StoreUnavailableError
        return await super().read(lane, after, limit, selection)


async def test_store_that_is_away_is_waited_for() -> None:
    """Failing reads are made again, from where the last good one ended."""
    store = Shaky()
    await store.append(Batch(events=[an_event() for _ in range(3)]))
    reading = Reading(store)
    await reading.until([1, 2, 3, None])
    await reading.end()


@pytest.mark.parametrize("known", [True, False])
async def test_bell_rings_for_news_only(*, known: bool) -> None:
    """The bell rings after a commit that stored something, and not for duplicates."""
    store, bus = MemoryStore(), MemoryBus()
    event = an_event()
    if known:
        await store.append(Batch(events=[event]))
    await bus.wait(DOORBELL, 0.0)
    await RingingAppender(store, bus).append(Batch(events=[event]))
    assert (not known) == await bus.wait(DOORBELL, 0.0)


async def test_reading_ahead_gives_what_reading_gives() -> None:
    """In order, after a jump and after what came meanwhile, nothing else is read."""
    store = MemoryStore()
    await store.append(Batch(events=[an_event() for _ in range(25)]))
    ahead = ReadAhead(store, 0, 10)
    for after in (0, 10, 20, 5, 15, 25):
        await asyncio.sleep(0)  # what is read ahead is read now
        assert await store.read(0, after, 10) == await ahead.read(after)
    await store.append(Batch(events=[an_event()]))
    assert [26] == [event.position for event in await ahead.read(25)]
    ahead.forget()
