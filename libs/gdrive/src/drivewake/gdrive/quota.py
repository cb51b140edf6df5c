"""What calls cost, and a governor that stays inside the budget.

Costs and budgets: https://developers.google.com/workspace/drive/api/guides/limits
(2026-09): 325,000 units a minute a user, 1,000,000 a minute a project, and 400,000,000 a day
a project before Google wants to bill for more. Drive Activity counts queries by itself: 100 a
minute a user come from one project's experience, not from Google.
"""

import contextlib
import functools
import math
import random
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

import msgspec

from drivewake.gdrive.errors import DailyLimitError, RateLimitedError
from drivewake.runtime.clock import Clock, SystemClock

LIST_UNITS: Final = 100
DOWNLOAD_UNITS: Final = 200
EDIT_UNITS: Final = 50
READ_UNITS: Final = 5
MAX_BACKOFF_S: Final = 64.0
DAILY_PAUSE_S: Final = 3600.0
DAY_S: Final = 86_400.0
_EDITS: Final = ("create", "update", "delete", "copy", "emptyTrash")
ACTIVITY: Final = "driveactivity."
ACTIVITY_BURST_S: Final = 30.0

urgent: ContextVar[bool] = ContextVar("urgent", default=False)
"""Whether calls are made for a push or an operator: they may use what is held in reserve."""


class Meter:
    """What a piece of work has cost so far."""

    __slots__ = ("calls", "units")

    def __init__(self) -> None:
        self.calls = 0
        self.units = 0


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Meter]:
    """Count what is spent in the block, and in tasks that it starts."""
    meter = Meter()
    mark = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(mark)


@functools.lru_cache(maxsize=256)
def units(method: str) -> int:
    """Return the quota units of a call by its discovery id (`drive.changes.list`)."""
    if method.startswith(ACTIVITY):
        return 0  # not Drive's units: queries of a budget of their own
    verb = method.rpartition(".")[2]
    if verb == "list":
        return LIST_UNITS
    if verb in {"download", "export"}:
        return DOWNLOAD_UNITS
    return EDIT_UNITS if verb in _EDITS else READ_UNITS


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Units a minute that one user and the project may spend; `burst_s` may be saved up.

    - `day_units`: what the project may spend a day on average, 0 for no limit; up to
      `day_burst_s` of it may be saved up for busy hours.
    - `reserve`: share of what may be saved up that is left to urgent calls.
    - `activity_per_user_min`: queries of Drive Activity.
    """

    user_per_min: float = 325_000.0
    project_per_min: float = 1_000_000.0
    day_units: float = 400_000_000.0
    activity_per_user_min: float = 100.0
    burst_s: float = 5.0
    day_burst_s: float = 4 * 3600.0
    reserve: float = 0.2
    max_wait_s: float = 20.0
    users: int = 100_000


class _Bucket:
    """A token bucket in the form of the instant at which it is full again."""

    __slots__ = ("blocked_until_s", "burst_s", "free_at_s", "per_s", "refusals")

    def __init__(self, per_s: float, burst_s: float) -> None:
        self.per_s = per_s
        self.burst_s = burst_s
        self.free_at_s = 0.0
        self.blocked_until_s = 0.0
        self.refusals = 0

    def wait_s(self, now_s: float, reserve: float) -> float:
        """Return how long to wait before the next call that leaves a reserve."""
        ready_at_s = self.free_at_s - self.burst_s * (1 - reserve)
        if ready_at_s <= now_s and self.blocked_until_s <= now_s:
            return 0.0
        return max(ready_at_s, self.blocked_until_s) - now_s

    def take(self, now_s: float, cost: float) -> None:
        self.free_at_s = max(self.free_at_s, now_s) + cost / self.per_s

    def idle(self, now_s: float) -> bool:
        """Say whether forgetting it changes nothing."""
        return self.free_at_s <= now_s and self.blocked_until_s <= now_s and not self.refusals

    def refuse(self, now_s: float, retry_after_s: float | None) -> float:
        """Block for Google's own wish, else min(2^n + rand, 64) seconds; return how long."""
        pause = min(2.0**self.refusals + random.random(), MAX_BACKOFF_S)  # noqa: S311 - jitter
        pause = max(pause, retry_after_s or 0.0)
        self.refusals = min(self.refusals + 1, 10)
        self.blocked_until_s = max(self.blocked_until_s, now_s + pause)
        return pause


