"""One turn of one log, on a bus in memory, with a source that does what it is told."""

# ruff: noqa: D102, D103, ANN401 - doubles of ports, and helpers whose names say it

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.raw import RAWS
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.contracts.signals import Reason, Signal
from drivewake.gdrive import errors
from drivewake.gdrive.quota import Budget
from drivewake.poller import domain, listing
from drivewake.poller.buckets import BusChannels, BusLogs
from drivewake.poller.domain import GiveBack, Rules
from drivewake.poller.memberships import BusMemberships
from drivewake.poller.outgoing import BusRaws, BusSignals
from drivewake.poller.polling import Done, Polling
from drivewake.poller.ports import Held, Outside, Page, Seen, Step, key_of
from drivewake.poller.pressure import Pressure
from drivewake.poller.rhythm import Rhythm
from drivewake.runtime.bus import Message, PublishAck
from drivewake.runtime.dead import MAX_BODY_BYTES, BusGraveyard
from drivewake.runtime.errors import BusUnavailableError, StreamFullError
from drivewake.runtime.memory import MemoryBus

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
LIVE = msgspec.structs.replace(
    domain.new_log("t1", "c1", "user_changes", NOW), phase="live", cursor="10"
)
KEY = key_of(LIVE)
Answer = Callable[[LogRecord], Step]


class StillClock:
    """Stands until somebody sleeps."""

    def __init__(self) -> None:
        self.at = NOW
        self.slept: list[float] = []

    def now(self) -> dt.datetime:
        return self.at

    def monotonic_s(self) -> float:
        return (self.at - NOW).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += dt.timedelta(seconds=seconds)


class ToldSource:
    """Answers each step from a list; what is an exception is raised."""

    kinds: Sequence[LogKind] = ("user_changes",)

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.steps = 0

    async def step(self, record: LogRecord) -> Step:
        self.steps += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(record)


