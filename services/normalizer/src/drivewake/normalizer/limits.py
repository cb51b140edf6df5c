"""How much at once, and when so much is dead that the fault must be ours. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from drivewake.normalizer.errors import TooManyDeadError


class DeadRule(msgspec.Struct, frozen=True, kw_only=True):
    """When to stop: `ratio` of the last `window` messages, or `in_a_row`."""

    ratio: float = 0.2
    window: int = 1000
    in_a_row: int = 100


MIN_JUDGED_SHARE: Final = 0.1
"""A ratio says something only after a tenth of the window."""


class DeadBound:
    """Watches what share of the messages is dead."""

    def __init__(self, rule: DeadRule) -> None:
        self._rule = rule
        self._window: deque[bool] = deque(maxlen=rule.window)
        self._dead = 0
        self._row = 0

    def check(self, dead: Sequence[bool], reason: str) -> None:
        """Raise what noting these messages would raise; note nothing."""
        trial = DeadBound(self._rule)
        trial._window = self._window.copy()
        trial._dead, trial._row = self._dead, self._row
        trial.note(dead, reason)

    def note(self, dead: Sequence[bool], reason: str) -> None:
        """Note messages in their order; raises TooManyDeadError when the bound is passed."""
        for one in dead:
            if len(self._window) == self._rule.window:
                self._dead -= self._window[0]
            self._window.append(one)
            self._dead += one
            self._row = self._row + 1 if one else 0
            self._judge(reason)

    def _judge(self, reason: str) -> None:
        seen = len(self._window)
        if self._row >= self._rule.in_a_row:
            what = f"the last {self._row} messages"
        elif seen >= self._rule.window * MIN_JUDGED_SHARE and self._dead > self._rule.ratio * seen:
            what = f"{self._dead} of the last {seen} messages"
        else:
            return
        raise TooManyDeadError(
            f"{what} cannot be decoded or decided (the newest: {reason}); stopped with the"
            " stream left as it is: release a version that understands them, or raise"
            " DRIVEWAKE_DEAD_RATIO and DRIVEWAKE_DEAD_IN_A_ROW to bury them"
        )


class BatchSize:
    """How many messages to take at once: grows while batches are full and fast.

    Aims at batches that take `target_s`: long enough to share a commit, short enough that
    nobody waits for long and the database's timeouts stay far.
    """

    def __init__(self, *, least: int, most: int, target_s: float) -> None:
        self._least = least
        self._most = most
        self._target_s = target_s
        self.now = min(max(least, 500), most)

    def note(self, taken: int, took_s: float) -> None:
        """Learn from a batch that was handled."""
        if took_s > 2 * self._target_s:
            self.now = max(self.now // 2, self._least)
        elif taken >= self.now and took_s < self._target_s:
            self.now = min(self.now * 3 // 2 + 1, self._most)

    def failed(self) -> None:
        """Learn from a batch that failed: it may have been too large."""
        self.now = max(self.now // 2, self._least)
