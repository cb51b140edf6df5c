"""Bells of one process: each task that waits hears the rings since its own last wait."""

import asyncio
import weakref
from typing import Any


class Bell:
    """Counts rings and wakes all who wait."""

    def __init__(self) -> None:
        self._rings = 0
        self._event = asyncio.Event()
        self._heard: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()

    def ring(self) -> None:
        """Ring once."""
        self._rings += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True as soon as it rang since this task's last wait, False after the timeout.

        Rings before a task's first wait do not count for it.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("wait belongs into a task")
        before = self._heard.setdefault(task, self._rings)
        if self._rings == before:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                return False
        self._heard[task] = self._rings
        return True


class Bells:
    """The bells of one bus by subject: few and fixed, as subjects of bells are constants."""

    def __init__(self) -> None:
        self._bells: dict[str, Bell] = {}

    def __contains__(self, subject: str) -> bool:
        return subject in self._bells

    def bell(self, subject: str) -> Bell:
        """Return the bell of a subject."""
        return self._bells.setdefault(subject, Bell())
