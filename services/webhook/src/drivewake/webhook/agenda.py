"""Which logs to look at, and when: a heap that forgets what was put later."""

import asyncio
import datetime as dt
import heapq
import itertools

from drivewake.webhook.tokens import Subject


class Agenda:
    """Logs by the instant they are due. Each log stands there once, at its earliest."""

    def __init__(self) -> None:
        self._due: dict[Subject, dt.datetime] = {}
        self._heap: list[tuple[dt.datetime, int, Subject]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def put(self, subject: Subject, at: dt.datetime) -> None:
        """Look at a log at an instant, unless it is due before."""
        known = self._due.get(subject)
        if known is not None and known <= at:
            return
        self._due[subject] = at
        heapq.heappush(self._heap, (at, next(self._order), subject))
        self._changed.set()

    def pop(self, now: dt.datetime) -> Subject | None:
        """Take the log that is due the longest, None if none is due."""
        while self._heap and self._heap[0][0] <= now:
            at, _, subject = heapq.heappop(self._heap)
            if self._due.get(subject) == at:
                del self._due[subject]
                return subject
        return None

    async def wait(self, now: dt.datetime, most_s: float) -> None:
        """Wait until something is due or put, at most `most_s`."""
        self._changed.clear()
        wait_s = most_s
        if self._heap:
            wait_s = min(max((self._heap[0][0] - now).total_seconds(), 0.0), most_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return
