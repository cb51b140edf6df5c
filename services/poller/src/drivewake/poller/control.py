"""Answers `drive.rpc.v1.poller.control`: poll, pause, resume, resync, rewind.

Any replica answers: what it writes into a record fences whoever polls the log at the moment,
in whichever process, and nothing that was read is lost by it.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from drivewake.contracts.control import (
    ControlReply,
    ControlRequest,
    LogCursor,
    LogOutcome,
    Verb,
)
from drivewake.contracts.ids import InvalidIdError
from drivewake.contracts.records import LogRecord
from drivewake.contracts.subjects import log_key
from drivewake.poller import domain, listing
from drivewake.poller.ports import Held, Outside
from drivewake.poller.rewriting import rewrite
from drivewake.runtime.errors import BusError

OPERATOR_PRIORITY: Final = 0
MAX_CURSOR_CHARS: Final = 4096
Change = Callable[[LogRecord], LogRecord | None]


class Control:
    """Does what operators ask. `cut_off` ends a log's turn in this process at once."""

    def __init__(self, outside: Outside, cut_off: Callable[[str], None]) -> None:
        self._outside = outside
        self._cut_off = cut_off
        self._requests = msgspec.json.Decoder(ControlRequest)

    async def answer(self, subject: str, body: bytes) -> bytes:
        """Return a ControlReply for a ControlRequest."""
        del subject
        try:
            request = self._requests.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return msgspec.json.encode(ControlReply(error=str(error)))
        return msgspec.json.encode(await self.do(request))

    async def do(self, request: ControlRequest) -> ControlReply:
        """Do it to each log; what fails for one is told and stops no other."""
        outcomes = [await self._rewind(cursor) for cursor in request.cursors]
        for connection in request.connections:
            found = self._logs(connection, request.log)
            if not found:
                unknown = LogOutcome(connection=connection, log=request.log, outcome="unknown")
                outcomes.append(unknown)
            outcomes += [await self._one(held, request.verb) for held in found]
        return ControlReply(outcomes=tuple(outcomes))

    def _logs(self, connection: str, log: str) -> Sequence[Held]:
        """Return the logs that are meant: all of a connection, or one whose id begins so."""
        found = self._outside.logs.of_connection(connection)
        return [held for held in found if held.record.log.startswith(log)]

    async def _one(self, held: Held, verb: Verb) -> LogOutcome:
        record = held.record
        if record.left:
            return _outcome(record, "unchanged", "the shared drive was left")
        return await self._living(held, record, verb)

    async def _living(self, held: Held, record: LogRecord, verb: Verb) -> LogOutcome:
        now = self._outside.clock.now()
        match verb:
            case "pause":
                return await self._change(
                    held,
                    lambda one: None if one.paused else domain.paused(one),
                    signal=False,
                    cut_off=True,
                )
            case "resume":
                return await self._change(
                    held, lambda one: domain.unpaused(one, now) if one.paused else None
                )
            case "resync":
                if record.kind == "activity":
                    return _outcome(record, "unchanged", "activity has no listing")
                return await self._change(held, lambda one: listing.resynced(one, now))
        return await self._poll(record)

    async def _poll(self, record: LogRecord) -> LogOutcome:
        if record.paused or record.stopped:
            why = "paused" if record.paused else "its connection is not active"
            return _outcome(record, "unchanged", why)
        return await self._signalled(record)

    async def _rewind(self, wanted: LogCursor) -> LogOutcome:
        try:
            key = log_key(wanted.connection, wanted.log)
        except InvalidIdError as error:
            return LogOutcome(connection="", log="", outcome="failed", reason=str(error))
        held = await self._outside.logs.read(key)
        if held is None:
            # Its connection, if it is active, begins it anew: with a full listing.
            return LogOutcome(connection=wanted.connection, log=wanted.log, outcome="unknown")
        if len(wanted.cursor) > MAX_CURSOR_CHARS:
            return _outcome(held.record, "failed", "the cursor is too long to be one")
        now = self._outside.clock.now()
        return await self._change(
            held, lambda one: domain.rewound(one, wanted.cursor, now), cut_off=True
        )

    async def _change(
        self, held: Held, change: Change, *, signal: bool = True, cut_off: bool = False
    ) -> LogOutcome:
        """Change a record, end its turn here, then signal it: a turn that begins after that."""
        try:
            changed = await rewrite(self._outside.logs, held, lambda one: change(one.record))
        except BusError as error:
            return _outcome(held.record, "failed", str(error))
        if changed is None:
            return _outcome(held.record, "unchanged")
        if cut_off:
            self._cut_off(log_key(changed.connection, changed.log))
        if signal and not changed.paused and not changed.stopped:
            return await self._signalled(changed)
        return _outcome(changed, "done")

    async def _signalled(self, record: LogRecord) -> LogOutcome:
        """Signal a log; where that fails its timer, or the reconciler, brings it about."""
        try:
            await self._outside.signals.send(record, "operator", priority=OPERATOR_PRIORITY)
        except BusError as error:
            return _outcome(record, "failed", str(error))
        return _outcome(record, "done")


def _outcome(
    record: LogRecord, outcome: Literal["done", "unchanged", "failed"], reason: str = ""
) -> LogOutcome:
    return LogOutcome(connection=record.connection, log=record.log, outcome=outcome, reason=reason)
