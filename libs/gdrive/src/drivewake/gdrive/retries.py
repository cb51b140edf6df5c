"""Repeating calls: by stamina, within one call's patience and one process's budget."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import stamina

from drivewake.gdrive.errors import DailyLimitError, RateLimitedError, UnavailableError

T = TypeVar("T")


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long one call may be repeated. Messages are retried by their consumer, not here."""

    attempts: int = 4
    total_s: float = 25.0
    first_wait_s: float = 0.2
    max_wait_s: float = 8.0


class RetryBudget:
    """Retries that a process may still make: calls earn a share, retries spend one each.

    So an outage at Google meets at most `share` more calls than usual, not a multiple.
    """

    def __init__(self, share: float = 0.2, cap: float = 100.0) -> None:
        self._share = share
        self._cap = cap
        self._left = cap

    def earn(self) -> None:
        """Count a first attempt."""
        self._left = min(self._left + self._share, self._cap)

    def spend(self) -> bool:
        """Return whether one more retry is affordable, and take it."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Retries:
    """Runs calls, repeating those that another attempt can heal."""

    def __init__(self, patience: Patience | None = None, budget: RetryBudget | None = None) -> None:
        self._patience = patience or Patience()
        self._budget = budget or RetryBudget()

    async def run(self, once: Callable[[], Awaitable[T]], name: str) -> T:
        """Return what `once` returns; raise its last error when patience or budget end."""
        self._budget.earn()
        patience = self._patience
        # Nearly all calls succeed: stamina's machinery is entered with the first failure, as if
        # that had been its first attempt.
        failed: UnavailableError | RateLimitedError | None = None
        try:
            return await once()
        except (UnavailableError, RateLimitedError) as error:
            failed = error
        async for attempt in stamina.retry_context(
            on=self._worth,
            attempts=patience.attempts,
            timeout=patience.total_s,
            wait_initial=patience.first_wait_s,
            wait_max=patience.max_wait_s,
            wait_jitter=patience.first_wait_s,
        ):
            with attempt:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                return await once()
        raise AssertionError(f"{name}: stamina ends by returning or raising")  # pragma: no cover

    def _worth(self, error: Exception) -> bool | dt.timedelta:
        """Say whether, and if Google named it after which time, to try again."""
        if isinstance(error, DailyLimitError):
            return False
        if not isinstance(error, UnavailableError | RateLimitedError):
            return False
        after_s = error.retry_after_s
        if after_s is not None and after_s > self._patience.max_wait_s:
            return False
        if not self._budget.spend():
            return False
        return True if after_s is None else dt.timedelta(seconds=after_s)
