"""What the poller decides about a log, without doing it: pure, the clock passed in.

`admit` judges a signal against a record, `claimed` and `settled` open and close a turn, the
rest say what a record becomes after each page. A record is only ever replaced as a whole by
compare-and-set: its revision is the fence, `owner` and `claimed_until` merely save work.
"""

import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.connections import Status
from drivewake.contracts.ids import log_id
from drivewake.contracts.keys import digest_of
from drivewake.contracts.raw import LogFact
from drivewake.contracts.records import LogKind, LogRecord, Snapshot
from drivewake.contracts.signals import Reason, Signal

POLLABLE: Final[frozenset[Status]] = frozenset({"active", "degraded"})
"""States of a connection in which its logs are read."""

MAX_ERROR_CHARS: Final = 300
_replace = msgspec.structs.replace


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of turns.

    - `lease_s`: how long a claim holds without renewal.
    - `spacing_s`: least time between two polls of one log, whoever asks.
    - `early_s`: a timer that fires this much too early is still on time.
    - `loser_s`, `loser_cap_s`: how soon a signal comes again whose log another one polls.
    - `turn_pages`: pages read before others get their turn.
    - `relist_s`: how long after an incomplete listing it is tried again.
    """

    lease_s: float = 10.0
    spacing_s: float = 0.02
    early_s: float = 2.0
    loser_s: float = 0.1
    loser_cap_s: float = 2.0
    turn_pages: int = 20
    relist_s: float = 3600.0


# -- Signals ---------------------------------------------------------------------------------


class Go(msgspec.Struct, frozen=True, kw_only=True):
    """Poll the log, after `wait_s` for the sake of spacing."""

    wait_s: float = 0.0


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to do now. `at`: first make sure that a timer waits for this instant."""

    reason: str
    at: dt.datetime | None = None


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """Not now and not here: let the signal come again after `delay_s`."""

    delay_s: float
    reason: str


Verdict = Go | Skip | GiveBack


_STRENGTH: Final[tuple[Reason, ...]] = ("timer", "snapshot", "push", "operator")
"""Reasons of signals; each may be obeyed where those before it are not."""


def merged(older: Signal, newer: Signal) -> Signal:
    """Return one signal for two that wait: the stronger reason, the more urgent priority.

    Among equals the newer one counts.
    """
    strongest = max(newer, older, key=lambda signal: _STRENGTH.index(signal.reason))
    return _replace(strongest, priority=min(older.priority, newer.priority))


def admit(
    rules: Rules, record: LogRecord, *, signal: Signal, deliveries: int, me: str, now: dt.datetime
) -> Verdict:
    """Decide what a signal for this log leads to.

    A timer before the time for which it was set means a wrong clock: obeying it would spin.
    One whose time has come is obeyed although the record says later: it may have taken the
    place of a push in the stream. That costs one poll and makes no timers more, for each
    poll sets the one timer of its log. Signals during a back-off wait for its end, an
    operator's apart. In both cases a repeated delivery may come from a crash before the
    timer was set: set it again.
    """
    if record.stopped or record.paused:
        return Skip(reason="stopped" if record.stopped else "paused")
    if record.owner and record.owner != me:
        left_s = seconds_until(record.claimed_until, now)
        if left_s > 0:
            delay_s = min(rules.loser_s * 2 ** min(deliveries - 1, 10), rules.loser_cap_s)
            return GiveBack(delay_s=min(delay_s, left_s), reason="claimed")
    clean = not record.owner
    if clean and seconds_until(record.next_poll_at, now) > rules.early_s:
        again = record.next_poll_at if deliveries > 1 else None
        if record.failures and signal.reason != "operator":
            return Skip(reason="backing_off", at=again)
        if signal.reason == "timer" and seconds_until(signal.requested_at, now) > rules.early_s:
            return Skip(reason="early", at=again)
    since_s = -seconds_until(record.last_success_at, now)
    if record.last_success_at is None or since_s >= rules.spacing_s:
        return Go()
    return Go(wait_s=min(rules.spacing_s - since_s, rules.spacing_s))


