"""Answers that were encoded before, and are served again while nothing could have changed them."""

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Encoded(Generic[V]):
    """Shelves of encoded answers, bounded in bytes: what does not fit any more empties them.

    A value is kept with a stamp, in which the maker says all that the value depends on; who
    takes it compares the stamp.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._shelves: dict[Hashable, dict[Hashable, tuple[Hashable, V]]] = {}
        self._bytes = 0

    def shelf(self, name: Hashable) -> dict[Hashable, tuple[Hashable, V]]:
        """Return (stamp, value) by key; to be read, not written."""
        return self._shelves.setdefault(name, {})

    def put(self, name: Hashable, key: Hashable, stamp: Hashable, value: V, size: int) -> None:
        """Keep a value of so many bytes."""
        self._bytes += size
        if self._bytes > self._max_bytes:
            self._shelves.clear()
            self._bytes = size
        self._shelves.setdefault(name, {})[key] = (stamp, value)
