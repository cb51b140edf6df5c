"""Connections whose next revision the broker refused: left alone for a while, longer each time.

Order matters within a connection only, so that one of them never holds up the others. Time is
the monotonic clock's, passed in.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

FIRST_S: Final = 1.0
MAX_S: Final = 300.0
MAX_HOLDS: Final = 10_000


class _Hold(msgspec.Struct):
    refusals: int = 0
    until_s: float = 0.0


class Holds:
    """Remembers refusals by connection; beyond MAX_HOLDS the oldest is tried again early."""

    def __init__(self) -> None:
        self._holds: OrderedDict[str, _Hold] = OrderedDict()

    def held(self, now_s: float) -> Sequence[str]:
        """Return the connections to leave alone now."""
        return [connection for connection, hold in self._holds.items() if now_s < hold.until_s]

    def refused(self, connection: str, now_s: float) -> float:
        """Leave a connection alone; return for how long, seconds."""
        hold = self._holds.setdefault(connection, _Hold())
        self._holds.move_to_end(connection)
        delay_s = min(FIRST_S * 2.0 ** min(hold.refusals, 10), MAX_S)
        hold.refusals += 1
        hold.until_s = now_s + delay_s
        if len(self._holds) > MAX_HOLDS:
            self._holds.popitem(last=False)
        return delay_s

    def published(self, connection: str) -> None:
        """Forget the refusals of a connection."""
        self._holds.pop(connection, None)
