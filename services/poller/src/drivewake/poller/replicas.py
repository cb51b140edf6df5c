"""How many pollers live: they share the project's quota without anybody to divide it."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from drivewake.poller import metrics
from drivewake.poller.loops import run_until
from drivewake.runtime.bus import Entry, KeyValue
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import BusError, ConflictError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

BEAT_S: Final = 5.0
LIVING_S: Final = 3 * BEAT_S
"""Who was not heard of for so long counts as dead."""

FORGET_S: Final = 600.0
_log = get_logger(__name__)


class Heartbeat(msgspec.Struct, frozen=True):
    """What a poller says of itself in the bucket `pollers`."""

    beats: int


class Replicas:
    """Beats, listens to the others' beats, and tells `share` how many there are.

    Ages are measured by this process's own clock, from when it heard a beat. A replica that is
    new counts at once, one that died after `LIVING_S`: in between less is spent, never more.
    """

    def __init__(
        self, bucket: KeyValue, me: str, clock: Clock, share: Callable[[int], None]
    ) -> None:
        self._bucket = bucket
        self._me = me
        self._clock = clock
        self._share = share
        self._heard: dict[str, tuple[float, int]] = {}
        self._beats = 0

    async def run(self, stop: Stop) -> None:
        """Beat until the stop, then say goodbye."""
        following = asyncio.create_task(run_until(stop, self._follow()), name="replicas-follow")
        try:
            while not stop.requested and not following.done():
                await self._beat()
                await stop.sleep(BEAT_S)
            if following.done():
                following.result()
        finally:
            following.cancel()
            await asyncio.wait({following})
            await self._leave(self._me)

    async def _follow(self) -> None:
        async for entry in self._bucket.watch():
            if entry is not None:
                self._hear(entry)

    def _hear(self, entry: Entry) -> None:
        if entry.value is None:
            self._heard.pop(entry.key, None)
        else:
            self._heard[entry.key] = (self._clock.monotonic_s(), entry.revision)
        self._count()

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        living = {key for key, (at_s, _) in self._heard.items() if now_s - at_s <= LIVING_S}
        count = len(living | {self._me})
        metrics.REPLICAS.set(count)
        self._share(count)

    async def _beat(self) -> None:
        self._beats += 1
        value = msgspec.json.encode(Heartbeat(self._beats))
        _, revision = self._heard.get(self._me, (0.0, 0))
        try:
            revision = await self._bucket.put(self._me, value, revision=revision)
            self._heard[self._me] = (self._clock.monotonic_s(), revision)
            await self._forget()
        except ConflictError:
            # Left by an earlier life of this name: its revision is needed to go on from.
            entry = await self._current()
            if entry is not None:
                self._heard[self._me] = (self._clock.monotonic_s(), entry.revision)
        except BusError as error:
            _log.warning("a heartbeat was not heard", action="beat_failed", reason=str(error))
        self._count()

    async def _current(self) -> Entry | None:
        try:
            return await self._bucket.get(self._me)
        except BusError:
            return None

    async def _forget(self) -> None:
        """Remove who has been silent for long: the bucket stays as large as the living."""
        now_s = self._clock.monotonic_s()
        for key, (at_s, _) in list(self._heard.items()):
            if now_s - at_s > FORGET_S:
                await self._leave(key)

    async def _leave(self, key: str) -> None:
        _, revision = self._heard.pop(key, (0.0, 0))
        if not revision:
            return
        try:
            await self._bucket.delete(key, revision=revision)
        except BusError:
            return  # it beats again after all, or dies out by itself
