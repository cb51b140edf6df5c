"""The bus in memory follows the clock it is given: nobody waits for real."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

from drivewake.contracts import subjects as s
from drivewake.runtime.bus import Message
from drivewake.runtime.memory import MemoryBus

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
SIGNAL = s.signal("acme", "c1", "l1")


class JumpingClock:
    """A clock whose sleep moves it on at once."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> dt.datetime:
        """Return the current instant."""
        return self.instant

    def monotonic_s(self) -> float:
        """Return seconds since noon."""
        return (self.instant - NOON).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        await asyncio.sleep(0)
        self.instant += dt.timedelta(seconds=seconds)


async def test_a_schedule_fires_at_its_instant() -> None:
    """A fetch that waits long enough gets tomorrow's tick, and it is tomorrow."""
    clock = JumpingClock()
    bus = MemoryBus(clock=clock)
    tomorrow = NOON + dt.timedelta(days=1)
    await bus.schedule(s.schedule("acme", "c1", "l1"), SIGNAL, tomorrow, b"tick")
    puller = await bus.puller(s.POLLER_SIGNALS)
    assert [] == list(await puller.fetch(1, 60))
    (tick,) = await puller.fetch(1, 2 * 86_400)
    assert (b"tick", tomorrow) == (tick.data, clock.instant)


async def test_an_unsettled_message_comes_again() -> None:
    """After `ack_wait_s` of the clock the message is delivered again."""
    clock = JumpingClock()
    bus = MemoryBus(clock=clock)
    await bus.publish(Message(subject=SIGNAL, data=b"x"))
    puller = await bus.puller(s.POLLER_SIGNALS)
    await puller.fetch(1, 1)
    (again,) = await puller.fetch(1, 3600)
    assert 2 == again.deliveries
    assert NOON + dt.timedelta(seconds=s.POLLER_SIGNALS.ack_wait_s) == clock.instant


async def test_ids_are_forgotten_after_the_window() -> None:
    """A repeat within the duplicate window is dropped, a later one is stored."""
    clock = JumpingClock()
    bus = MemoryBus(clock=clock)
    message = Message(subject=s.event("acme", "file.moved"), data=b"x", id="same")
    await bus.publish(message)
    await clock.sleep(s.EVENT.duplicate_window_s - 1)
    assert (await bus.publish(message)).duplicate
    await clock.sleep(1)
    assert not (await bus.publish(message)).duplicate


async def test_old_messages_go() -> None:
    """A stream forgets what is older than its age."""
    clock = JumpingClock()
    bus = MemoryBus(clock=clock)
    message = Message(subject=s.event("acme", "file.moved"), data=b"x")
    await bus.publish(message)
    await clock.sleep(s.EVENT.max_age_s)
    await bus.publish(message)
    last = await bus.last(s.EVENT.name)
    there = [m async for m in _until_none(bus)]
    assert last is not None
    assert ([2], 2) == (there, last.sequence)


async def _until_none(bus: MemoryBus) -> AsyncIterator[int]:
    async for message in bus.follow(s.EVENT.name):
        if message is None:
            return
        yield message.sequence
