"""How often Google may be asked about one connection: backing off, and on a caller's word.

Time is the monotonic clock's, passed in. Bounded: the connections that were least recently
in trouble are forgotten, which costs Google one question too many.
"""

from collections import OrderedDict
from typing import Final

import msgspec

Key = tuple[str, str]
"""Tenant and connection."""

BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0
REJECTIONS: Final = 3
REJECTIONS_S: Final = 10.0
"""A connection's tokens are renewed on a caller's word so often in so long a time."""

MAX_NOTES: Final = 20_000


class _Note(msgspec.Struct):
    """What a connection's recent troubles forbid."""

    failures: int = 0
    not_before_s: float = 0.0
    rejections: int = 0
    rejections_since_s: float = 0.0


class Patience:
    """Remembers failures and rejections by connection."""

    def __init__(self, capacity: int = MAX_NOTES) -> None:
        self._capacity = capacity
        self._notes: OrderedDict[Key, _Note] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def may_ask(self, key: Key, now_s: float) -> bool:
        """Return whether the last failure is long enough ago."""
        note = self._notes.get(key)
        return note is None or now_s >= note.not_before_s

    def failed(self, key: Key, now_s: float) -> None:
        """Wait before the next question, longer each time."""
        note = self._note(key)
        delay_s = min(BACKOFF_S * 2.0 ** min(note.failures, 10), BACKOFF_MAX_S)
        note.failures += 1
        note.not_before_s = now_s + delay_s

    def succeeded(self, key: Key) -> None:
        """Forget failures."""
        note = self._notes.get(key)
        if note is not None:
            note.failures = 0

    def may_renew(self, key: Key, now_s: float) -> bool:
        """Count a rejected token; return whether it is worth another question."""
        note = self._note(key)
        if now_s - note.rejections_since_s >= REJECTIONS_S:
            note.rejections, note.rejections_since_s = 0, now_s
        note.rejections += 1
        return note.rejections <= REJECTIONS

    def forget(self, key: Key) -> None:
        """Forget all troubles: the connection has changed."""
        self._notes.pop(key, None)

    def _note(self, key: Key) -> _Note:
        note = self._notes.setdefault(key, _Note())
        self._notes.move_to_end(key)
        if len(self._notes) > self._capacity:
            self._notes.popitem(last=False)
        return note