def claimed(rules: Rules, record: LogRecord, me: str, now: dt.datetime) -> LogRecord:
    """Return the record as held by `me`, for a lease from now on."""
    until = now + dt.timedelta(seconds=rules.lease_s)
    return _replace(record, owner=me, claimed_until=until)


def seconds_until(instant: dt.datetime | None, now: dt.datetime) -> float:
    """Return the seconds left until an instant, negative once it is past; 0 for none."""
    return 0.0 if instant is None else (instant - now).total_seconds()


# -- The end of a turn -----------------------------------------------------------------------


def settled(
    record: LogRecord, now: dt.datetime, *, interval_s: float, at: dt.datetime
) -> LogRecord:
    """Release after everything that Google had was published; `at` is the next timer."""
    return _replace(
        record,
        owner="",
        claimed_until=None,
        interval_s=interval_s,
        last_success_at=now,
        next_poll_at=at,
        failures=0,
        last_error="",
    )


def yielded(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Release with more to read: others get their turn, this log is due at once."""
    return _replace(record, owner="", claimed_until=None, next_poll_at=now)


def failed(record: LogRecord, error: str) -> LogRecord:
    """Count one more failure in a row."""
    return _replace(record, failures=record.failures + 1, last_error=error[:MAX_ERROR_CHARS])


def hindered(record: LogRecord, error: str) -> LogRecord:
    """Say what holds the log up, without a failure of the log or of Google."""
    return _replace(record, last_error=error[:MAX_ERROR_CHARS])


def progressed(record: LogRecord) -> LogRecord:
    """Forget the failures: a page was read and published, so they are no longer in a row."""
    return _replace(record, failures=0, last_error="")


def postponed(record: LogRecord, at: dt.datetime) -> LogRecord:
    """Release until `at`: the cursor stands where it stood."""
    return _replace(record, owner="", claimed_until=None, next_poll_at=at)


# -- Changes and snapshots -------------------------------------------------------------------


def advanced(record: LogRecord, cursor: str, changes: int, now: dt.datetime) -> LogRecord:
    """Move the cursor behind a page whose changes are published."""
    changed = now if changes else record.last_change_at
    return _replace(record, cursor=cursor, last_change_at=changed)


def snapshot_begun(
    record: LogRecord, *, start_token: str, snapshot: str, now: dt.datetime
) -> LogRecord:
    """Begin a listing: the start token was taken before it."""
    return _replace(
        record,
        phase="snapshot",
        snapshot=Snapshot(id=snapshot, start_token=start_token, started_at=now),
    )


def listed(record: LogRecord, page_token: str, files: int, *, incomplete: bool) -> LogRecord:
    """Move a listing behind one page; an incomplete answer opens a gap that outlives it."""
    snapshot = _snapshot(record)
    moved = _replace(snapshot, page_token=page_token, files=snapshot.files + files)
    gaps = open_gaps(record)
    if incomplete and incomplete_gap(record) not in gaps:
        gaps = (*gaps, incomplete_gap(record))
    return _replace(record, snapshot=moved, gap=",".join(gaps))


def listing_whole(record: LogRecord) -> bool:
    """Say whether Google vouched for every page of the listing so far."""
    return incomplete_gap(record) not in open_gaps(record)


def went_live(record: LogRecord) -> LogRecord:
    """Promote the start token after the last page.

    An older cursor is kept: it covers more. After an incomplete listing the gap stays open
    and `snapshot` remembers the listing, to be tried again.
    """
    snapshot = _snapshot(record)
    whole = listing_whole(record)
    return _replace(
        record,
        phase="live",
        cursor=record.cursor or snapshot.start_token,
        snapshot=None if whole else snapshot,
        gap="" if whole else record.gap,
    )


def listing_lost(record: LogRecord) -> LogRecord:
    """Begin the listing again: Google forgot its page token."""
    return _replace(record, phase="new", snapshot=None)


def relist_due(rules: Rules, record: LogRecord, now: dt.datetime) -> bool:
    """Say whether a live log should repeat a listing that was incomplete."""
    if record.phase != "live" or record.snapshot is None:
        return False
    return -seconds_until(record.snapshot.started_at, now) >= rules.relist_s


def cursor_lost(record: LogRecord) -> LogRecord:
    """Open a gap and go back to the beginning: a snapshot must re-establish the state."""
    gaps = tuple(dict.fromkeys((*open_gaps(record), lost_gap(record))))
    return _replace(record, phase="new", cursor="", snapshot=None, gap=",".join(gaps))


def open_gaps(record: LogRecord) -> tuple[str, ...]:
    """Return the ids of the gaps that are open; the record keeps them comma-separated."""
    return tuple(filter(None, record.gap.split(",")))


def lost_gap(record: LogRecord) -> str:
    """Return the id of the gap behind the record's cursor: the same loss has the same id."""
    return digest_of(record.log, "cursor", record.cursor)


def incomplete_gap(record: LogRecord) -> str:
    """Return the id of the gap that an incomplete answer leaves in the record's snapshot."""
    return digest_of(record.log, "incomplete", _snapshot(record).id)


def _snapshot(record: LogRecord) -> Snapshot:
    assert record.snapshot is not None  # noqa: S101 - phase `snapshot` always has one
    return record.snapshot


# -- Facts of the whole log ------------------------------------------------------------------


def snapshot_started(record: LogRecord) -> LogFact:
    """Say that a listing began."""
    snapshot = _snapshot(record)
    reason = "cursor_lost" if record.gap else ""
    return LogFact(
        fact="snapshot_started", started_at=snapshot.started_at, snapshot=snapshot.id, reason=reason
    )


def snapshot_ended(record: LogRecord) -> tuple[LogFact, ...]:
    """Say what a whole listing settles: itself, and every gap before it. Else nothing."""
    if not listing_whole(record):
        return ()
    snapshot = _snapshot(record)
    done = LogFact(
        fact="snapshot_completed",
        started_at=snapshot.started_at,
        snapshot=snapshot.id,
        files=snapshot.files,
    )
    closed = (
        LogFact(fact="gap_closed", started_at=snapshot.started_at, snapshot=snapshot.id, gap=gap)
        for gap in open_gaps(record)
    )
    return (done, *closed)


def listing_incomplete(record: LogRecord, now: dt.datetime) -> LogFact:
    """Say that Google left files out of a listing: absence from it proves nothing."""
    return LogFact(
        fact="gap_opened",
        started_at=now,
        snapshot=_snapshot(record).id,
        gap=incomplete_gap(record),
        reason="incomplete_search",
        missing_to=now,
    )


def gap_opened(record: LogRecord, now: dt.datetime) -> LogFact:
    """Say what a lost cursor leaves unread: from the last success until now."""
    return LogFact(
        fact="gap_opened",
        started_at=now,
        gap=lost_gap(record),
        reason="cursor_lost",
        missing_from=record.last_success_at,
        missing_to=now,
    )


# -- Connections -----------------------------------------------------------------------------


def new_log(tenant: str, connection: str, kind: LogKind, now: dt.datetime) -> LogRecord:
    """Return the record of a log that nobody has read yet."""
    return LogRecord(
        tenant=tenant,
        connection=connection,
        log=log_id(connection, kind),
        kind=kind,
        interval_s=0.0,
        next_poll_at=now,
    )


def stopped(record: LogRecord) -> LogRecord:
    """Stop a log whose connection may not be read; whoever polls it loses its claim."""
    return _replace(record, stopped=True, owner="", claimed_until=None)


def resumed(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Let a log that was stopped or backs off go on where it stood, with a clean slate."""
    return _replace(record, stopped=False, failures=0, last_error="", next_poll_at=now)


def overdue(record: LogRecord, now: dt.datetime, *, grace_s: float, crash_s: float) -> str:
    """Say why a log needs a signal although none is known to wait, "" if it does not.

    A claim that ran out `crash_s` ago was left by a crash; a timer that should have fired
    `grace_s` ago was lost, or never set.
    """
    if record.stopped or record.paused:
        return ""
    if record.owner:
        return "abandoned" if -seconds_until(record.claimed_until, now) > crash_s else ""
    late_s = -seconds_until(record.next_poll_at, now)
    return "late" if record.next_poll_at is None or late_s > grace_s else ""
