"""Follows the connections: each one that is active has its log, the others have theirs stopped."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS, Connection, Status
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.poller import domain, listing
from drivewake.poller.loops import run_until
from drivewake.poller.ports import Held, Outside, Tokens
from drivewake.poller.rewriting import rewrite
from drivewake.runtime.bus import StoredMessage, StreamReader
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

RETRY_S: Final = 0.5
START_PRIORITY: Final = 3
_log = get_logger(__name__)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a connection.

    `watched`: folders whose activity is read; none of them: the whole Drive's; None: no
    activity at all.
    """

    status: Status
    revision: int
    watched: tuple[str, ...] | None


class Connections:
    """The state of every connection, and its effect on log records.

    `wait_known` returns once all that DRIVE_CONNECTION held at the start is applied.
    """

    def __init__(
        self, reader: StreamReader, outside: Outside, tokens: Tokens, *, activity: bool = True
    ) -> None:
        self._activity = activity
        self._reader = reader
        self._outside = outside
        self._tokens = tokens
        self._known: dict[str, Known] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._all_known = asyncio.Event()

    def on_stop(self, listener: Callable[[str], None]) -> None:
        """Call `listener(connection)` as soon as a connection may no longer be read."""
        self._listeners.append(listener)

    async def wait_known(self) -> None:
        """Wait until the connections that existed at the start are known."""
        await self._all_known.wait()

    def heard_of(self, connection: str) -> bool:
        """Say whether this process knows a connection; one that was revoked it forgets."""
        return connection in self._known

    def pollable(self, connection: str) -> bool:
        """Say whether the logs of a connection may be read."""
        known = self._known.get(connection)
        return known is not None and known.status in domain.POLLABLE

    async def run(self, stop: Stop) -> None:
        """Follow DRIVE_CONNECTION until the stop."""
        await run_until(stop, self._follow())

    async def _follow(self) -> None:
        messages = self._reader.follow(
            subjects.CONNECTION.name, subject="drive.connection.v1.*.*", latest=True
        )
        async for stored in messages:
            if stored is None:
                _log.info("connections are known", action="caught_up", count=len(self._known))
                self._all_known.set()
                continue
            await self._take(stored)

    async def _take(self, stored: StoredMessage) -> None:
        """Apply one state; until the broker is back, if it is away."""
        try:
            envelope = CONNECTIONS.decode(stored.data)
            subjects.connection(envelope.tenant, envelope.connection)
        except ValueError as error:
            # Auth alone writes here, and the state before it stays in force.
            _log.error(
                "a connection cannot be read",
                action="bad_connection",
                sequence=stored.sequence,
                reason=str(error),
            )
            return
        while True:
            try:
                await self.apply(envelope)
            except BusUnavailableError as error:
                _log.warning("a connection waits", action="apply_failed", reason=str(error))
                await self._outside.clock.sleep(RETRY_S)
            else:
                return

    async def apply(self, envelope: Envelope[Connection]) -> None:
        """Take one state of a connection into account; an older one than known is ignored."""
        connection, state = envelope.connection, envelope.data
        known = self._known.get(connection)
        if known is not None and known.revision > state.revision:
            return
        self._known[connection] = Known(
            status=state.status,
            revision=state.revision,
            watched=domain.watched(state) if self._activity else None,
        )
        if state.status in domain.POLLABLE:
            healed = known is not None and (known.status, state.status) == ("degraded", "active")
            await self._start(envelope.tenant, connection, healed=healed)
            return
        self._tokens.forget(envelope.tenant, connection)
        for listener in self._listeners:
            listener(connection)
        for held in self._outside.logs.of_connection(connection):
            await rewrite(self._outside.logs, held, _stopped)
        if state.status == "revoked":
            del self._known[connection]  # the last state of all; absent says as much

    async def _start(self, tenant: str, connection: str, *, healed: bool) -> None:
        """Make sure that the log of the user's changes exists, and that stopped logs go on.

        In a connection that healed, logs that back off go on at once too.
        """
        first = domain.new_log(tenant, connection, "user_changes", self._outside.clock.now())
        held = self._outside.logs.of_connection(connection)
        if all(one.record.log != first.log for one in held):
            held = [*held, Held(record=first, revision=0)]
        for one in held:
            changed = await rewrite(
                self._outside.logs, one, lambda held: self._started(held, healed=healed)
            )
            if changed is not None:
                await self._outside.signals.send(changed, "snapshot", priority=START_PRIORITY)
        await self.follow_activity(tenant, connection)

    async def follow_activity(self, tenant: str, connection: str) -> None:
        """Give the Drive, or each watched folder, its log of activity; end the others'.

        A whole Drive is My Drive and every shared drive that has a log.
        """
        known = self._known.get(connection)
        held = {
            (one.record.kind, one.record.resource): one
            for one in self._outside.logs.of_connection(connection)
        }
        wanted: set[str] = set(known.watched or ()) if known else set()
        if known is not None and known.watched == ():
            wanted = {""} | {
                drive
                for (kind, drive), one in held.items()
                if kind == "drive_changes" and not one.record.left
            }
        now = self._outside.clock.now()
        logs = {folder for kind, folder in held if kind == "activity"} | wanted
        for folder in sorted(logs):
            await self._switch_activity(tenant, connection, folder, held, now, on=folder in wanted)

    async def _switch_activity(
        self,
        tenant: str,
        connection: str,
        folder: str,
        held: Mapping[tuple[LogKind, str], Held],
        now: dt.datetime,
        *,
        on: bool,
    ) -> None:
        """Begin or end the log of one folder's activity, if it is not so already."""
        first = domain.new_log(tenant, connection, "activity", now, folder)

        def change(one: Held) -> LogRecord | None:
            if one.revision == 0:
                return first if on else None
            if on == (not one.record.left):
                return None
            return (
                listing.drive_joined(one.record, now) if on else listing.drive_left(one.record, now)
            )

        before = held.get(("activity", folder)) or Held(record=first, revision=0)
        changed = await rewrite(self._outside.logs, before, change)
        if changed is not None:
            await self._outside.signals.send(changed, "snapshot", priority=START_PRIORITY)

    def _started(self, held: Held, *, healed: bool) -> LogRecord | None:
        """Return what a log of an active connection becomes, None if it runs already.

        A log that nobody has begun may have lost its first signal to a crash: again.
        """
        record = held.record
        if record.left:
            return None
        backs_off = bool(record.failures) and not record.owner
        if record.stopped or (healed and backs_off):
            return domain.resumed(record, self._outside.clock.now())
        untouched = record.phase == "new" and not record.owner and not record.failures
        return record if held.revision == 0 or untouched else None


def _stopped(held: Held) -> LogRecord | None:
    return None if held.record.stopped else domain.stopped(held.record)
