"""What the poller decides about a log, without doing it: pure, the clock passed in.

`admit` judges a signal against a record, `claimed` and `settled` open and close a turn, the
rest say what connections and operators make of a record; what reading makes of it stands in
`listing` and beside the sources. A record is only ever replaced as a whole by compare-and-set:
its revision is the fence, `owner` and `claimed_until` merely save work.
"""

import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.connections import Connection, Status
from drivewake.contracts.ids import log_id
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.contracts.signals import Reason, Signal

POLLABLE: Final[frozenset[Status]] = frozenset({"active", "degraded"})
"""States of a connection in which its logs are read."""

ACTIVITY_SCOPES: Final = frozenset(
    f"https://www.googleapis.com/auth/drive.activity{suffix}" for suffix in ("", ".readonly")
)
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
    - `live_pages`: pages of a listing after which changes are read.
    - `drives_s`: how old the list of a user's shared drives may become without a sign.
    """

    lease_s: float = 10.0
    spacing_s: float = 0.02
    early_s: float = 2.0
    loser_s: float = 0.1
    loser_cap_s: float = 2.0
    turn_pages: int = 20
    relist_s: float = 3600.0
    live_pages: int = 8
    drives_s: float = 86_400.0


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


def charged(record: LogRecord, raws: int, calls: int, units: int) -> LogRecord:
    """Count what a log has given and what that has cost."""
    return _replace(
        record,
        raws=record.raws + raws,
        calls=record.calls + calls,
        units=record.units + units,
    )


def postponed(record: LogRecord, at: dt.datetime) -> LogRecord:
    """Release until `at`: the cursor stands where it stood."""
    return _replace(record, owner="", claimed_until=None, next_poll_at=at)


# -- Connections -----------------------------------------------------------------------------


def new_log(
    tenant: str, connection: str, kind: LogKind, now: dt.datetime, resource: str = ""
) -> LogRecord:
    """Return the record of a log that nobody has read yet."""
    return LogRecord(
        tenant=tenant,
        connection=connection,
        log=log_id(connection, kind, resource),
        kind=kind,
        resource=resource,
        interval_s=0.0,
        next_poll_at=now,
    )


def watched(state: Connection) -> tuple[str, ...] | None:
    """Return the folders whose activity is read: none for the whole Drive; None for no activity.

    Without a scope that allows it nothing is asked.
    """
    if not ACTIVITY_SCOPES.intersection(state.scopes):
        return None
    return state.watched_folders


def stopped(record: LogRecord) -> LogRecord:
    """Stop a log whose connection may not be read; whoever polls it loses its claim."""
    return _replace(record, stopped=True, owner="", claimed_until=None)


def resumed(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Let a log that was stopped or backs off go on where it stood, with a clean slate."""
    return _replace(record, stopped=False, failures=0, last_error="", next_poll_at=now)


# -- Operators -------------------------------------------------------------------------------


def paused(record: LogRecord) -> LogRecord:
    """Leave a log alone; whoever polls it loses its claim."""
    return _replace(record, paused=True, owner="", claimed_until=None)


def unpaused(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Let a paused log go on where it stood."""
    return _replace(record, paused=False, failures=0, last_error="", next_poll_at=now)


def rewound(record: LogRecord, cursor: str, now: dt.datetime) -> LogRecord:
    """Go on from another cursor, that of a restored store; whoever polls loses its claim.

    A listing follows: what an earlier one published beside the changes may be lost with the
    store. Without a cursor the log begins anew.
    """
    back = _replace(
        record,
        owner="",
        claimed_until=None,
        cursor=cursor,
        snapshot=None,
        pending=(),
        slices=(),
        requery_at=None,
        drives_at=None,
        relist_at=None if record.kind == "activity" else now,
        failures=0,
        last_error="",
        next_poll_at=now,
    )
    return back if cursor else _replace(back, phase="new")


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
