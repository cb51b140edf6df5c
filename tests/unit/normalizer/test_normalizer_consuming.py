"""The consuming loop over the memory bus: taking, giving back, turns of replicas."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.ids import partition_of
from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.sharing import MemorySharing
from drivewake.eventstore.store import Appended, Batch
from drivewake.normalizer.consuming import Consumption
from drivewake.normalizer.errors import TooManyDeadError
from drivewake.normalizer.handlers import CONNECTIONS
from drivewake.normalizer.limits import DeadRule
from drivewake.normalizer.writer import Bounds
from drivewake.runtime.bus import Delivery, Puller
from drivewake.runtime.lifecycle import Stop

if TYPE_CHECKING:
    from tests.unit.normalizer.conftest import Harness


def consumption(harness: "Harness", sharing: MemorySharing, most: int = 100) -> Consumption:
    """Return the whole consuming side over a harness's bus and store."""
    consumers = {CONNECTIONS: subjects.NORMALIZER_CONNECTIONS} | dict(
        enumerate(subjects.NORMALIZER_RAW)
    )
    return Consumption(
        sharing,
        lambda partition: harness.bus.puller(consumers[partition]),
        consumers,
        harness.handler_on(harness.store),
        Bounds(least=1, most=most),
    )


@pytest.fixture
def sharing() -> MemorySharing:
    """Where the replicas of a test share out partitions."""
    return MemorySharing()


@contextlib.asynccontextmanager
async def running(*consumptions: Consumption) -> AsyncIterator[Stop]:
    """Run consumers until the block ends; they must then end by themselves."""
    stop = Stop()
    tasks = [asyncio.create_task(each.run(stop)) for each in consumptions]
    try:
        yield stop
    finally:
        stop.request()
        await asyncio.gather(*tasks)


async def until_told(harness: "Harness", count: int) -> None:
    """Wait until the store holds a number of events."""
    async with asyncio.timeout(30):
        while await harness.store.last_position(0) < count:  # noqa: ASYNC110 - no event is set
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("most", [1, 7, 100])
async def test_everything_that_comes_is_told_and_settled(
    harness: "Harness", sharing: MemorySharing, most: int
) -> None:
    """Raws of many partitions and connection states, before and during the run, become durable."""
    await harness.connection(0, "active", 1)
    for number in range(20):
        await harness.change(1, {}, item=f"f{number}")
    async with running(consumption(harness, sharing, most)):
        await until_told(harness, 41)
        for number in range(20):
            await harness.change(2, {"version": "2", "name": "b"}, item=f"f{number}")
        await until_told(harness, 61)
    assert 0 == await harness.unsettled()


class Stumbling(MemoryStore):
    """A store that is away at every third append: before it, or after it was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.appends = 0

    async def append(self, batch: Batch) -> Appended:
        """Append, or fail on one side of it."""
        self.appends += 1
        if self.appends % 3 == 1:
            raise StoreUnavailableError
        result = await super().append(batch)
        if self.appends % 3 == 2:
            raise StoreUnavailableError
        return result


async def test_store_that_stumbles_costs_time_and_nothing_else(
    harness: "Harness", sharing: MemorySharing
) -> None:
    """What was given back comes again in order: every version of every file is told once."""
    harness.store = Stumbling()
    for version in (1, 2):
        for number in range(4):
            file = {"version": str(version), "name": f"n{version}"}
            await harness.change(version, file, item=f"f{number}")
    async with running(consumption(harness, sharing, 20)):
        await until_told(harness, 4 * 3)
    types = await harness.types()
    assert (4, 4, 4) == tuple(
        types.count(kind) for kind in ("sighting.gained", "file.discovered", "file.renamed")
    )
    assert 0 == await harness.unsettled()


async def until_owned(expected: list[int], *replicas: Consumption) -> None:
    """Wait until replicas own so many partitions of raw, each partition once."""
    async with asyncio.timeout(30):
        while True:
            owned = [replica.owned for replica in replicas]
            if sorted(map(len, owned)) == expected and len(frozenset().union(*owned)) == 16:
                return
            await asyncio.sleep(0.01)


async def test_replicas_share_evenly_as_they_come_and_go(
    harness: "Harness", sharing: MemorySharing
) -> None:
    """Of 16 partitions and the connections each has its share; who leaves is replaced."""
    replicas = [consumption(harness, sharing) for _ in range(3)]
    stops = [Stop() for _ in replicas]
    tasks = [asyncio.create_task(replicas[0].run(stops[0]))]
    await until_owned([16], replicas[0])
    tasks += [asyncio.create_task(replicas[n].run(stops[n])) for n in (1, 2)]
    await until_owned([5, 5, 6], *replicas)
    for number in range(20):
        await harness.change(1, {}, item=f"f{number}")
    await until_told(harness, 40)
    stops[0].request()
    await tasks[0]
    await until_owned([8, 8], *replicas[1:])
    for number in range(20):
        await harness.change(2, {"version": "2", "name": "b"}, item=f"f{number}")
    await until_told(harness, 60)
    for stop in stops:
        stop.request()
    await asyncio.gather(*tasks)
    assert 0 == await harness.unsettled()


async def test_feed_that_dies_ends_the_consumer(harness: "Harness", sharing: MemorySharing) -> None:
    """A failure that nobody foresaw is not a partition that stands still in silence."""

    class Broken:
        async def fetch(self, max_messages: int, max_wait_s: float) -> list[Delivery]:
            raise ZeroDivisionError

        async def reset(self, from_sequence: int = 0) -> None: ...

        async def close(self) -> None: ...

    async def broken(_: int) -> Puller:
        return Broken()

    handler = harness.handler_on(harness.store)
    replica = Consumption(sharing, broken, range(16), handler, Bounds())
    with pytest.raises(ZeroDivisionError):
        await replica.run(Stop())


async def test_too_many_dead_end_the_consumer(harness: "Harness", sharing: MemorySharing) -> None:
    """The bound on dead letters ends the task, and with it the service."""
    harness.rule = DeadRule(in_a_row=3, ratio=1.0, window=100)
    for _ in range(10):
        await harness.publish(subjects.raw(0, "t1", "c1"), b"?")
    with pytest.raises(TooManyDeadError):
        await consumption(harness, sharing).run(Stop())


class Gated(MemoryStore):
    """A store whose appends wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()
        self.gate = asyncio.Event()

    async def append(self, batch: Batch) -> Appended:
        """Append, once it may."""
        self.waiting.set()
        await self.gate.wait()
        return await super().append(batch)


async def test_shares_are_looked_after_while_a_batch_takes_long(
    harness: "Harness", sharing: MemorySharing
) -> None:
    """Who leaves is replaced at once by whom a batch keeps busy; silence would cost all shares."""
    harness.store = store = Gated()
    replicas = [consumption(harness, sharing) for _ in range(2)]
    stops = [Stop() for _ in replicas]
    tasks = [
        asyncio.create_task(replica.run(stop))
        for replica, stop in zip(replicas, stops, strict=True)
    ]
    await until_owned([8, 8], *replicas)
    files = (f"f{number}" for number in itertools.count())
    mine = next(file for file in files if partition_of("t1", file) in replicas[0].owned)
    await harness.change(1, {}, item=mine)
    await store.waiting.wait()
    stops[1].request()
    await tasks[1]
    await until_owned([16], replicas[0])
    store.gate.set()
    stops[0].request()
    await tasks[0]
    assert 0 == await harness.unsettled()
