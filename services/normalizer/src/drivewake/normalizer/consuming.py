"""The partitions of one replica: its even share of them, while it is alive and heard of.

Order within a partition needs one consumer at a time. Replicas share out the partitions (and
DRIVE_CONNECTION, as one more) by locks in the database; who joins or leaves changes the shares
within seconds. Heads compare their revisions, so that a replica which was paused past its turn
is refused, not trusted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.sharing import Shares, Sharing
from drivewake.eventstore.waiting import Retry
from drivewake.normalizer import metrics
from drivewake.normalizer.feeds import Feed
from drivewake.normalizer.handlers import CONNECTIONS, BatchHandler
from drivewake.normalizer.writer import Bounds, Writer
from drivewake.runtime.bus import Puller
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

NAME: Final = "normalizer partitions"
BALANCE_S: Final = 1.0
"""How often the shares are looked at; well below what makes a silent member lose its own."""

OpenPuller = Callable[[int], Awaitable[Puller]]
"""Binds to the consumer of a partition, or of DRIVE_CONNECTION (CONNECTIONS)."""

_log = get_logger(__name__)


class Consumption:
    """Consumes this replica's share of `partitions`; CONNECTIONS may be among them."""

    def __init__(
        self,
        sharing: Sharing,
        open_puller: OpenPuller,
        partitions: Collection[int],
        handler: BatchHandler,
        bounds: Bounds,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._sharing = sharing
        self._open_puller = open_puller
        # Numbers of locks are not negative.
        self._numbers = {partition - CONNECTIONS: partition for partition in partitions}
        self._handler = handler
        self._bounds = bounds
        self._size = bounds.size()
        self._beat = beat
        self._feeding: dict[int, _Feeding] = {}
        self._leaving: dict[int, asyncio.Task[None]] = {}

    @property
    def owned(self) -> frozenset[int]:
        """The partitions of DRIVE_RAW that this replica consumes at the moment."""
        return frozenset(self._numbers[number] for number in self._feeding) - {CONNECTIONS}

    async def run(self, stop: Stop) -> None:
        """Consume until the stop; raises what Writer raises."""
        retry = Retry(stop)
        while not stop.requested:
            self._beat()
            try:
                async with self._sharing.shares(NAME) as shares:
                    await self._consume(shares, stop, retry)
            except StoreUnavailableError as error:
                _log.warning(f"lost the partitions: {error}", action="shares_lost")
                await retry.wait()

    async def _consume(self, shares: Shares, stop: Stop, retry: Retry) -> None:
        """Write and rebalance until the stop, the first failure, or the loss of the shares."""
        arrived = asyncio.Event()
        writer = Writer(
            self._handler,
            self._size,
            arrived,
            most_bytes=self._bounds.most_bytes,
            beat=self._beat,
        )
        turn = Stop()
        tasks = [
            asyncio.create_task(writer.run(turn), name="writer"),
            asyncio.create_task(self._balance(shares, writer, arrived, stop, retry), name="shares"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            turn.request()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            # The end of the shares gives the numbers back.
            leaving = [*self._leaving.values()]
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            for number in list(self._feeding):
                await self._feeding.pop(number).end()
            metrics.ACTIVE.set(0)

    async def _balance(
        self, shares: Shares, writer: Writer, arrived: asyncio.Event, stop: Stop, retry: Retry
    ) -> None:
        """Keep to this replica's quota until the stop; raises StoreUnavailableError."""
        while not stop.requested:
            standing = await shares.standing()
            if lost := self._feeding.keys() - standing.mine:
                raise StoreUnavailableError(f"{len(lost)} locks are gone")
            retry.reset()
            for feeding in self._feeding.values():
                feeding.check()
            for number in standing.excess(self._numbers):
                self._start_leaving(number, shares, writer)
            lack = standing.lack(self._numbers)
            for number in standing.free(self._numbers):
                if lack > 0 and await shares.claim(number):
                    lack -= 1
                    await self._take_up(number, shares, writer, arrived)
            metrics.ACTIVE.set(len(self.owned))
            await stop.sleep(BALANCE_S)

    async def _take_up(
        self, number: int, shares: Shares, writer: Writer, arrived: asyncio.Event
    ) -> None:
        partition = self._numbers[number]
        try:
            puller = await self._open_puller(partition)
        except BusError as error:
            _log.warning(f"cannot consume: {error}", action="take_up_retry", partition=partition)
            await shares.release(number)
            return
        feed = Feed(puller, partition, arrived)
        self._feeding[number] = _Feeding(feed, puller)
        writer.add(feed)
        _log.info("consumes a partition", action="partition_taken", partition=partition)

    def _start_leaving(self, number: int, shares: Shares, writer: Writer) -> None:
        """Begin to give a number up: a batch under way may take long, and the shares be asked."""
        if number not in self._leaving:
            task = asyncio.create_task(self._give_up(number, shares, writer), name="leave")
            self._leaving[number] = task
            task.add_done_callback(lambda _: self._leaving.pop(number, None))

    async def _give_up(self, number: int, shares: Shares, writer: Writer) -> None:
        """Finish what is under way, stop listening, and only then let others have it."""
        if (feeding := self._feeding.get(number)) is not None:
            await writer.remove(feeding.feed)
            await feeding.end()
            del self._feeding[number]
        await shares.release(number)
        partition = self._numbers[number]
        _log.info("gives a partition up", action="partition_given_up", partition=partition)


class _Feeding:
    """A feed at work."""

    def __init__(self, feed: Feed, puller: Puller) -> None:
        self.feed = feed
        self._puller = puller
        self._stop = Stop()
        self._task = asyncio.create_task(feed.run(self._stop), name="feed")

    def check(self) -> None:
        """Raise what ended the feed, if anything did."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        """Leave the consumer; what was pulled and not settled comes to the next one at once."""
        self._stop.request()
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._puller.close()
