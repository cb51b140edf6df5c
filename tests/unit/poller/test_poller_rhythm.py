# ruff: noqa: D103 - helpers whose names say it

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.records import LogRecord
from drivewake.poller import rhythm
from drivewake.poller.rhythm import Rhythm

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
RHYTHM = Rhythm()
replace = msgspec.structs.replace
LIVE = LogRecord(
    tenant="t1", connection="c1", log="l1", kind="user_changes", phase="live", interval_s=10.0
)


def quiet(seconds: float) -> LogRecord:
    return replace(LIVE, last_change_at=NOW - dt.timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("quiet_s", "pushed", "expected_s"),
    [
        (0, False, 10),  # the floor
        (600, False, 60),  # a tenth of the silence
        (86_400, False, 300),  # the ceiling
        (0, True, 60),  # with a channel the timer is the safety net
        (3600, True, 360),
        (86_400, True, 900),
    ],
)
def test_interval_follows_the_silence(quiet_s: float, pushed: bool, expected_s: float) -> None:
    """A log is looked at more often the fresher its last change, within its bounds."""
    assert expected_s == rhythm.interval(RHYTHM, quiet(quiet_s), NOW, pushed=pushed).seconds


def test_log_without_any_change_grows_from_the_floor() -> None:
    """A new log is watched closely and then less and less, up to the ceiling."""
    record, seen = replace(LIVE, interval_s=0.0), []
    for _ in range(12):
        seconds = rhythm.interval(RHYTHM, record, NOW, pushed=False).seconds
        record = replace(record, interval_s=seconds)
        seen.append(seconds)
    assert [10.0, 15.0, 22.5] == seen[:3]
    assert 300.0 == seen[-1]


def test_interval_says_why() -> None:
    """People read the reason in the status."""
    assert (
        "push channel alive, quiet for 2 h"
        == rhythm.interval(RHYTHM, quiet(7300), NOW, pushed=True).why
    )


@given(st.floats(0, 1, exclude_max=True), st.floats(0.1, 10_000))
def test_jitter_stays_within_its_share(draw: float, seconds: float) -> None:
    """Timers spread by a tenth at most."""
    spread = rhythm.jittered(RHYTHM, seconds, draw)
    assert seconds * 0.8999 <= spread <= seconds * 1.1001


def test_backoff_doubles_up_to_the_cap() -> None:
    """Google's rule: 1, 2, 4 … 64 seconds and a random part, then hardly ever."""
    waits = [rhythm.backoff_s(RHYTHM, n, None, 0.5) for n in range(1, 9)]
    assert [1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.0, 900.0] == waits


def test_retry_after_is_the_least() -> None:
    """We never come back sooner than Google asks, and never wait absurdly long."""
    assert 120.0 == rhythm.backoff_s(RHYTHM, 1, 120.0, 0.0)
    assert 2.0 == rhythm.backoff_s(RHYTHM, 2, 0.5, 0.0)
    assert 86_400.0 == rhythm.backoff_s(RHYTHM, 1, 1e9, 0.0)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_never_spins(failures: int, draw: float) -> None:
    """However many failures, at least a second passes."""
    assert 1.0 <= rhythm.backoff_s(RHYTHM, failures, None, draw) <= 1000.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stopped": True}, "the connection is not active"),
        ({"paused": True}, "paused by an operator"),
        ({"failures": 9}, "degraded after 9 failures in a row"),
        ({"failures": 2}, "backing off after 2 failures in a row"),
        ({"phase": "snapshot"}, "snapshot under way"),
        ({"phase": "new"}, "waits for its snapshot"),
        ({}, "no push channel, no change seen yet"),
    ],
)
def test_every_state_has_its_reason(changes: dict[str, object], expected: str) -> None:
    """The status says in words why a log is polled when it is."""
    assert expected == rhythm.why(RHYTHM, replace(LIVE, **changes), NOW, pushed=False)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_spans_are_readable(seconds: float, expected: str) -> None:
    """Durations show their largest whole unit."""
    assert expected == rhythm.span(seconds)
