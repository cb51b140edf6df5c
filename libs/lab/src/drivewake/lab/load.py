"""A load of HTTP requests that are ready as bytes, over connections that stay open.

For benches of servers: one process, hardly any work a request, so that the server is what is
measured. Answers must carry Content-Length.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import cast

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a load met: answers by status, how long it took, and the latencies where measured.

    `sent` counts those before the clock started too.
    """

    statuses: dict[int, int]
    seconds: float
    sent: int
    latencies_ms: list[float] = []

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return sum(self.statuses.values()) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies, 0 of none."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the status of each answer."""

    def __init__(self, answered: Callable[["_Connection", int], None]) -> None:
        self._answered = answered
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Ask."""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Find the end of the answer."""
        data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _length(data[:end]):
            self._data = data
            return
        self._data = b""
        self._answered(self, int(data[9:12]))


def _length(head: bytes) -> int:
    after = head.lower().partition(b"\r\ncontent-length:")[2]
    return int(after.partition(b"\r\n")[0] or 0)


async def saturate(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> Load:
    """Keep every connection busy for a while: each asks again as soon as it was answered."""
    statuses: Counter[int] = Counter()
    position = 0

    def answered(connection: _Connection, status: int) -> None:
        nonlocal position
        statuses[status] += 1
        position += 1
        connection.send(requests[position % len(requests)])

    opened = await _open(host, port, connections, answered)
    for number, connection in enumerate(opened):
        connection.send(requests[number * len(requests) // connections])
    await asyncio.sleep(seconds / 4)  # until batches and caches have their size
    statuses.clear()
    began_s = time.perf_counter()
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - began_s
    load = Load(statuses=dict(statuses), seconds=took_s, sent=position)
    for connection in opened:
        connection.transport.abort()
    return load


async def steady(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    per_s: float,
    seconds: float,
) -> Load:
    """Send at a fixed rate, whatever the answers; latency counts from when each was due."""
    statuses: Counter[int] = Counter()
    latencies_ms: list[float] = []
    due: deque[float] = deque()
    begun: dict[_Connection, float] = {}
    position = 0

    def answered(connection: _Connection, status: int) -> None:
        statuses[status] += 1
        latencies_ms.append((time.perf_counter() - begun.pop(connection)) * 1000)
        idle.append(connection)
        _feed()

    def _feed() -> None:
        nonlocal position
        while due and idle:
            connection = idle.pop()
            begun[connection] = due.popleft()
            position += 1
            connection.send(requests[position % len(requests)])

    idle = await _open(host, port, connections, answered)
    opened = list(idle)
    began_s = time.perf_counter()
    number = 0
    while (now_s := time.perf_counter()) < began_s + seconds:
        while began_s + number / per_s <= now_s:
            due.append(began_s + number / per_s)
            number += 1
        _feed()
        await asyncio.sleep(0.0005)
    took_s = time.perf_counter() - began_s
    for connection in opened:
        connection.transport.abort()
    return Load(statuses=dict(statuses), seconds=took_s, sent=position, latencies_ms=latencies_ms)


async def _open(
    host: str, port: int, connections: int, answered: Callable[[_Connection, int], None]
) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(answered), host, port)
        for _ in range(connections)
    ]
    return [connection for _, connection in made]
