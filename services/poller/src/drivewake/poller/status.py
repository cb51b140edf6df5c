"""What the poller says of itself: every log, how it goes and when it is polled next."""

import datetime as dt
from collections.abc import Iterable
from typing import Final

import msgspec

from drivewake.contracts.records import LogKind, LogPhase, LogRecord
from drivewake.poller import domain, rhythm
from drivewake.poller.ports import Held, Outside
from drivewake.poller.rhythm import Rhythm

MAX_LOGS: Final = 500
DEFAULT_LOGS: Final = 200


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which logs to tell of; `after` is the key at which the last answer ended."""

    connection: str = ""
    after: str = ""
    limit: int = DEFAULT_LOGS


class LogStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one log goes; ages and waits in seconds, as of the answer."""

    tenant: str
    connection: str
    log: str
    kind: LogKind
    phase: LogPhase
    state: str
    why: str
    interval_s: float
    push: bool
    failures: int = 0
    last_error: str = ""
    last_success_at: dt.datetime | None = None
    cursor_age_s: float | None = None
    next_poll_at: dt.datetime | None = None
    files: int = 0
    gaps: tuple[str, ...] = ()
    owner: str = ""


class StatusReply(msgspec.Struct, frozen=True, kw_only=True):
    """A page of logs by key, and counts over all of them. `next`: ask on after this key."""

    instance: str
    at: dt.datetime
    total: int
    states: dict[str, int]
    logs: list[LogStatus]
    next: str = ""


class Status:
    """Answers `drive.rpc.v1.poller.status`."""

    def __init__(self, outside: Outside, rhythm: Rhythm, *, me: str) -> None:
        self._outside = outside
        self._rhythm = rhythm
        self._me = me
        self._requests = msgspec.json.Decoder(StatusRequest)

    async def answer(self, subject: str, body: bytes) -> bytes:
        """Return a StatusReply for a StatusRequest; an empty body asks for the first page."""
        del subject
        request = self._requests.decode(body) if body else StatusRequest()
        return msgspec.json.encode(self.reply(request))

    def reply(self, request: StatusRequest) -> StatusReply:
        """Tell of the logs that were asked for."""
        now = self._outside.clock.now()
        limit = min(max(request.limit, 1), MAX_LOGS)
        states: dict[str, int] = {}
        found: list[tuple[str, Held]] = []
        for key, held in self._logs(request.connection):
            name = state(held.record)
            states[name] = states.get(name, 0) + 1
            if key > request.after:
                found.append((key, held))
        found.sort(key=lambda one: one[0])
        page = found[:limit]
        return StatusReply(
            instance=self._me,
            at=now,
            total=sum(states.values()),
            states=states,
            logs=[self._of(held.record, now) for _, held in page],
            next=page[-1][0] if len(found) > limit else "",
        )

    def _logs(self, connection: str) -> Iterable[tuple[str, Held]]:
        if not connection:
            return self._outside.logs.all()
        held = self._outside.logs.of_connection(connection)
        return [(f"{connection}.{one.record.log}", one) for one in held]

    def _of(self, record: LogRecord, now: dt.datetime) -> LogStatus:
        pushed = self._outside.channels.alive(record.log, now)
        age_s = None
        if record.last_success_at is not None:
            age_s = round(-domain.seconds_until(record.last_success_at, now), 3)
        return LogStatus(
            tenant=record.tenant,
            connection=record.connection,
            log=record.log,
            kind=record.kind,
            phase=record.phase,
            state=state(record),
            why=rhythm.why(self._rhythm, record, now, pushed=pushed),
            interval_s=round(record.interval_s, 1),
            push=pushed,
            failures=record.failures,
            last_error=record.last_error,
            last_success_at=record.last_success_at,
            cursor_age_s=age_s,
            next_poll_at=record.next_poll_at,
            files=record.snapshot.files if record.snapshot else 0,
            gaps=domain.open_gaps(record),
            owner=record.owner,
        )


def state(record: LogRecord) -> str:
    """Return how a log goes in one word."""
    if record.stopped:
        return "stopped"
    if record.paused:
        return "paused"
    if record.failures:
        return "failing"
    return record.phase
