"""Whose turn it is: signals that wait, fair between connections, one entry a log."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Waiting entries by connection, handed out round robin.

    A connection has at most `per_connection` entries under way; within one the most urgent
    (lowest priority number) goes first, in order of arrival among equals. Who fills it
    bounds it: `len` counts what waits.
    """

    def __init__(self, per_connection: int) -> None:
        self._per_connection = per_connection
        self._waiting: OrderedDict[str, dict[int, deque[T]]] = OrderedDict()
        self._running: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: str, priority: int, entry: T) -> None:
        """Let an entry wait."""
        queues = self._waiting.setdefault(connection, {})
        queues.setdefault(priority, deque()).append(entry)
        self._count += 1

    def next(self) -> T | None:
        """Return the entry whose turn it is and count it as under way, None if none may go."""
        for connection in list(self._waiting):
            if self._running.get(connection, 0) >= self._per_connection:
                continue
            queues = self._waiting[connection]
            most_urgent = min(queues)
            entry = queues[most_urgent].popleft()
            if not queues[most_urgent]:
                del queues[most_urgent]
            if queues:
                self._waiting.move_to_end(connection)
            else:
                del self._waiting[connection]
            self._running[connection] = self._running.get(connection, 0) + 1
            self._count -= 1
            return entry
        return None

    def done(self, connection: str) -> None:
        """Count one entry of a connection as no longer under way."""
        left = self._running.get(connection, 0) - 1
        if left > 0:
            self._running[connection] = left
        else:
            self._running.pop(connection, None)
