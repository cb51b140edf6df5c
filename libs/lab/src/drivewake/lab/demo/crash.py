"""Kills each service once, and both servers once, at random moments of a replay."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from drivewake.lab.demo.stack import Stack

FIRST: Final = 0.1
LAST: Final = 0.9
DOWN_S: Final = 0.5


class Strike(msgspec.Struct, frozen=True):
    """Who is killed when this share of the commits is replayed."""

    at: float
    victim: str


def plan_strikes(victims: Sequence[str], seed: int) -> list[Strike]:
    """Return one strike a victim, in order of time. Pure: the same seed, the same plan."""
    dice = random.Random(seed)
    return sorted(
        (Strike(at=dice.uniform(FIRST, LAST), victim=victim) for victim in victims),
        key=lambda strike: strike.at,
    )


class Crashes:
    """Carries out the plan while a replay goes on; victims may be down at the same time."""

    def __init__(self, stack: Stack, seed: int, report: Callable[[str], None]) -> None:
        self._stack = stack
        self._report = report
        self.strikes = plan_strikes((*stack.services, "nats", "postgres"), seed)
        self.down: set[str] = set()
        """Who is dead because we killed it."""
        self._due = {strike.victim: asyncio.Event() for strike in self.strikes}

    def replayed(self, share: float) -> None:
        """Say which share of the commits is replayed."""
        for strike in self.strikes:
            if share >= strike.at:
                self._due[strike.victim].set()

    async def run(self) -> None:
        """Strike as planned; returns when all are back."""
        async with asyncio.TaskGroup() as group:
            for strike in self.strikes:
                group.create_task(self._strike(strike), name=f"strike-{strike.victim}")

    async def _strike(self, strike: Strike) -> None:
        """SIGKILL, half a second of absence, start again."""
        await self._due[strike.victim].wait()
        self._report(f"SIGKILL {strike.victim} at {strike.at:.0%} of the replay")
        victim = self._stack.member(strike.victim)
        self.down.add(strike.victim)
        await asyncio.to_thread(victim.kill)
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(victim.start)
        self.down.discard(strike.victim)
