"""A week of many channels in virtual time: what plans ask of Google, minute by minute.

The agenda and the plans are those that the keeper runs; Google and the registry are plain
memory. What a keeper with eight calls at once could not do in time would show as a burst.
"""

import datetime as dt
import os
import random
from collections import Counter

import msgspec

from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.webhook.agenda import Agenda
from drivewake.webhook.plan import Action, Forget, Mark, Open, Policy, Stop, plan, renew_at
from drivewake.webhook.tokens import Subject

LOGS = int(os.environ.get("DRIVEWAKE_WEEK_LOGS", "10000"))
START = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
WEEK = dt.timedelta(days=7)
MINUTE = dt.timedelta(minutes=1)
POLICY = Policy()
replace = msgspec.structs.replace


class Week:
    """All logs of an installation whose channels were opened `spread` apart."""

    def __init__(self, logs: int, spread: dt.timedelta, refuse: float = 0.0) -> None:
        self.now = START
        self.opened: Counter[int] = Counter()
        self.uncovered: list[tuple[str, dt.datetime]] = []
        self.most_at_once = 0
        self._chance = random.Random(7)
        self._refuse = refuse
        self._agenda = Agenda()
        self._records: dict[str, dict[str, ChannelRecord]] = {}
        for number in range(logs):
            subject = Subject("acme", f"c{number}", f"log{number}")
            began = START - spread * self._chance.random()
            record = self.live(subject, f"first{number}", began)
            self._records[subject.log] = {record.channel: record}
            self._agenda.put(subject, START)

    def run(self, until: dt.datetime) -> None:
        """Let time pass a minute at a time."""
        while self.now < until:
            while (subject := self._agenda.pop(self.now)) is not None:
                self._tend(subject)
            self.now += MINUTE

    def _tend(self, subject: Subject) -> None:
        records = self._records[subject.log]
        log = _log(subject)
        self._check(subject, records)  # before anything is mended: a gap that was is a gap
        while True:
            todo = plan(subject, "active", log, list(records.values()), self.now, POLICY)
            if not todo.actions:
                break
            for action in todo.actions:
                self._do(subject, records, action)
            self._check(subject, records)
        if todo.again_at is not None:
            self._agenda.put(subject, todo.again_at)

    def _check(self, subject: Subject, records: dict[str, ChannelRecord]) -> None:
        living = [record for record in records.values() if record.status == "live"]
        self.most_at_once = max(self.most_at_once, len(living))
        if not any(record.expires_at > self.now for record in living):
            self.uncovered.append((subject.log, self.now))

    def _do(self, subject: Subject, records: dict[str, ChannelRecord], action: Action) -> None:
        match action:
            case Open(channel=channel):
                self.opened[int((self.now - START) / MINUTE)] += 1
                record = self.live(subject, channel, self.now)
                refused = self._chance.random() < self._refuse
                records[channel] = replace(record, status="refused") if refused else record
            case Stop(channel=channel):
                records[channel] = replace(records[channel], status="stopped")
            case Mark(channel=channel, status=status):
                records[channel] = replace(records[channel], status=status)
            case Forget(channel=channel):
                del records[channel]

    @staticmethod
    def live(subject: Subject, channel: str, began: dt.datetime) -> ChannelRecord:
        """Return a channel that was opened at an instant and heard at once."""
        return ChannelRecord(
            channel=channel,
            tenant=subject.tenant,
            connection=subject.connection,
            log=subject.log,
            created_at=began,
            expires_at=began + WEEK,
            status="live",
            resource="res",
            synced_at=began,
        )


def _log(subject: Subject) -> LogRecord:
    return LogRecord(
        tenant=subject.tenant,
        connection=subject.connection,
        log=subject.log,
        kind="user_changes",
        phase="live",
        cursor="7",
    )


def test_a_week_of_renewals_is_smooth_and_leaves_no_gap() -> None:
    """No log is without a channel for a minute, and no minute asks for a burst.

    They were opened over a week, as an installation grows. `DRIVEWAKE_WEEK_LOGS` makes them more.
    """
    week = Week(LOGS, WEEK * 0.7)
    week.run(START + WEEK)

    minutes = int(WEEK / MINUTE)
    mean = sum(week.opened.values()) / minutes
    assert [] == week.uncovered
    assert 2 == week.most_at_once
    assert LOGS <= sum(week.opened.values()) <= 2 * LOGS
    assert max(week.opened.values()) <= 3 * mean + 10


def test_a_hundred_thousand_channels_ask_for_no_burst() -> None:
    """Evenly spread, a minute would renew 13 of them; the busiest one renews no five times that."""
    chance = random.Random(7)
    minutes: Counter[int] = Counter()
    for number in range(100_000):
        began = START - WEEK * 0.7 * chance.random()
        record = Week.live(Subject("acme", "c", "log"), f"channel{number}", began)
        minutes[int((renew_at(record, POLICY) - START) / MINUTE)] += 1

    assert max(minutes.values()) <= 65


def test_channels_that_were_opened_at_once_do_not_end_at_once() -> None:
    """After a restore everything is opened in an hour: its renewals spread over most of a day.

    A fifth of Google's answers are refusals besides.
    """
    logs = 10_000
    week = Week(logs, dt.timedelta(hours=1), refuse=0.2)
    week.run(START + WEEK)

    busy = [count for count in week.opened.values() if count]
    assert [] == week.uncovered
    assert len(busy) >= 16 * 60
    assert max(busy) <= 3 * logs / len(busy)
