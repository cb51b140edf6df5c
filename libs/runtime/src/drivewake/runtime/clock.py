"""Time as a port, so that decisions and loops can be tested without waiting."""

import asyncio
import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits. `now` is aware and UTC; `monotonic_s` never goes back."""

    def now(self) -> dt.datetime:
        """Return the current instant, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds of a clock that only rises."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> dt.datetime:
        """Return the current instant, UTC."""
        return dt.datetime.now(dt.UTC)

    def monotonic_s(self) -> float:
        """Return seconds of a clock that only rises."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
