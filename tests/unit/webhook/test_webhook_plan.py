"""Which channels live: planned over weeks of virtual time."""

import datetime as dt
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.contracts.connections import Status
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.webhook.plan import Forget, Mark, Open, Policy, Stop, plan, renew_at, successor_id
from drivewake.webhook.tokens import Subject

START = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
SUBJECT = Subject("acme", "ann", "log1")
POLICY = Policy()
LOG = LogRecord(
    tenant="acme", connection="ann", log="log1", kind="user_changes", phase="live", cursor="7"
)
replace = msgspec.structs.replace


class Google:
    """A Google and a registry in one, which does what plans say. Nothing is random by itself."""

    def __init__(self, seed: int = 0, *, refuse: float = 0.0, lose: float = 0.0) -> None:
        self.now = START
        self.records: dict[str, ChannelRecord] = {}
        self.stopped: list[str] = []
        self.opened = 0
        self._random = random.Random(seed)
        self._refuse = refuse
        self._lose = lose

    def tend(self, status: Status | None = "active", log: LogRecord | None = LOG) -> None:
        """Carry out plans until nothing is due; fail on a plan that never comes to rest."""
        for _ in range(20):
            todo = plan(SUBJECT, status, log, list(self.records.values()), self.now, POLICY)
            self.again_at = todo.again_at
            if not todo.actions:
                return
            for action in todo.actions:
                self._do(action)
        raise AssertionError("the plan does not come to rest")

    def _do(self, action: Any) -> None:  # noqa: ANN401 - a tagged union
        match action:
            case Open(channel=channel):
                assert channel not in self.records
                self.records[channel] = self._opened(channel)
            case Stop(channel=channel, reason=reason):
                assert self.records[channel].resource
                self.stopped.append(channel)
                self.records[channel] = replace(
                    self.records[channel], status="stopped", reason=reason
                )
            case Mark(channel=channel, status=status, reason=reason):
                self.records[channel] = replace(self.records[channel], status=status, reason=reason)
            case Forget(channel=channel):
                del self.records[channel]

    def _opened(self, channel: str) -> ChannelRecord:
        record = ChannelRecord(
            channel=channel,
            tenant="acme",
            connection="ann",
            log="log1",
            created_at=self.now,
            expires_at=self.now + dt.timedelta(seconds=POLICY.lifetime_s),
        )
        if self._random.random() < self._refuse:
            return replace(record, status="refused", reason="no")
        if self._random.random() < self._lose:
            return record
        self.opened += 1
        return replace(record, status="live", resource="res", synced_at=self.now)

    def wait(self) -> None:
        """Let time pass until the plan wants to be made again."""
        assert self.again_at is not None
        assert self.again_at > self.now
        self.now = self.again_at

    @property
    def living(self) -> list[ChannelRecord]:
        """Channels that work now."""
        return [
            record
            for record in self.records.values()
            if record.status == "live" and record.expires_at > self.now
        ]


def test_a_quarter_of_a_year_without_an_uncovered_moment() -> None:
    """Channels follow each other with overlap; records do not pile up."""
    google = Google()
    google.tend()
    while google.now < START + dt.timedelta(days=90):
        google.wait()
        assert 1 <= len(google.living) <= 2
        google.tend()
        assert 1 <= len(google.living) <= 2
        assert 5 >= len(google.records)

    assert 12 <= google.opened <= 20
    assert google.opened - len(google.living) == len(google.stopped)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), refuse=st.floats(0, 0.9), lose=st.floats(0, 0.9))
def test_refusals_and_lost_answers_are_outlived(seed: int, refuse: float, lose: float) -> None:
    """Whatever Google does with a watch, attempts are spaced and one succeeds in the end."""
    google = Google(seed, refuse=refuse, lose=lose)
    google.tend()
    for _ in range(2_000):
        if google.opened:
            break
        google.wait()
        google.tend()

        assert len(google.records) <= POLICY.keep_most + 2

    assert 1 == google.opened


def test_refusals_back_off_to_a_bound() -> None:
    """The pause doubles from half a minute to six hours."""
    google = Google(refuse=1.0)
    pauses: list[float] = []
    google.tend()
    for _ in range(12):
        before = google.now
        google.wait()
        google.tend()
        pauses.append((google.now - before).total_seconds())

    assert [30, 60, 120, 240, 480] == pauses[:5]
    assert [21_600, 21_600] == pauses[-2:]


@pytest.mark.parametrize("status", ["degraded", None])
def test_unclear_connections_keep_what_they_have(status: Status | None) -> None:
    """No new channel, none stopped."""
    google = Google()
    google.tend(status)
    assert {} == google.records
    google.tend()
    before = dict(google.records)
    google.tend(status)

    assert before == google.records


@pytest.mark.parametrize("status", ["revoked", "blocked", "reauthorization_required"])
def test_connections_without_tokens_forget_their_channels(status: Status) -> None:
    """Auth gives no token any more: nothing can be asked of Google."""
    google = Google()
    google.tend()
    google.tend(status)

    assert [] == google.stopped
    assert {"stopped": 1} == Counter(record.status for record in google.records.values())


def test_a_revoking_connection_stops_all_channels_at_google() -> None:
    """While its token still lives."""
    google = Google()
    google.tend()
    google.tend("revoking")

    assert list(google.records) == google.stopped


