# ruff: noqa: D103 - helpers whose names say it

import datetime as dt

import msgspec
import pytest

from drivewake.contracts.records import LogRecord, Pending, Slice, Snapshot
from drivewake.contracts.signals import Signal
from drivewake.poller import domain
from drivewake.poller.domain import GiveBack, Go, Rules, Skip

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
RULES = Rules()
ME = "poller-a"
replace = msgspec.structs.replace


def seconds(n: float) -> dt.timedelta:
    return dt.timedelta(seconds=n)


@pytest.fixture
def live() -> LogRecord:
    """A live log that was read well ten seconds ago and is due now."""
    return LogRecord(
        tenant="t1",
        connection="c1",
        log="l1",
        kind="user_changes",
        phase="live",
        cursor="100",
        interval_s=10.0,
        last_success_at=NOW - seconds(10),
        next_poll_at=NOW,
    )


def signal(reason: str, in_s: float = 0.0, priority: int = 5) -> Signal:
    return Signal(
        log="l1",
        reason=reason,  # type: ignore[arg-type]
        requested_at=NOW + seconds(in_s),
        priority=priority,
    )


def admit(
    record: LogRecord, reason: str = "push", deliveries: int = 1, *, in_s: float = 0.0
) -> domain.Verdict:
    return domain.admit(
        RULES,
        record,
        signal=signal(reason, in_s),
        deliveries=deliveries,
        me=ME,
        now=NOW,
    )


@pytest.mark.parametrize("reason", ["push", "timer", "operator", "snapshot"])
def test_due_log_is_polled(live: LogRecord, reason: str) -> None:
    """A log that is due is polled, whoever asks."""
    assert Go() == admit(live, reason)


@pytest.mark.parametrize("reason", ["push", "timer", "operator", "snapshot"])
def test_stopped_and_paused_logs_are_left_alone(live: LogRecord, reason: str) -> None:
    """No signal makes a stopped or paused log poll."""
    assert Skip(reason="stopped") == admit(replace(live, stopped=True), reason)
    assert Skip(reason="paused") == admit(replace(live, paused=True), reason)


def test_loser_comes_back_soon_then_less_often(live: LogRecord) -> None:
    """Who finds a log claimed gives the signal back: soon, later at growing distance."""
    held = domain.claimed(RULES, live, "poller-b", NOW)
    delays = [admit(held, deliveries=n) for n in (1, 2, 3, 40)]
    expected = [GiveBack(delay_s=d, reason="claimed") for d in (0.1, 0.2, 0.4, 2.0)]
    assert expected == delays


def test_loser_waits_no_longer_than_the_claim(live: LogRecord) -> None:
    """A claim that is nearly over is waited for exactly."""
    held = replace(live, owner="poller-b", claimed_until=NOW + seconds(0.03))
    assert GiveBack(delay_s=0.03, reason="claimed") == admit(held)


def test_claims_that_ran_out_or_are_ours_do_not_hold(live: LogRecord) -> None:
    """An expired claim and one of our own earlier life are taken over, due or not."""
    expired = replace(live, owner="poller-b", claimed_until=NOW, next_poll_at=NOW + seconds(60))
    ours = domain.claimed(RULES, replace(live, next_poll_at=NOW + seconds(60)), ME, NOW)
    assert [Go(), Go()] == [admit(expired, "timer"), admit(ours, "timer")]


def test_timer_before_its_own_time_is_dropped_without_spinning(live: LogRecord) -> None:
    """A timer long before the time for which it was set means that a clock is wrong."""
    later = replace(live, next_poll_at=NOW + seconds(30))
    assert Skip(reason="early") == admit(later, "timer", in_s=30)
    assert Go() == admit(later, "push", in_s=30)


def test_timer_in_time_is_obeyed_although_the_record_says_later(live: LogRecord) -> None:
    """In the stream it may have taken the place of a push that came during the poll before."""
    assert Go() == admit(replace(live, next_poll_at=NOW + seconds(60)), "timer")


def test_slightly_early_timer_is_on_time(live: LogRecord) -> None:
    """Clocks of two machines may differ a little."""
    assert Go() == admit(replace(live, next_poll_at=NOW + seconds(1.5)), "timer", in_s=1.5)


def test_repeated_delivery_sets_the_timer_again(live: LogRecord) -> None:
    """A timer that comes twice before its time may be one that nobody replaced."""
    at = NOW + seconds(30)
    early = admit(replace(live, next_poll_at=at), "timer", 2, in_s=30)
    assert Skip(reason="early", at=at) == early


@pytest.mark.parametrize(
    ("older", "newer", "left"),
    [
        ("push", "timer", "push"),
        ("operator", "push", "operator"),
        ("timer", "push", "push"),
        ("snapshot", "operator", "operator"),
        ("snapshot", "timer", "snapshot"),
    ],
)
def test_of_two_signals_the_stronger_reason_is_left(older: str, newer: str, left: str) -> None:
    """Whichever came last; and the more urgent priority of the two."""
    one = domain.merged(signal(older, priority=2), signal(newer, 1.0, priority=7))
    assert (left, 2) == (one.reason, one.priority)


def test_of_two_equal_signals_the_newer_is_left() -> None:
    """A timer that was set again counts as of its last setting."""
    assert signal("timer", 9.0) == domain.merged(signal("timer"), signal("timer", 9.0))


