"""100,000 connections on one project's quota, simulated: the poller's own rules, no I/O.

Logs change at random moments; a push may tell of it; timers follow `rhythm`, stretched by
`pressure` and admitted by the quota's own buckets. Time is a heap of events.
"""

import datetime as dt
import heapq
import random
from typing import Final, NamedTuple

import msgspec

from drivewake.contracts.records import LogRecord
from drivewake.gdrive.quota import LIST_UNITS, Budget, _Bucket
from drivewake.poller import rhythm
from drivewake.poller.pressure import timers_per_min
from drivewake.poller.rhythm import Rhythm

EPOCH: Final = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
PUSH_DELAY_S: Final = 5.0
PUSH_LOST: Final = 0.02
DAY_S: Final = 86_400.0
TIMER, PUSH, ADMITTED = range(3)
"""What an event is: a timer, a push, or a poll that has waited for the quota."""


class Kind(NamedTuple):
    """A class of logs: its share of all, and the mean time between two changes of one."""

    name: str
    share: float
    every_s: float


MIX: Final = (
    Kind("hot", 0.01, 60.0),
    Kind("busy", 0.09, 1200.0),
    Kind("daily", 0.40, 8 * 3600.0),
    Kind("weekly", 0.50, 4 * DAY_S),
)


class Found(msgspec.Struct):
    """What one class of logs saw: delays in seconds, and calls."""

    delays: list[float]
    calls: int = 0

    def percentile(self, share: float) -> float:
        """Return the delay that this share of changes did not exceed."""
        ordered = sorted(self.delays)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Result(NamedTuple):
    """All classes, the units that a day of this costs, and how far timers were stretched."""

    found: dict[str, Found]
    units_a_day: float
    stretch: float

    def all_delays(self) -> Found:
        """Return the delays of all classes together."""
        delays = [delay for one in self.found.values() for delay in one.delays]
        return Found(delays, sum(one.calls for one in self.found.values()))


class _Log:
    __slots__ = ("changed_s", "due_s", "interval_s", "kind", "next_change_s", "pushed")

    def __init__(self, kind: Kind, next_change_s: float, *, pushed: bool) -> None:
        self.kind = kind
        self.next_change_s = next_change_s
        self.changed_s: float | None = None
        self.interval_s = 10.0
        self.due_s = 0.0
        self.pushed = pushed


class Simulation:
    """One world. `pushed` is the share of logs with a live push channel."""

    def __init__(self, connections: int, *, pushed: float, seed: int, budget: Budget) -> None:
        self._rng = random.Random(seed)
        self._rhythm = Rhythm()
        self._bucket = _Bucket(budget.project_per_min / 60, budget.burst_s)
        day_per_s = budget.day_units / DAY_S
        self._day = _Bucket(day_per_s, budget.day_burst_s)
        # Nothing saved up: what counts is how it goes day after day.
        self._day.free_at_s = budget.day_burst_s
        self._affordable = timers_per_min(budget)
        self._reserve = budget.reserve
        self._logs: list[_Log] = []
        self._planned = 0.0
        self._heap: list[tuple[float, int, int]] = []
        kinds = self._rng.choices(MIX, [kind.share for kind in MIX], k=connections)
        for number, kind in enumerate(kinds):
            log = _Log(
                kind,
                self._rng.expovariate(1 / kind.every_s),
                pushed=self._rng.random() < pushed,
            )
            # Start where a log of this kind settles: the warm-up does the rest.
            log.changed_s = -self._rng.expovariate(1 / kind.every_s)
            self._logs.append(log)
            log.interval_s = self._wished(log, 0.0, 1.0)
            self._planned += LIST_UNITS * 60 / log.interval_s
            self._schedule(number, self._rng.random() * log.interval_s * self.stretch)
            self._await_push(number)

    @property
    def stretch(self) -> float:
        """How far timers are stretched now."""
        return max(self._planned / self._affordable, 1.0)

    def run(self, warm_up_s: float, span_s: float) -> Result:
        """Let time pass; what happens after the warm-up counts."""
        found = {kind.name: Found([]) for kind in MIX}
        while self._heap and self._heap[0][0] < warm_up_s + span_s:
            at_s, number, why = heapq.heappop(self._heap)
            log = self._logs[number]
            if why == TIMER and at_s < log.due_s:
                continue  # replaced by a later timer
            if why != ADMITTED:
                reserve = 0.0 if why == PUSH else self._reserve
                wait_s = max(self._bucket.wait_s(at_s, reserve), self._day.wait_s(at_s, reserve))
                self._bucket.take(at_s, LIST_UNITS)
                self._day.take(at_s, LIST_UNITS)
                if wait_s > 0:
                    heapq.heappush(self._heap, (at_s + wait_s, number, ADMITTED))
                    continue
            self._poll(number, at_s, found[log.kind.name], counts=at_s >= warm_up_s)
        calls = sum(one.calls for one in found.values())
        return Result(found, calls * LIST_UNITS * DAY_S / span_s, self.stretch)

    def _poll(self, number: int, at_s: float, found: Found, *, counts: bool) -> None:
        log = self._logs[number]
        told = log.next_change_s <= at_s
        while log.next_change_s <= at_s:
            if counts:
                found.delays.append(at_s - log.next_change_s)
            log.changed_s = at_s
            log.next_change_s += self._rng.expovariate(1 / log.kind.every_s)
        found.calls += counts
        self._planned -= LIST_UNITS * 60 / log.interval_s
        log.interval_s = self._wished(log, at_s, 1.0)
        self._planned += LIST_UNITS * 60 / log.interval_s
        wait_s = self._wished(log, at_s, self.stretch)
        self._schedule(number, at_s + rhythm.jittered(self._rhythm, wait_s, self._rng.random()))
        if told:
            self._await_push(number)

    def _wished(self, log: _Log, at_s: float, stretch: float) -> float:
        record = LogRecord(
            tenant="t",
            connection="c",
            log="l",
            kind="user_changes",
            interval_s=log.interval_s,
            last_change_at=None if log.changed_s is None else _instant(log.changed_s),
        )
        now = _instant(at_s)
        return rhythm.interval(
            self._rhythm, record, now, pushed=log.pushed, stretch=stretch
        ).seconds

    def _schedule(self, number: int, at_s: float) -> None:
        self._logs[number].due_s = at_s
        heapq.heappush(self._heap, (at_s, number, TIMER))

    def _await_push(self, number: int) -> None:
        """Let a push tell of the next change, unless it is lost."""
        log = self._logs[number]
        if log.pushed and self._rng.random() >= PUSH_LOST:
            delay_s = self._rng.expovariate(1 / PUSH_DELAY_S)
            heapq.heappush(self._heap, (log.next_change_s + delay_s, number, PUSH))


def _instant(at_s: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=at_s)