@pytest.mark.parametrize(
    "changes",
    [{"phase": "snapshot"}, {"cursor": ""}, {"paused": True}, {"kind": "activity"}],
)
def test_logs_that_cannot_be_watched_yet_get_no_channel(changes: dict[str, Any]) -> None:
    """A watch needs a cursor of a live log."""
    google = Google()
    google.tend(log=replace(LOG, **changes))

    assert {} == google.records


def test_a_channel_without_sync_is_silent_until_it_is_heard() -> None:
    """Silence is a state, and a push ends it."""
    google = Google()
    google.tend()
    (channel,) = google.records
    google.records[channel] = replace(google.records[channel], synced_at=None)
    google.now += dt.timedelta(seconds=121)
    google.tend()
    silent = google.records[channel]
    google.records[channel] = replace(silent, last_message_at=google.now)
    google.tend()

    assert ("silent", "no sync message") == (silent.status, silent.reason)
    assert "live" == google.records[channel].status


def test_a_change_that_no_push_told_makes_a_channel_silent_until_the_next_push() -> None:
    """What the poller found by itself is evidence; a push afterwards ends the suspicion."""
    google = Google()
    google.tend()
    (channel,) = google.records
    changed_at = START + dt.timedelta(hours=2)
    google.now = changed_at + dt.timedelta(minutes=16)
    google.tend(log=replace(LOG, last_change_at=changed_at))
    silent = google.records[channel]
    google.records[channel] = replace(silent, last_message_at=google.now)
    google.tend(log=replace(LOG, last_change_at=changed_at))

    assert ("silent", "changes came without a push") == (silent.status, silent.reason)
    assert ("live", "") == (google.records[channel].status, google.records[channel].reason)


@pytest.mark.parametrize("late_min", [0, 14])
def test_a_push_that_is_a_little_late_is_no_silence(late_min: int) -> None:
    """Google's pushes may take minutes: until then a channel is believed."""
    google = Google()
    google.tend()
    (channel,) = google.records
    changed_at = START + dt.timedelta(hours=2)
    google.now = changed_at + dt.timedelta(minutes=late_min)
    google.tend(log=replace(LOG, last_change_at=changed_at))

    assert "live" == google.records[channel].status


def test_a_log_where_nothing_changes_does_not_suspect_its_channel() -> None:
    """Days without a push are what a quiet log looks like."""
    google = Google()
    google.tend()
    google.now += dt.timedelta(days=3)
    google.tend(log=replace(LOG, last_change_at=START - dt.timedelta(days=1)))

    assert ["live"] == [record.status for record in google.records.values()]


def test_a_silent_channel_gets_a_successor_soon_and_silent_ones_do_not_pile_up() -> None:
    """An hour is waited, not the rest of the week; of many deaf ones the latest is kept."""
    google = Google()
    google.tend()
    changed = replace(LOG, last_change_at=START + dt.timedelta(hours=1))
    for _ in range(24 * 60):
        google.now += dt.timedelta(minutes=1)
        for channel, record in google.records.items():
            google.records[channel] = replace(record, synced_at=None)
        google.tend(log=changed)
    living = [record for record in google.records.values() if record.status in {"live", "silent"}]

    assert 20 <= google.opened <= 25
    assert len(living) <= 2


def test_a_silent_successor_does_not_replace_a_working_channel() -> None:
    """The old one stays until it expires."""
    google = Google()
    google.tend()
    (first,) = google.records
    google.now = renew_at(google.records[first], POLICY)
    google.tend()
    second = next(channel for channel in google.records if channel != first)
    google.records[second] = replace(google.records[second], synced_at=None)
    google.now += dt.timedelta(hours=1)
    google.tend()

    assert "live" == google.records[first].status
    assert "silent" == google.records[second].status


def test_a_stop_that_failed_is_planned_again() -> None:
    """A channel in `stopping` is stopped by whoever plans next."""
    google = Google()
    google.tend()
    (channel,) = google.records
    google.records[channel] = replace(google.records[channel], status="stopping", reason="why")
    google.tend()

    assert [channel] == google.stopped
    assert ("stopped", "why") == (
        google.records[channel].status,
        google.records[channel].reason,
    )


def test_replicas_plan_the_same_and_later_lives_do_not_repeat_ids() -> None:
    """The id follows from what both see; an empty registry an hour later gives another."""
    hour = dt.timedelta(hours=1)

    assert successor_id(SUBJECT, [], START) == successor_id(SUBJECT, [], START)
    assert successor_id(SUBJECT, [], START) != successor_id(SUBJECT, [], START + hour)
    assert successor_id(SUBJECT, [], START) != successor_id(Subject("a", "b", "c"), [], START)


def test_renewals_of_many_channels_spread_over_the_week() -> None:
    """Ten thousand channels opened at once are replaced over half a day's worth, evenly."""
    google = Google()
    google.tend()
    (record,) = google.records.values()
    hours = Counter(
        (renew_at(replace(record, channel=f"c{number}"), POLICY) - START) // dt.timedelta(hours=1)
        for number in range(10_000)
    )

    assert 16 <= len(hours) <= 18
    assert max(hours.values()) < 2 * 10_000 / 16