class Publisher:
    """A bus whose batches fail as told, after something happened."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.error: Exception | None = None
        self.before: Any = None

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        return await self.bus.publish(message, expected_last=expected_last)

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        if self.before is not None:
            await self.before()
        if self.error is not None:
            raise self.error
        return await self.bus.publish_batch(messages, expected_last=expected_last)


async def no_activity(tenant: str, connection: str) -> None:
    del tenant, connection


def asked(reason: Reason) -> Signal:
    return Signal(log=LIVE.log, reason=reason, requested_at=NOW)


def page(*names: str) -> Page:
    items = [Seen(id=name, body=msgspec.Raw(b'{"fileId":"x"}')) for name in names]
    return Page(source="changes", items=items, observed_at=NOW, cursor="10")


def read(cursor: str, *names: str, more: bool = False) -> Answer:
    return lambda record: Step(
        record=listing.advanced(record, cursor, len(names), NOW), pages=[page(*names)], more=more
    )


def back(record: LogRecord) -> Step:
    return Step(record=listing.cursor_lost(record, NOW), setback="lost")


class World:
    """A poller around one log."""

    def __init__(self, *answers: Answer | Exception, **rules: Any) -> None:
        self.clock = StillClock()
        self.bus = MemoryBus(clock=self.clock)
        self.source = ToldSource(*answers)
        self.publisher = Publisher(self.bus)
        self.rules = Rules(**{"turn_pages": 3, **rules})

    async def open(self, record: LogRecord = LIVE) -> None:
        self.logs = BusLogs(await self.bus.key_value(subjects.LOGS))
        self.outside = Outside(
            logs=self.logs,
            raws=BusRaws(self.publisher, BusGraveyard(self.bus)),
            signals=BusSignals(self.bus, self.bus, self.clock),
            channels=BusChannels(await self.bus.key_value(subjects.CHANNELS)),
            clock=self.clock,
        )
        await self.logs.save(Held(record=record, revision=0), record)
        self.polling = Polling(
            self.outside,
            [self.source],
            BusMemberships(self.outside, no_activity),
            me="me",
            rules=self.rules,
            rhythm=Rhythm(),
            pressure=Pressure(Budget()),
            draw=lambda: 0.5,
        )

    async def record(self) -> LogRecord:
        held = await self.logs.read(KEY)
        assert held is not None
        return held.record

    async def items(self) -> list[str]:
        puller = [await self.bus.puller(subjects.normalizer_raw(n)) for n in range(16)]
        found = []
        for one in puller:
            found += [RAWS.decode(d.data).data.item for d in await one.fetch(1000, 0.0)]
        return sorted(found)

    async def timer_at(self) -> dt.datetime | None:
        """Return when the schedule of the log will fire."""
        slot = subjects.schedule("t1", "c1", LIVE.log)
        stored = await self.bus.last(subjects.SIGNAL.name, slot)
        return (await self.record()).next_poll_at if stored else None


async def test_good_poll_publishes_then_moves_and_sets_the_timer() -> None:
    """Items are in the stream, the cursor stands at the end, nobody holds the log."""
    world = World(read("11", "a", "b", more=True), read("12", "c"))
    await world.open()
    assert Done(outcome="done") == await world.polling.poll(KEY, asked("push"))
    record = await world.record()
    assert ("12", "", NOW, 10.0) == (
        record.cursor,
        record.owner,
        record.last_success_at,
        record.interval_s,
    )
    assert ["a", "b", "c"] == await world.items()
    assert NOW + dt.timedelta(seconds=10) == await world.timer_at()


async def test_unknown_log_is_no_error() -> None:
    """A signal for a log without a record is served by doing nothing."""
    world = World()
    await world.open()
    assert Done(outcome="unknown_log") == await world.polling.poll("c1.nothing", asked("push"))


async def test_long_work_yields_to_others() -> None:
    """After its share of pages a log goes to the end of the queue, due at once."""
    world = World(*(read(str(n), f"f{n}", more=True) for n in range(11, 20)))
    await world.open()
    assert Done(outcome="yielded") == await world.polling.poll(KEY, asked("timer"))
    record = await world.record()
    assert (3, "13", "", NOW) == (
        world.source.steps,
        record.cursor,
        record.owner,
        record.next_poll_at,
    )
    puller = await world.bus.puller(subjects.POLLER_SIGNALS)
    assert 1 == len(await puller.fetch(10, 0.0))


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (errors.UnavailableError("away"), 1.5),
        (errors.UnavailableError("away", retry_after_s=30.0), 30.0),
        (errors.RateLimitedError("slow", retry_after_s=7.0), 7.0),
        (errors.DailyLimitError("spent", retry_after_s=3600.0), 3600.0),
        (errors.AuthUnavailableError("no auth", retry_after_s=5.0), 5.0),
        (errors.MalformedAnswerError("cut"), 1.5),
        (errors.BlockedError("domainPolicy"), 900.0),
        (errors.ScopeMissingError("scope"), 900.0),
        (errors.GrantDeadError("grant"), 900.0),
        (errors.UnauthorizedError("401"), 1.5),
        (errors.ConnectionUnusableError("not_active"), 900.0),
        (errors.BadRequestError("bug"), 1.5),
        (errors.ItemTerminalError("odd"), 1.5),
        (ZeroDivisionError("secret"), 1.5),
    ],
)
async def test_every_refusal_has_its_wait(error: Exception, wait_s: float) -> None:
    """No error moves the cursor, ends the process or leads to a hot loop."""
    world = World(error)
    await world.open()
    assert Done(outcome="failed") == await world.polling.poll(KEY, asked("push"))
    record = await world.record()
    assert ("10", "", 1) == (record.cursor, record.owner, record.failures)
    assert NOW + dt.timedelta(seconds=wait_s) == await world.timer_at()
    assert "secret" not in record.last_error != ""


async def test_failures_add_up_and_success_forgets_them() -> None:
    """Each failure in a row doubles the wait; one success clears it."""
    world = World(*[errors.UnavailableError("away")] * 3, read("11"))
    await world.open()
    waits = []
    for _ in range(3):
        await world.polling.poll(KEY, asked("operator"))
        at = (await world.record()).next_poll_at
        assert at is not None
        waits.append((at - world.clock.at).total_seconds())
    assert [1.5, 2.5, 4.5] == waits
    await world.polling.poll(KEY, asked("operator"))
    record = await world.record()
    assert (0, "") == (record.failures, record.last_error)


async def test_failures_between_pages_are_not_in_a_row() -> None:
    """A long reading that fails now and then backs off each time as after a first failure."""
    away = errors.UnavailableError("away")
    world = World(away, read("11", more=True), away, read("12", more=True), away)
    await world.open()
    failures = []
    for _ in range(3):
        await world.polling.poll(KEY, asked("operator"))
        failures.append((await world.record()).failures)
    assert [1, 1, 1] == failures


async def test_yield_with_progress_forgets_failures() -> None:
    """A turn that read pages and yields leaves no failure behind, nor its reason."""
    away = errors.UnavailableError("away")
    world = World(away, *(read(str(n), more=True) for n in (11, 12, 13)))
    await world.open()
    await world.polling.poll(KEY, asked("operator"))
    assert Done(outcome="yielded") == await world.polling.poll(KEY, asked("operator"))
    record = await world.record()
    assert (0, "") == (record.failures, record.last_error)


async def test_pages_after_a_setback_do_not_hide_it() -> None:
    """A listing that is lost again after some of its pages backs off."""
    world = World(back, read("20", more=True), back)
    await world.open()
    assert Done(outcome="failed") == await world.polling.poll(KEY, asked("push"))
    assert 2 == (await world.record()).failures


async def test_first_setback_goes_on_and_the_second_waits() -> None:
    """A lost cursor is healed at once; one that is lost again and again backs off."""
    world = World(back, read("20"))
    await world.open()
    assert Done(outcome="done") == await world.polling.poll(KEY, asked("push"))
    world.source.answers = [back, back]
    world.clock.at += dt.timedelta(hours=1)
    assert Done(outcome="failed") == await world.polling.poll(KEY, asked("push"))
    record = await world.record()
    assert ("new", "", 2) == (record.phase, record.owner, record.failures)
    assert record.next_poll_at == world.clock.at + dt.timedelta(seconds=2.5)


async def test_full_stream_is_waited_for() -> None:
    """While DRIVE_RAW refuses, the cursor stands and the log is looked at again soon."""
    world = World(read("11", "a"))
    await world.open()
    world.publisher.error = StreamFullError()
    assert Done(outcome="failed") == await world.polling.poll(KEY, asked("push"))
    record = await world.record()
    assert ("10", 0, "") == (record.cursor, record.failures, record.owner)
    assert "" != record.last_error
    assert NOW + dt.timedelta(seconds=2) == await world.timer_at()


async def test_lost_broker_gives_the_signal_back() -> None:
    """Without a broker nothing can be recorded: the signal must come again."""
    world = World(read("11", "a"))
    await world.open()
    world.publisher.error = BusUnavailableError()
    with pytest.raises(BusUnavailableError):
        await world.polling.poll(KEY, asked("push"))
    assert "10" == (await world.record()).cursor


async def test_who_lost_the_record_does_not_move_the_cursor() -> None:
    """Somebody stopped the log while its page was under way: the save is refused."""
    world = World(read("11", "a"))
    await world.open()

    async def stop() -> None:
        held = await world.logs.read(KEY)
        assert held is not None
        world.logs._kept.clear()  # as another process would: this one does not see it
        await world.logs.save(held, domain.stopped(held.record))

    world.publisher.before = stop
    outcome = await world.polling.poll(KEY, asked("push"))
    assert GiveBack(delay_s=0.1, reason="fenced") == outcome
    record = await world.record()
    assert ("10", True) == (record.cursor, record.stopped)


async def test_stale_cache_costs_one_more_read() -> None:
    """A record that another process changed is read again and then polled."""
    world = World(read("12", "a"))
    await world.open()
    bucket = await world.bus.key_value(subjects.LOGS)
    entry = await bucket.get(KEY)
    assert entry is not None
    value = msgspec.json.encode(msgspec.structs.replace(LIVE, cursor="11"))
    await bucket.put(KEY, value, revision=entry.revision)
    assert Done(outcome="done") == await world.polling.poll(KEY, asked("push"))
    assert "12" == (await world.record()).cursor


async def test_spacing_is_slept() -> None:
    """A push right after a poll waits a moment, so that many pushes are few calls."""
    world = World(read("11"), read("12"), spacing_s=0.05)
    await world.open()
    await world.polling.poll(KEY, asked("push"))
    await world.polling.poll(KEY, asked("push"))
    assert [0.05] == world.clock.slept


async def test_items_that_cannot_be_routed_are_dead_letters() -> None:
    """An item without an id is kept for operators; the others go on."""
    world = World(read("11", "a", "", "b"))
    await world.open()
    await world.polling.poll(KEY, asked("push"))
    assert ["a", "b"] == await world.items()
    assert 1 == await world.bus.last_sequence(subjects.DEAD.name)


async def test_letter_of_an_oversize_item_says_what_was_cut() -> None:
    """It tells the whole size and the digest, by which the item can be known again."""
    body = b'{"x":"' + b"y" * MAX_BODY_BYTES + b'"}'
    seen = Seen(id="big", body=msgspec.Raw(body))
    world = World(
        lambda record: Step(
            record=record,
            pages=[Page(source="changes", items=[seen], observed_at=NOW)],
            more=False,
        )
    )
    await world.open()
    await world.polling.poll(KEY, asked("push"))
    stored = await world.bus.last(subjects.DEAD.name)
    assert stored is not None
    letter = decode_dead(stored.data)
    assert body[:MAX_BODY_BYTES] == letter.original()
    digest = hashlib.sha256(body).hexdigest()
    assert (len(body), digest) == (letter.cut_from_bytes, letter.sha256)
