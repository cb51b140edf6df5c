"""How much one caller may ask for: a token bucket each. Time is passed in.

Bounded: the callers that asked least recently are forgotten, which gives them a full bucket.
"""

from collections import OrderedDict
from typing import Final

MAX_CALLERS: Final = 10_000


class Buckets:
    """Lets each key do `burst` things at once and `rate_per_s` a second in the long run."""

    def __init__(self, rate_per_s: float, burst: int, capacity: int = MAX_CALLERS) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._capacity = capacity
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now_s: float) -> float:
        """Take one; return 0, or without taking any how many seconds to wait for the next."""
        level, at_s = self._buckets.get(key, (float(self._burst), now_s))
        level = min(float(self._burst), level + max(now_s - at_s, 0.0) * self._rate_per_s)
        wait_s = 0.0 if level >= 1 else (1 - level) / self._rate_per_s
        self._buckets[key] = (level if wait_s else level - 1, now_s)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return wait_s
