"""Partitions kept ahead, and an alarm when one is missing or events have none."""

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from drivewake.normalizer.months import KeepMonths
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.lifecycle import Stop

DECEMBER = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


class Store:
    """A store in some state; stops the keeper after the first look."""

    def __init__(self, stop: Stop, missing: Sequence[dt.datetime], stray: int) -> None:
        self._stop = stop
        self._missing = missing
        self._stray = stray

    async def prepare(self, now: dt.datetime, months: int = 2) -> Sequence[dt.datetime]:
        """Say what is missing."""
        return self._missing

    async def rest_events(self, bound: int) -> int:
        """Say how many events have no partition."""
        self._stop.request()
        return min(self._stray, bound)


@pytest.mark.parametrize(
    ("missing", "stray", "told"),
    [
        ([], 0, []),
        ([DECEMBER], 0, ["months_missing"]),
        ([], 20_000, ["rest_fills"]),
        ([DECEMBER], 1, ["rest_fills", "months_missing"]),
    ],
)
async def test_what_is_wrong_is_an_error_in_the_log(
    missing: list[dt.datetime], stray: int, told: list[str]
) -> None:
    """A missing partition and events without one are each told, at level error."""
    stop = Stop()
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            await KeepMonths(Store(stop, missing, stray), SystemClock()).run(stop)
    assert told == [entry["action"] for entry in logs if entry["log_level"] == "error"]
