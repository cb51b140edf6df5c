"""When a log is polled next: pure functions of its record, its channel and the rules."""

import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.records import LogRecord

MAX_EXPONENT: Final = 10
UNTRIED_GROWTH: Final = 1.5


class Rhythm(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the timer.

    Without a live push channel a log is polled every `floor_s` to `ceiling_s`; with one the
    timer is only the safety net and moves between the `push_` bounds. Between them the
    interval is `quiet_ratio` of the time since the last change: what changed a minute ago is
    looked at soon, what slept a week is not. `jitter` spreads timers by that share.
    `backoff_cap_s` bounds the waits that we choose, `retry_after_cap_s` those that Google does.
    """

    floor_s: float = 10.0
    ceiling_s: float = 300.0
    push_floor_s: float = 60.0
    push_ceiling_s: float = 900.0
    quiet_ratio: float = 0.1
    jitter: float = 0.1
    backoff_cap_s: float = 64.0
    retry_after_cap_s: float = 86_400.0
    degraded_after: int = 8
    degraded_s: float = 900.0


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """How long until the next timer, and the reason in words for people."""

    seconds: float
    why: str


def interval(
    rhythm: Rhythm, record: LogRecord, now: dt.datetime, *, pushed: bool, stretch: float = 1.0
) -> Interval:
    """Return the timer of a log that is read well; `pushed` says that a channel is alive.

    A log that never changed in our sight grows from the floor by half an interval a poll.
    `stretch` (1 or more) is what the quota makes of it: quiet logs wait so much longer, those
    that change all the time keep their floor.
    """
    floor_s = rhythm.push_floor_s if pushed else rhythm.floor_s
    ceiling_s = (rhythm.push_ceiling_s if pushed else rhythm.ceiling_s) * stretch
    path = "push channel alive" if pushed else "no push channel"
    if record.last_change_at is None:
        wished_s = record.interval_s * UNTRIED_GROWTH * stretch
        about = "no change seen yet"
    else:
        quiet_s = max((now - record.last_change_at).total_seconds(), 0.0)
        wished_s = quiet_s * rhythm.quiet_ratio * stretch
        about = f"quiet for {span(quiet_s)}"
    seconds = min(max(wished_s, floor_s), ceiling_s)
    tight = f", stretched {stretch:.1f}x by the quota" if stretch > 1 else ""
    return Interval(seconds=seconds, why=f"{path}, {about}{tight}")


def jittered(rhythm: Rhythm, seconds: float, draw: float) -> float:
    """Spread a timer by ±`jitter`; `draw` is uniform in [0, 1)."""
    return seconds * (1 + rhythm.jitter * (2 * draw - 1))


def backoff_s(rhythm: Rhythm, failures: int, retry_after_s: float | None, draw: float) -> float:
    """Return the wait after the n-th failure in a row, counting from 1.

    Google's rule is min(2^n + rand, cap); its own Retry-After is the least, whatever we
    think. From `degraded_after` failures on the log is only looked at every `degraded_s`.
    """
    if failures >= rhythm.degraded_after:
        wait_s = jittered(rhythm, rhythm.degraded_s, draw)
    else:
        exponent = min(max(failures - 1, 0), MAX_EXPONENT)
        wait_s = min(2.0**exponent + draw, rhythm.backoff_cap_s)
    return max(wait_s, min(retry_after_s or 0.0, rhythm.retry_after_cap_s))


def why(
    rhythm: Rhythm, record: LogRecord, now: dt.datetime, *, pushed: bool, stretch: float = 1.0
) -> str:
    """Say in words why a log is polled next when it is."""
    if record.stopped:
        return "the shared drive was left" if record.left else "the connection is not active"
    if record.paused:
        return "paused by an operator"
    if record.failures >= rhythm.degraded_after:
        return f"degraded after {record.failures} failures in a row"
    if record.failures:
        return f"backing off after {record.failures} failures in a row"
    if record.phase != "live":
        return "snapshot under way" if record.phase == "snapshot" else "waits for its snapshot"
    return interval(rhythm, record, now, pushed=pushed, stretch=stretch).why


def span(seconds: float) -> str:
    """Return a duration in its largest whole unit: `45 s`, `12 min`, `3 h`, `9 d`."""
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:.0f} {name}"
    return f"{seconds:.0f} s"
