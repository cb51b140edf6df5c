"""What the poller says of itself: every log, how it goes and when it is polled next."""

import datetime as dt
from collections.abc import Iterable
from typing import Final

import msgspec

from drivewake.contracts.control import LogStatus, QuotaStatus, StatusReply, StatusRequest
from drivewake.contracts.records import LogRecord
from drivewake.gdrive.quota import Governor
from drivewake.poller import domain, listing, rhythm
from drivewake.poller.ports import Held, Outside
from drivewake.poller.pressure import Pressure
from drivewake.poller.rhythm import Rhythm

MAX_LOGS: Final = 500


class Status:
    """Answers `drive.rpc.v1.poller.status`."""

    def __init__(
        self, outside: Outside, rhythm: Rhythm, governor: Governor, pressure: Pressure, *, me: str
    ) -> None:
        self._outside = outside
        self._governor = governor
        self._pressure = pressure
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
            quota=self._quota(),
        )

    def _quota(self) -> QuotaStatus:
        governor = self._governor
        return QuotaStatus(
            share=round(1 / governor.replicas, 4),
            replicas=governor.replicas,
            stretch=round(self._pressure.stretch, 2),
            units_spent=governor.units_spent,
            units_per_min=round(governor.units_per_min(), 1),
            waiting={what: count for what, count in governor.waiting.items() if count},
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
            why=rhythm.why(
                self._rhythm, record, now, pushed=pushed, stretch=self._pressure.stretch
            ),
            interval_s=round(record.interval_s, 1),
            push=pushed,
            failures=record.failures,
            last_error=record.last_error,
            resource=record.resource,
            last_success_at=record.last_success_at,
            last_change_at=record.last_change_at,
            cursor_age_s=age_s,
            lag_s=lag_s(record, now),
            next_poll_at=record.next_poll_at,
            files=record.snapshot.files if record.snapshot else 0,
            pending=len(record.pending),
            gaps=listing.open_gaps(record),
            calls=record.calls,
            units=record.units,
            owner=record.owner,
        )


def lag_s(record: LogRecord, now: dt.datetime) -> float:
    """Return how overdue the next poll of a log is that should be polled."""
    if record.stopped or record.paused or record.next_poll_at is None:
        return 0.0
    return round(max(-domain.seconds_until(record.next_poll_at, now), 0.0), 3)


def state(record: LogRecord) -> str:
    """Return how a log goes in one word."""
    if record.left:
        return "left"
    if record.stopped:
        return "stopped"
    if record.paused:
        return "paused"
    if record.failures:
        return "failing"
    return record.phase