class Governor:
    """Paces the calls of one process, per user and for the project.

    `share_among` says how many processes spend the project's budget. Memory is bounded by
    `Budget.users`; who was forgotten starts with a full bucket. `waiting` counts the calls
    that wait now by what they wait for: `user`, `project`, `day`, `activity`, or `refused`
    after Google's own word.
    """

    def __init__(self, budget: Budget | None = None, *, clock: Clock | None = None) -> None:
        self.budget = budget or Budget()
        self.replicas = 1
        self.waiting: Counter[str] = Counter()
        self.units_spent = 0
        self._clock = clock or SystemClock()
        self._project = _Bucket(self.budget.project_per_min / 60, self.budget.burst_s)
        self._day = _Bucket((self.budget.day_units or math.inf) / DAY_S, self.budget.day_burst_s)
        self._users: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._recent = 0.0
        self._recent_at_s = 0.0

    def share_among(self, replicas: int) -> None:
        """Take this process's share of the project's budget."""
        self.replicas = max(replicas, 1)
        self._project.per_s = self.budget.project_per_min / 60 / self.replicas
        self._day.per_s = (self.budget.day_units or math.inf) / DAY_S / self.replicas

    def units_per_min(self) -> float:
        """Return what was spent in about the last minute."""
        age_s = self._clock.monotonic_s() - self._recent_at_s
        return self._recent * math.exp(-max(age_s, 0.0) / 60)

    async def admit(self, user: str, cost: int, *, calls: int = 1, method: str = "") -> None:
        """Wait until calls of this cost may go.

        Raises RateLimitedError at once (`retry_after_s` set) if that is further away than
        `max_wait_s`, so that nobody holds a claim while waiting.
        """
        buckets = self._buckets(user, method)
        reserve = 0.0 if urgent.get() else self.budget.reserve
        waited_s = 0.0
        while True:
            now_s = self._clock.monotonic_s()
            what, wait_s = "", 0.0
            for name, bucket in buckets.items():
                if (needed_s := bucket.wait_s(now_s, reserve)) > wait_s:
                    what, wait_s = name, needed_s
            if not what:
                self._spend(buckets, now_s, cost, calls)
                return
            if buckets[what].blocked_until_s - now_s >= wait_s:
                what = "refused"
            if waited_s + wait_s > self.budget.max_wait_s:
                raise RateLimitedError(
                    f"our own pace ({what}): {wait_s:.1f} s until the next call",
                    reason="governor",
                    retry_after_s=wait_s,
                    scope="project" if what in {"project", "day"} else "user",
                )
            waited_s += wait_s
            self.waiting[what] += 1
            try:
                await self._clock.sleep(wait_s)
            finally:
                self.waiting[what] -= 1

    def _buckets(self, user: str, method: str) -> dict[str, _Bucket]:
        if method.startswith(ACTIVITY):
            return {"activity": self._bucket("activity", user)}
        return {"user": self._bucket("", user), "project": self._project, "day": self._day}

    def _spend(self, buckets: dict[str, _Bucket], now_s: float, cost: int, calls: int) -> None:
        for name, bucket in buckets.items():
            bucket.take(now_s, calls if name == "activity" else cost)
        self.units_spent += cost
        age_s = now_s - self._recent_at_s
        self._recent = self._recent * math.exp(-max(age_s, 0.0) / 60) + cost
        self._recent_at_s = now_s
        meter = _meter.get()
        if meter is not None:
            meter.calls += calls
            meter.units += cost

    def refused(self, user: str, error: RateLimitedError) -> None:
        """Learn that Google refused: slow the user, or the project, down."""
        kind = "activity" if error.method.startswith(ACTIVITY) else ""
        bucket = self._project if error.scope == "project" else self._bucket(kind, user)
        asked_s = error.retry_after_s
        if isinstance(error, DailyLimitError):
            bucket, asked_s = self._project, max(asked_s or 0.0, DAILY_PAUSE_S)
        pause_s = bucket.refuse(self._clock.monotonic_s(), asked_s)
        if error.retry_after_s is None:
            error.retry_after_s = pause_s

    def accepted(self, user: str, method: str = "") -> None:
        """Learn that Google served a call: the next refusal counts from one again."""
        kind = "activity" if method.startswith(ACTIVITY) else ""
        self._bucket(kind, user).refusals = 0
        if not kind:
            self._project.refusals = 0

    def _bucket(self, kind: str, user: str) -> _Bucket:
        key = (kind, user)
        bucket = self._users.get(key)
        if bucket is not None:
            self._users.move_to_end(key)
            return bucket
        per_min = self.budget.activity_per_user_min if kind else self.budget.user_per_min
        burst_s = ACTIVITY_BURST_S if kind else self.budget.burst_s
        bucket = self._users[key] = _Bucket(per_min / 60, burst_s)
        self._forget()
        return bucket

    def _forget(self) -> None:
        """Drop the oldest that are idle, and any beyond the bound."""
        now_s = self._clock.monotonic_s()
        while len(self._users) > 1:
            key, oldest = next(iter(self._users.items()))
            if len(self._users) <= self.budget.users and not oldest.idle(now_s):
                break
            del self._users[key]
