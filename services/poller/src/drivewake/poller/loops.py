"""Small helpers for endless loops."""

import asyncio
from collections.abc import Coroutine

from drivewake.runtime.lifecycle import Stop


async def run_until(stop: Stop, work: Coroutine[None, None, None]) -> None:
    """Run endless work, and cut it off at the stop; what it raises comes through."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait({working, stopping})
