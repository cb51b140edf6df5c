"""The loop: take what all partitions have ready, make it durable, take more.

One append at a time: while it is written, the next messages arrive, so that batches grow with
the load by themselves and an idle service writes what comes at once.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.waiting import Retry
from drivewake.normalizer import metrics
from drivewake.normalizer.errors import ContendedError, TooManyDeadError
from drivewake.normalizer.feeds import Feed
from drivewake.normalizer.handlers import BatchHandler, Taken
from drivewake.normalizer.limits import BatchSize
from drivewake.runtime.errors import BlobUnavailableError, BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

IDLE_BEAT_S: Final = 1.0

_log = get_logger(__name__)


class Writer:
    """Feeds one handler from many partitions, fairly."""

    def __init__(
        self,
        handler: BatchHandler,
        size: BatchSize,
        arrived: asyncio.Event,
        *,
        most_bytes: int,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._feeds: list[Feed] = []
        self._handler = handler
        self._size = size
        self._arrived = arrived
        self._most_bytes = most_bytes
        self._beat = beat
        self._first = 0
        self._between = asyncio.Lock()

    def add(self, feed: Feed) -> None:
        """Take from a feed too, from the next batch on: the one under way may take long."""
        self._feeds.append(feed)

    async def remove(self, feed: Feed) -> None:
        """Take no more from a feed; what was taken is settled when this returns."""
        async with self._between:
            self._feeds.remove(feed)

    async def run(self, stop: Stop) -> None:
        """Handle batches until the stop; the one under way is finished.

        Raises TooManyDeadError, and what no waiting repairs: StoreMismatchError, KeyTakenError.
        """
        retry = Retry(stop)
        while not stop.requested:
            self._beat()
            try:
                async with self._between:
                    taken = await self._turn()
            except (StoreUnavailableError, BusError, BlobUnavailableError, ContendedError) as error:
                self._give_back(error)
                await retry.wait()
            except TooManyDeadError as error:
                _log.error(str(error), action="too_many_dead")
                raise
            else:
                retry.reset()
                if not taken:
                    await self._wait()

    async def _turn(self) -> int:
        """Handle what is at hand; return how many messages."""
        batch = self._take()
        if batch:
            self._size.note(len(batch), await self._handler.handle(batch))
            metrics.BATCH_LIMIT.set(self._size.now)
        return len(batch)

    def _take(self) -> list[Taken]:
        """Take from each partition in turn, another one first each time."""
        self._arrived.clear()
        batch: list[Taken] = []
        room = self._most_bytes
        first = self._first % max(len(self._feeds), 1)
        order = self._feeds[first:] + self._feeds[:first]
        self._first = first + 1
        for feed in order:
            if len(batch) >= self._size.now or room <= 0:
                break
            taken = feed.take(self._size.now - len(batch), room)
            room -= sum(len(one.delivery.data) for one in taken)
            batch += taken
        return batch

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(IDLE_BEAT_S):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _give_back(self, error: Exception) -> None:
        """Begin again behind what is acknowledged: order within partitions is kept."""
        reason = "bus_away" if isinstance(error, BusError) else "store_away"
        if isinstance(error, ContendedError):
            reason = "contended"
        if isinstance(error, BlobUnavailableError):
            reason = "blobs_away"
        metrics.RETRIES.add(reason=reason)
        _log.warning(f"a batch is given back: {error}", action="batch_retry", reason=reason)
        self._size.failed()
        for feed in self._feeds:
            feed.reset()


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much is handled at once: messages, bytes of them, and the time to aim at."""

    least: int = 50
    most: int = 5000
    most_bytes: int = 16 << 20
    target_s: float = 0.2

    def size(self) -> BatchSize:
        """Return the adaptive size within these bounds."""
        return BatchSize(least=self.least, most=self.most, target_s=self.target_s)
