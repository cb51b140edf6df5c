"""Keeps the store's monthly partitions ahead of the calendar."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

from drivewake.eventstore import metrics
from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.runtime.clock import Clock
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

EVERY_S: Final = 3600.0
RETRY_S: Final = 5.0
COUNTED: Final = 10_000

_log = get_logger(__name__)


class MonthKeeper(Protocol):
    """A store that is partitioned by month."""

    async def prepare(self, now: dt.datetime, months: int = 2) -> Sequence[dt.datetime]:
        """Make this month's partition and the next ones; return those that are missing."""
        ...

    async def rest_events(self, bound: int) -> int:
        """Return how many events stand outside of the partition of their month, up to a bound."""
        ...


class KeepMonths:
    """Asks for the next months' partitions, now and every hour; tells of events without one."""

    def __init__(self, store: MonthKeeper, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, stop: Stop) -> None:
        """Keep until the stop."""
        while not stop.requested:
            wait_s = EVERY_S
            try:
                missing = await self._store.prepare(self._clock.now())
                stray = await self._store.rest_events(COUNTED)
            except StoreUnavailableError:
                wait_s = RETRY_S
            else:
                metrics.MONTHS_MISSING.set(len(missing))
                metrics.REST.set(stray)
                if stray:
                    _log.error("events without a partition", action="rest_fills", events=stray)
                if missing:
                    months = [f"{month:%Y-%m}" for month in missing]
                    _log.error("partitions are missing", action="months_missing", months=months)
            await stop.sleep(wait_s)
