"""Keeps messages of one consumer at hand, while those before them are being handled."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from drivewake.normalizer.handlers import Taken
from drivewake.runtime.bus import Delivery, Puller
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

FETCH_WAIT_S: Final = 1.0
"""Longest wait of one fetch: how soon an idle service notices a stop."""
RETRY_S: Final = 0.5
MAX_FETCH: Final = 1000
MAX_CHUNK_BYTES: Final = 2 << 20
FIRST_BYTES: Final = 8 << 10
"""Taken for the size of a message before any was seen."""

_log = get_logger(__name__)


class Feed:
    """Pulls one consumer, a chunk ahead of the batch that is being handled.

    What is at hand is bounded by one chunk: about MAX_CHUNK_BYTES by the sizes seen lately.
    """

    def __init__(self, puller: Puller, partition: int, arrived: asyncio.Event) -> None:
        self._puller = puller
        self._partition = partition
        self._arrived = arrived
        self._chunk: deque[Delivery] = deque()
        self._emptied = asyncio.Event()
        # What another replica left unsettled comes at once, and in order.
        self._reset_due = True
        self._mean_bytes = float(FIRST_BYTES)
        self._fetching: asyncio.Task[Sequence[Delivery]] | None = None

    @property
    def waiting(self) -> bool:
        """Whether messages are at hand."""
        return bool(self._chunk)

    def take(self, most: int, most_bytes: int) -> list[Taken]:
        """Return up to `most` messages, in order, at least one if any is at hand."""
        taken: list[Taken] = []
        size = 0
        while self._chunk and len(taken) < most and size < most_bytes:
            delivery = self._chunk.popleft()
            size += len(delivery.data)
            taken.append(Taken(self._partition, delivery))
        if not self._chunk:
            self._emptied.set()
        return taken

    def reset(self) -> None:
        """Let all that is not acknowledged come again, in order; forget what is at hand."""
        self._reset_due = True
        self._chunk.clear()
        self._emptied.set()
        if self._fetching is not None:
            # What it loses comes again after the reset, which need not wait for it then.
            self._fetching.cancel()

    async def run(self, stop: Stop) -> None:
        """Pull until the stop; survives a broker that is away."""
        while not stop.requested:
            try:
                await self._pull(stop)
            except BusError as error:
                _log.warning(
                    f"cannot pull: {error}", action="pull_retry", partition=self._partition
                )
                self.reset()
                await stop.sleep(RETRY_S)

    async def _pull(self, stop: Stop) -> None:
        if self._reset_due:
            await self._puller.reset()
            self._reset_due = False
        deliveries = await self._fetch()
        if not deliveries or self._reset_due or stop.requested:
            # After a reset these come again, and in order: taking them now would mix it.
            return
        size = sum(len(delivery.data) for delivery in deliveries)
        self._mean_bytes = max((self._mean_bytes + size / len(deliveries)) / 2, 1.0)
        self._emptied.clear()
        self._chunk.extend(deliveries)
        self._arrived.set()
        await _first(self._emptied, stop)

    async def _fetch(self) -> Sequence[Delivery]:
        """Return what is there, or comes soon; nothing if a reset cut it off."""
        most = max(1, min(MAX_FETCH, int(MAX_CHUNK_BYTES / self._mean_bytes)))
        fetching = asyncio.ensure_future(self._puller.fetch(most, FETCH_WAIT_S))
        self._fetching = fetching
        try:
            await asyncio.wait({fetching})
        finally:
            self._fetching = None
            fetching.cancel()
        return () if fetching.cancelled() else fetching.result()


async def _first(event: asyncio.Event, stop: Stop) -> None:
    """Wait for an event or the stop."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
