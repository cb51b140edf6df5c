"""The trail: equal facts become one record, and nothing that was counted is forgotten."""

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest

from drivewake.auth import audit
from drivewake.auth.audit import Trail, entry
from drivewake.auth.errors import StoreUnavailableError
from drivewake.auth.records import By, Entry
from drivewake.contracts.audit import AuditRecord
from drivewake.runtime.clock import SystemClock

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Clock(SystemClock):
    """Stands where it is put."""

    at = NOON

    def now(self) -> dt.datetime:
        """Return the time that was put."""
        return self.at


class Kept:
    """Keeps what is appended; `away` and `gate` make it fail and wait."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, entries: Sequence[Entry]) -> str:
        """Keep entries."""
        await self.gate.wait()
        if self.away:
            raise StoreUnavailableError
        self.batches.append(list(entries))
        return "1:x"

    async def records(self, tenant: str | None, after: int, limit: int) -> Sequence[AuditRecord]:
        """Nothing is read here."""
        raise NotImplementedError

    @property
    def entries(self) -> list[Entry]:
        """Everything that was kept."""
        return [fact for batch in self.batches for fact in batch]


async def test_equal_facts_are_one_record_with_a_count() -> None:
    """Who, what, how and about whom must agree; the span of time is told."""
    kept, clock = Kept(), Clock()
    trail = Trail(kept, clock)
    for minute in range(3):
        clock.at = NOON + dt.timedelta(minutes=minute)
        trail.count("service:poller", "token.issued", tenant="t", connection="c")
    trail.count("service:webhook", "token.issued", tenant="t", connection="c")
    await trail.flush()
    first, second = kept.entries
    assert (3, NOON, NOON + dt.timedelta(minutes=2)) == (first.count, first.since, first.at)
    assert (1, "service:webhook") == (second.count, second.who)
    await trail.flush()
    assert 2 == len(kept.entries)


async def test_what_could_not_be_written_is_written_later() -> None:
    """While the database is away counts go on, and end up in one record."""
    kept, clock = Kept(), Clock()
    trail = Trail(kept, clock)
    trail.count("a", "x.y")
    kept.away = True
    with pytest.raises(StoreUnavailableError):
        await trail.flush()
    clock.at = NOON + dt.timedelta(hours=1)
    trail.count("a", "x.y")
    kept.away = False
    await trail.flush()
    (only,) = kept.entries
    assert (2, NOON, clock.at) == (only.count, only.since, only.at)


async def test_too_many_different_facts_are_still_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the bound they are told apart by action and outcome alone."""
    monkeypatch.setattr(audit, "MAX_COUNTED", 10)
    kept = Kept()
    trail = Trail(kept, Clock())
    for number in range(25):
        trail.count("service:poller", "token.refused", "unknown", connection=str(number))
    assert 11 == len(trail)
    await trail.flush()
    assert 25 == sum(fact.count for fact in kept.entries)
    assert ("many", 15) == (kept.entries[-1].who, kept.entries[-1].count)


async def test_those_who_come_together_share_a_write() -> None:
    """A hundred facts while one write is under way cost one more; each is durable on return."""
    kept, clock = Kept(), Clock()
    trail = Trail(kept, clock)
    kept.gate.clear()
    facts = [entry(By(f"caller:{n}"), NOON, "tenant.added") for n in range(101)]
    writing = [asyncio.create_task(trail.append(fact)) for fact in facts]
    await asyncio.sleep(0)
    kept.gate.set()
    await asyncio.gather(*writing)
    assert facts == kept.entries
    assert 2 >= len(kept.batches)


async def test_who_cannot_be_recorded_is_told() -> None:
    """An append that did not reach the chain raises, for all who shared it; none hangs."""
    kept = Kept()
    kept.away = True
    trail = Trail(kept, Clock())
    facts = [entry(By("auth"), NOON, "token.refreshed") for _ in range(5)]
    outcomes = await asyncio.gather(*(trail.append(fact) for fact in facts), return_exceptions=True)
    assert {StoreUnavailableError} == {type(outcome) for outcome in outcomes}


def test_reasons_are_bounded_and_printable() -> None:
    """A reason from outside cannot forge lines or fill the chain."""
    fact = entry(By("google", "event"), NOON, "a.b", why="\r\nforged\x1b[31m" + "x" * 9000)
    assert fact.why.isprintable()
    assert 300 == len(fact.why)
