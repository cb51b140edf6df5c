"""Waiting that ends when the service does."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from drivewake.runtime.lifecycle import Stop

T = TypeVar("T")

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 5.0


async def unless_stopped(stop: Stop, wanted: Coroutine[Any, Any, T]) -> T | None:
    """Return what `wanted` returns, or None, with it cancelled, when the stop comes first."""
    working = asyncio.ensure_future(wanted)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working


class Retry:
    """Waits between attempts: a little longer after each failure, at most five seconds."""

    def __init__(self, stop: Stop, first_s: float = FIRST_RETRY_S) -> None:
        self._stop = stop
        self._first_s = self._next_s = first_s

    async def wait(self) -> None:
        """Wait before the next attempt, or until the stop."""
        await self._stop.sleep(self._next_s)
        self._next_s = min(self._next_s * 2, LONGEST_RETRY_S)

    def reset(self) -> None:
        """Say that an attempt succeeded."""
        self._next_s = self._first_s
