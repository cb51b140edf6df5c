"""Which monthly partitions the keys of a batch need, and making them before they are needed."""

import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

Ensure = Callable[[dt.datetime], Awaitable[bool]]
"""Makes the partition of a month; returns whether it is there."""

_TIME_SHIFT: Final = 80  # a key begins with 48 bits of milliseconds, before 80 others
_SLICE_SHIFT: Final = 26  # 2**26 ms are 18.6 hours: a slice touches two months at most
_LATEST: Final = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_RETRY_S: Final = 60.0
FRESH_S: Final = 5.0


class Months:
    """Remembers for some seconds which months have their partition; asks only for the others.

    Not for longer: a month that was archived meanwhile needs a new one for what comes late.
    A month that could not be made is asked for again after a minute: meanwhile its events go
    to the default partition, which is watched.
    """

    def __init__(self, ensure: Ensure, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._ensure = ensure
        self._monotonic_s = monotonic_s
        self._since_s = monotonic_s()
        self._slices: set[int] = set()
        self._there: set[dt.datetime] = set()
        self._refused: dict[dt.datetime, float] = {}

    async def of_keys(self, keys: Iterable[uuid.UUID]) -> None:
        """Make the partitions that these keys need."""
        if self._monotonic_s() - self._since_s > FRESH_S:
            self._since_s = self._monotonic_s()
            self._slices.clear()
            self._there.clear()
        slices = {key.int >> (_TIME_SHIFT + _SLICE_SHIFT) for key in keys}
        for number in slices - self._slices:
            start_ms = number << _SLICE_SHIFT
            months = {_month(start_ms), _month(start_ms + (1 << _SLICE_SHIFT) - 1)}
            there = [month is not None and await self._make(month) for month in months]
            if all(there):
                self._slices.add(number)

    async def ahead(self, now: dt.datetime, months: int) -> Sequence[dt.datetime]:
        """Make the partitions of this month and of `months` more; return what is missing."""
        month = now.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        missing = []
        for _ in range(months + 1):
            if not await self._make(month):
                missing.append(month)
            month = (month + dt.timedelta(days=32)).replace(day=1)
        return missing

    async def _make(self, month: dt.datetime) -> bool:
        if month in self._there:
            return True
        if self._monotonic_s() < self._refused.get(month, 0.0):
            return False
        if await self._ensure(month):
            self._there.add(month)
            self._refused.pop(month, None)
            return True
        self._refused[month] = self._monotonic_s() + _RETRY_S
        return False


def _month(time_ms: int) -> dt.datetime | None:
    """Return the first instant of a month, None where no calendar of ours reaches."""
    if time_ms > (_LATEST - _EPOCH) // dt.timedelta(milliseconds=1):
        return None
    instant = _EPOCH + dt.timedelta(milliseconds=time_ms)
    return instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
