"""Repairs logs that nobody would look at: a claim left by a crash, a timer lost or never set."""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Final

import msgspec

from drivewake.contracts.records import LogRecord
from drivewake.poller import domain, metrics
from drivewake.poller.connections import Connections
from drivewake.poller.loops import run_until
from drivewake.poller.ports import Held, Outside
from drivewake.poller.pressure import Pressure, planned_per_min
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

PRIORITY: Final = 8
SLICE: Final = 500
"""Records judged before others get the event loop."""

FAILING: Final = 5
"""Failures in a row from which on a log counts as failing."""

SILENT_S: Final = 900.0
"""How late a poll must be for its log to count as silent."""

_log = get_logger(__name__)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often the records are gone through, and how many repairs that may make.

    `grace_s`: how late a timer may be, `crash_s` how long ago a claim may have run out. A
    repair that changed nothing is repeated after twice the time, at most `patience_s`: where
    signals wait in a long queue, replacing them would only send them to its end.
    """

    first_s: float = 11.0
    every_s: float = 30.0
    per_s: float = 200.0
    grace_s: float = 60.0
    crash_s: float = 1.0
    patience_s: float = 3600.0


class _Try(msgspec.Struct, frozen=True):
    revision: int
    count: int
    next_s: float


class Seen:
    """What one look at all logs says: what they plan, and how many are in trouble."""

    def __init__(self) -> None:
        self._planned = 0.0
        self._failing = self._silent = self._gaps = 0

    def take(self, record: LogRecord, now: dt.datetime) -> None:
        """Look at one log."""
        self._planned += planned_per_min(record)
        self._gaps += len(record.gaps)
        if record.stopped or record.paused:
            return
        self._failing += record.failures >= FAILING
        late_s = -domain.seconds_until(record.next_poll_at, now)
        self._silent += late_s > SILENT_S

    def tell(self, pressure: Pressure) -> None:
        """Tell the pressure, and the metrics that alerts watch."""
        pressure.tell(self._planned)
        metrics.STRETCH.set(pressure.stretch)
        metrics.FAILING.set(self._failing)
        metrics.SILENT.set(self._silent)
        metrics.OPEN_GAPS.set(self._gaps)


class Reconciler:
    """Goes through all records for ever. `under_way` says which logs are served here now."""

    def __init__(
        self,
        outside: Outside,
        connections: Connections,
        pace: Pace,
        *,
        me: str,
        pressure: Pressure,
        under_way: Callable[[str], bool],
    ) -> None:
        self._outside = outside
        self._connections = connections
        self._pace = pace
        self._me = me
        self._pressure = pressure
        self._under_way = under_way
        self._tries: dict[str, _Try] = {}

    async def run(self, stop: Stop) -> None:
        """Sweep at the start, when the claims of a crash before it run out, then regularly."""
        await run_until(stop, self._connections.wait_known())
        wait_s = self._pace.first_s
        while not stop.requested:
            try:
                await self.sweep(stop)
            except BusError as error:
                _log.warning("logs cannot be repaired", action="sweep_failed", reason=str(error))
            await stop.sleep(wait_s)
            wait_s = self._pace.every_s

    async def sweep(self, stop: Stop) -> int:
        """Signal every log that needs it; return how many."""
        self._forget_deleted()
        repaired = 0
        seen = Seen()
        for index, (key, held) in enumerate(self._outside.logs.all(), 1):
            if index % SLICE == 0:
                await asyncio.sleep(0)
            if stop.requested:
                break
            seen.take(held.record, self._outside.clock.now())
            why = self._why(key, held)
            if not why:
                self._tries.pop(key, None)
                continue
            if not self._may_try(key, held):
                continue
            _log.info("a log is signalled again", action="repair", log=held.record.log, reason=why)
            await self._outside.signals.send(held.record, "timer", priority=PRIORITY)
            metrics.REPAIRS.add(reason=why)
            repaired += 1
            await stop.sleep(1 / self._pace.per_s)
        if not stop.requested:
            seen.tell(self._pressure)
        return repaired

    def _why(self, key: str, held: Held) -> str:
        record = held.record
        if not self._connections.pollable(record.connection) or self._under_way(key):
            return ""
        if record.owner == self._me and not record.stopped and not record.paused:
            return "abandoned"  # by an earlier life of this process
        return domain.overdue(
            record,
            self._outside.clock.now(),
            grace_s=self._pace.grace_s,
            crash_s=self._pace.crash_s,
        )

    def _forget_deleted(self) -> None:
        """Drop the tries of logs whose records are no more."""
        for key in [key for key in self._tries if self._outside.logs.cached(key) is None]:
            del self._tries[key]

    def _may_try(self, key: str, held: Held) -> bool:
        """Note a try; say no while an earlier one for the same record may still work."""
        now_s = self._outside.clock.monotonic_s()
        before = self._tries.get(key)
        count = 0
        if before is not None and before.revision == held.revision:
            if now_s < before.next_s:
                return False
            count = before.count + 1
        wait_s = min(self._pace.grace_s * 2 ** min(count, 16), self._pace.patience_s)
        self._tries[key] = _Try(held.revision, count, now_s + wait_s)
        return True