@pytest.mark.parametrize("reason", ["push", "timer", "snapshot"])
def test_backing_off_log_is_not_polled_before_its_time(live: LogRecord, reason: str) -> None:
    """Pushes do not break a back-off; an operator does."""
    failing = replace(live, failures=3, next_poll_at=NOW + seconds(8))
    assert Skip(reason="backing_off") == admit(failing, reason)
    assert Go() == admit(failing, "operator")


def test_polls_of_one_log_keep_their_distance(live: LogRecord) -> None:
    """A push right after a poll waits for the rest of the spacing."""
    just = replace(live, last_success_at=NOW - seconds(RULES.spacing_s / 4))
    verdict = admit(just)
    assert isinstance(verdict, Go)
    assert RULES.spacing_s * 0.75 == pytest.approx(verdict.wait_s, abs=2e-6)


def test_clock_that_went_back_costs_at_most_the_spacing(live: LogRecord) -> None:
    """A success in the future does not freeze the log."""
    assert Go(wait_s=RULES.spacing_s) == admit(replace(live, last_success_at=NOW + seconds(7200)))


def test_settled_releases_and_forgets_failures(live: LogRecord) -> None:
    """Success clears the claim and the failures and says when to look again."""
    held = domain.claimed(RULES, replace(live, failures=4, last_error="no"), ME, NOW)
    done = domain.settled(held, NOW, interval_s=20.0, at=NOW + seconds(21))
    assert ("", None, 0, "") == (done.owner, done.claimed_until, done.failures, done.last_error)
    assert (20.0, NOW, NOW + seconds(21)) == (
        done.interval_s,
        done.last_success_at,
        done.next_poll_at,
    )


def test_failure_leaves_the_cursor(live: LogRecord) -> None:
    """A failure counts and says why, in bounded words; the cursor stands."""
    failed = domain.postponed(domain.failed(live, "x" * 1000), NOW + seconds(2))
    assert (1, 300, "100") == (failed.failures, len(failed.last_error), failed.cursor)
    assert NOW + seconds(2) == failed.next_poll_at


def test_stopping_takes_the_claim_away(live: LogRecord) -> None:
    """A stopped log has no owner; going on keeps the cursor and forgets the failures."""
    held = domain.claimed(RULES, replace(live, failures=2), ME, NOW)
    stopped = domain.stopped(held)
    assert (True, "", None) == (stopped.stopped, stopped.owner, stopped.claimed_until)
    resumed = domain.resumed(stopped, NOW)
    assert (False, 0, "100", NOW) == (
        resumed.stopped,
        resumed.failures,
        resumed.cursor,
        resumed.next_poll_at,
    )


def overdue(record: LogRecord) -> str:
    return domain.overdue(record, NOW, grace_s=60, crash_s=1)


def test_logs_that_nobody_would_look_at_are_found(live: LogRecord) -> None:
    """A timer that is long past, one that was never set, and a claim left by a crash."""
    crashed = replace(live, owner="poller-b", claimed_until=NOW - seconds(2))
    assert ["late", "late", "abandoned"] == [
        overdue(replace(live, next_poll_at=NOW - seconds(61))),
        overdue(replace(live, next_poll_at=None)),
        overdue(crashed),
    ]


def test_logs_that_are_looked_after_are_not_disturbed(live: LogRecord) -> None:
    """Due, claimed, stopped and paused logs need no repair."""
    late = replace(live, next_poll_at=NOW - seconds(600))
    fine = [
        live,
        domain.claimed(RULES, late, "poller-b", NOW),
        replace(late, stopped=True),
        replace(late, paused=True),
    ]
    assert [""] * 4 == [overdue(record) for record in fine]


def test_pause_takes_the_claim_and_unpausing_forgets_the_failures(live: LogRecord) -> None:
    """Whoever polls a paused log is fenced; it goes on from the same cursor, now."""
    held = domain.claimed(RULES, replace(live, failures=2), ME, NOW)
    paused = domain.paused(held)
    assert (True, "", None) == (paused.paused, paused.owner, paused.claimed_until)
    again = domain.unpaused(paused, NOW)
    assert (False, 0, "100", NOW) == (
        again.paused,
        again.failures,
        again.cursor,
        again.next_poll_at,
    )


def test_rewound_log_reads_again_from_the_cursor_it_is_given(live: LogRecord) -> None:
    """What was only planned is planned anew, and everything is listed again."""
    busy = replace(
        live,
        owner="b",
        pending=(Pending(file="f", parts="c"),),
        slices=(Slice(after_ms=1, until_ms=2),),
        snapshot=Snapshot(id="s", started_at=NOW, pages=3),
        drives_at=NOW,
    )
    back = domain.rewound(busy, "90", NOW)
    assert ("live", "90", "", (), (), None, None, NOW) == (
        back.phase,
        back.cursor,
        back.owner,
        back.pending,
        back.slices,
        back.snapshot,
        back.drives_at,
        back.relist_at,
    )


def test_log_without_a_cursor_to_go_back_to_begins_anew(live: LogRecord) -> None:
    """Start token and full listing, as for a log that nobody has read."""
    assert ("new", "") == (
        domain.rewound(live, "", NOW).phase,
        domain.rewound(live, "", NOW).cursor,
    )
