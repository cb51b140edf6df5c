"""Replicas find each other and share the quota; timers are stretched to fit into it."""

# ruff: noqa: D102 - a clock's methods are those of its port

import asyncio
import datetime as dt

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.gdrive.quota import Budget
from drivewake.poller import domain, replicas
from drivewake.poller.pressure import MAX_STRETCH, Pressure, planned_per_min, timers_per_min
from drivewake.poller.replicas import LIVING_S, Replicas
from drivewake.poller.rhythm import Rhythm, interval
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
LOG = msgspec.structs.replace(
    domain.new_log("t1", "c1", "user_changes", NOW), phase="live", interval_s=60.0
)


class ManualClock:
    """Time that the test moves."""

    at_s = 1000.0

    def now(self) -> dt.datetime:
        return NOW + dt.timedelta(seconds=self.at_s)

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class World:
    """Pollers by name, what each believes, and how to stop it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.clock = ManualClock()
        self.believed: dict[str, int] = {}
        self.stops: dict[str, Stop] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str) -> None:
        bucket = await self.bus.key_value(subjects.POLLERS)

        def share(count: int) -> None:
            self.believed[name] = count

        one = Replicas(bucket, name, self.clock, share)
        self.stops[name] = Stop()
        self.tasks[name] = asyncio.create_task(one.run(self.stops[name]))

    async def stop(self, name: str) -> None:
        self.stops[name].request()
        await self.tasks.pop(name)
        del self.believed[name]

    async def crash(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.wait({self.tasks.pop(name)})
        del self.believed[name]

    async def all_believe(self, count: int) -> None:
        async with asyncio.timeout(10):
            while set(self.believed.values()) != {count}:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.005)


async def test_replicas_share_among_the_living(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes counts at once, who goes as soon as it says so, who comes back is one again."""
    monkeypatch.setattr(replicas, "BEAT_S", 0.01)
    world = World()
    await world.start("a")
    await world.all_believe(1)
    await world.start("b")
    await world.start("c")
    await world.all_believe(3)
    await world.stop("b")
    await world.all_believe(2)
    await world.start("b")
    await world.all_believe(3)
    for name in "abc":
        await world.stop(name)
    bucket = await world.bus.key_value(subjects.POLLERS)
    assert [None] * 3 == [await bucket.get(name) for name in "abc"]


async def test_dead_replica_is_counted_until_it_is_surely_dead() -> None:
    """In between less of the quota is spent, never more."""
    world = World()
    bucket = await world.bus.key_value(subjects.POLLERS)
    believed: list[int] = []
    one = Replicas(bucket, "a", world.clock, believed.append)
    await bucket.put("gone", b"{}", revision=0)
    entry = await bucket.get("gone")
    assert entry is not None
    one._hear(entry)
    world.clock.at_s += LIVING_S
    await one._beat()
    world.clock.at_s += 1
    await one._beat()
    assert [2, 2, 1] == believed
    world.clock.at_s += replicas.FORGET_S
    await one._beat()
    assert None is await bucket.get("gone")


def test_timers_are_stretched_by_what_they_want_too_much() -> None:
    """Within the quota nothing changes; beyond it quiet logs wait, busy ones keep their floor."""
    budget = Budget(project_per_min=1000, day_units=0.0, reserve=0.0)
    pressure = Pressure(budget)
    assert (1000.0, 100.0) == (timers_per_min(budget), planned_per_min(LOG))
    pressure.tell(900.0)
    assert 1.0 == pressure.stretch
    pressure.tell(4000.0)
    assert 4.0 == pressure.stretch
    pressure.tell(1e12)
    assert MAX_STRETCH == pressure.stretch
    quiet = msgspec.structs.replace(LOG, last_change_at=NOW - dt.timedelta(days=9))
    busy = msgspec.structs.replace(LOG, last_change_at=NOW)
    seconds = [
        interval(Rhythm(), one, NOW, pushed=False, stretch=4.0).seconds for one in (quiet, busy)
    ]
    assert [1200.0, 10.0] == seconds


def test_the_day_bounds_what_a_minute_may_cost() -> None:
    """400 million units a day are 277,778 a minute, less what is held in reserve."""
    assert 222_222 == pytest.approx(timers_per_min(Budget()), abs=1)


@pytest.mark.parametrize("change", [{"stopped": True}, {"paused": True}, {"kind": "activity"}])
def test_logs_that_spend_nothing_plan_nothing(change: dict[str, object]) -> None:
    """Stopped and paused ones, and activity, which has a quota of its own."""
    assert 0.0 == planned_per_min(msgspec.structs.replace(LOG, **change))
