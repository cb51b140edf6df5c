"""Turns of one replica at consuming: several may run, one works, the others stand by.

Order within a partition needs one consumer at a time. The lock lets one replica work; heads
compare their revisions, so that one that was paused past its turn is refused, not trusted.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.store import Coordination, Lease
from drivewake.eventstore.waiting import Retry
from drivewake.normalizer import metrics
from drivewake.normalizer.feeds import Feed
from drivewake.normalizer.handlers import CONNECTIONS, BatchHandler
from drivewake.normalizer.writer import Bounds, Writer
from drivewake.runtime.bus import Puller
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

NAME: Final = "normalizer"
CHECK_S: Final = 1.0

_log = get_logger(__name__)


class Consumption:
    """Consumes all partitions while it holds the lock `normalizer`."""

    def __init__(
        self,
        coordination: Coordination,
        pullers: Mapping[int, Puller],
        handler: BatchHandler,
        bounds: Bounds,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._coordination = coordination
        self._pullers = pullers
        self._handler = handler
        self._bounds = bounds
        self._size = bounds.size()
        self._beat = beat
        self.owned: frozenset[int] = frozenset()
        """The partitions of DRIVE_RAW that this replica consumes at the moment."""

    async def run(self, stop: Stop) -> None:
        """Consume, or stand by, until the stop; raises what Writer raises."""
        retry = Retry(stop)
        while not stop.requested:
            try:
                async with AsyncExitStack() as stack:
                    lease = await self._turn(stack, stop)
                    if lease is not None:
                        retry.reset()
                        await self._consume(lease, stop)
            except StoreUnavailableError as error:
                _log.warning(f"no turn at consuming: {error}", action="turn_retry")
                await retry.wait()
            finally:
                self.owned = frozenset()
                metrics.ACTIVE.set(0)

    async def _turn(self, stack: AsyncExitStack, stop: Stop) -> Lease | None:
        """Wait for the lock; None when the stop comes first."""
        lock = self._coordination.exclusive(NAME, 0)
        waiting = asyncio.ensure_future(stack.enter_async_context(lock))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not waiting.done() and not stopping.done():
                self._beat()
                await asyncio.wait(
                    {waiting, stopping}, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED
                )
            return waiting.result() if waiting.done() else None
        finally:
            stopping.cancel()
            waiting.cancel()
            await asyncio.wait({waiting, stopping})

    async def _consume(self, lease: Lease, stop: Stop) -> None:
        """Feed and write until the stop, the first failure, or the loss of the lock."""
        _log.info("consuming", action="turn_begin")
        metrics.ACTIVE.set(1)
        self.owned = frozenset(self._pullers) - {CONNECTIONS}
        arrived = asyncio.Event()
        feeds = [Feed(puller, partition, arrived) for partition, puller in self._pullers.items()]
        writer = Writer(
            feeds,
            self._handler,
            self._size,
            arrived,
            most_bytes=self._bounds.most_bytes,
            beat=self._beat,
        )
        turn = Stop()
        tasks = [
            asyncio.create_task(writer.run(turn), name="writer"),
            asyncio.create_task(_watch(lease, stop, turn), name="turn"),
            *(asyncio.create_task(feed.run(turn), name="feed") for feed in feeds),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            turn.request()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _watch(lease: Lease, stop: Stop, turn: Stop) -> None:
    """Return at the end of the turn; raises StoreUnavailableError when the lock is lost."""
    while not stop.requested and not turn.requested:
        await lease.check()
        await stop.sleep(CHECK_S)
