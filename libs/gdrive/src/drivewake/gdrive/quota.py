"""What calls cost, and a governor that stays inside the budget.

Costs and budgets: https://developers.google.com/workspace/drive/api/guides/limits
(2026-09): 325,000 units a minute a user, 1,000,000 a minute a project.
"""

import random
from collections import OrderedDict
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
_EDITS: Final = ("create", "update", "delete", "copy", "emptyTrash")


def units(method: str) -> int:
    """Return the quota units of a call by its discovery id (`drive.changes.list`)."""
    verb = method.rpartition(".")[2]
    if verb == "list":
        return LIST_UNITS
    if verb in {"download", "export"}:
        return DOWNLOAD_UNITS
    return EDIT_UNITS if verb in _EDITS else READ_UNITS


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Units a minute that one user and the project may spend; `burst_s` may be saved up."""

    user_per_min: float = 325_000.0
    project_per_min: float = 1_000_000.0
    burst_s: float = 5.0
    max_wait_s: float = 20.0
    users: int = 100_000


class _Bucket:
    """A token bucket in the form of the instant at which it is full again."""

    __slots__ = ("blocked_until_s", "burst_s", "free_at_s", "per_s", "refusals")

    def __init__(self, per_min: float, burst_s: float) -> None:
        self.per_s = per_min / 60
        self.burst_s = burst_s
        self.free_at_s = 0.0
        self.blocked_until_s = 0.0
        self.refusals = 0

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next call."""
        return max(self.free_at_s - self.burst_s - now_s, self.blocked_until_s - now_s, 0.0)

    def take(self, now_s: float, cost: float) -> None:
        self.free_at_s = max(self.free_at_s, now_s) + cost / self.per_s

    def refuse(self, now_s: float, retry_after_s: float | None) -> float:
        """Block for Google's own wish, else min(2^n + rand, 64) seconds; return how long."""
        pause = min(2.0**self.refusals + random.random(), MAX_BACKOFF_S)  # noqa: S311 - jitter
        pause = max(pause, retry_after_s or 0.0)
        self.refusals = min(self.refusals + 1, 10)
        self.blocked_until_s = max(self.blocked_until_s, now_s + pause)
        return pause


class Governor:
    """Paces the calls of one process, per user and for the project.

    Give each replica its share of the project's budget. Memory is bounded by
    `Budget.users`; who was forgotten starts with a full bucket.
    """

    def __init__(self, budget: Budget | None = None, *, clock: Clock | None = None) -> None:
        self._budget = budget or Budget()
        self._clock = clock or SystemClock()
        self._project = _Bucket(self._budget.project_per_min, self._budget.burst_s)
        self._users: OrderedDict[str, _Bucket] = OrderedDict()
        self.units_spent = 0

    async def admit(self, user: str, cost: int) -> None:
        """Wait until a call of this cost may go.

        Raises RateLimitedError at once (`retry_after_s` set) if that is further away than
        `max_wait_s`, so that nobody holds a claim while waiting.
        """
        bucket = self._bucket(user)
        waited_s = 0.0
        while True:
            now_s = self._clock.monotonic_s()
            user_wait_s = bucket.wait_s(now_s)
            wait_s = max(user_wait_s, self._project.wait_s(now_s))
            if wait_s <= 0:
                bucket.take(now_s, cost)
                self._project.take(now_s, cost)
                self.units_spent += cost
                return
            if waited_s + wait_s > self._budget.max_wait_s:
                raise RateLimitedError(
                    f"our own pace: {wait_s:.1f} s until the next call",
                    reason="governor",
                    retry_after_s=wait_s,
                    scope="user" if user_wait_s >= wait_s else "project",
                )
            waited_s += wait_s
            await self._clock.sleep(wait_s)

    def refused(self, user: str, error: RateLimitedError) -> None:
        """Learn that Google refused: slow the user, or the project, down."""
        bucket = self._project if error.scope == "project" else self._bucket(user)
        asked_s = error.retry_after_s
        if isinstance(error, DailyLimitError):
            bucket, asked_s = self._project, max(asked_s or 0.0, DAILY_PAUSE_S)
        pause_s = bucket.refuse(self._clock.monotonic_s(), asked_s)
        if error.retry_after_s is None:
            error.retry_after_s = pause_s

    def accepted(self, user: str) -> None:
        """Learn that Google served a call: the next refusal counts from one again."""
        self._bucket(user).refusals = 0
        self._project.refusals = 0

    def _bucket(self, user: str) -> _Bucket:
        bucket = self._users.get(user)
        if bucket is None:
            bucket = _Bucket(self._budget.user_per_min, self._budget.burst_s)
            self._users[user] = bucket
            if len(self._users) > self._budget.users:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user)
        return bucket
