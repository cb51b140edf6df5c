"""Group commit: what an answer promises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.signals import SIGNALS
from drivewake.runtime.bus import Message, PublishAck
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus
from drivewake.webhook.commit import GroupCommit, NotCommittedError
from drivewake.webhook.tokens import Subject


class GatedPublisher:
    """The memory bus behind a gate: a write begins at once and ends when the gate is open."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = False
        self.writes: list[list[str]] = []
        self.began = asyncio.Event()

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Write one message."""
        return await self.publish_batch([message], expected_last=expected_last)

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Write some messages."""
        self.writes.append([message.subject for message in messages])
        self.began.set()
        await self.gate.wait()
        if self.fail:
            raise BusUnavailableError
        return await self.bus.publish_batch(messages, expected_last=expected_last)


@contextlib.asynccontextmanager
async def running(commit: GroupCommit) -> AsyncIterator[None]:
    """Run a group commit for the length of the block."""
    stop = Stop()
    task = asyncio.create_task(commit.run(stop))
    try:
        yield
    finally:
        stop.request()
        await task


def log(number: int) -> Subject:
    """Return one of many logs."""
    return Subject("acme", "ann", f"log{number}")


async def test_a_poke_is_answered_when_its_signal_is_stored() -> None:
    """The signal says which log, by push, and stands on its subject."""
    publisher = GatedPublisher()
    commit = GroupCommit(publisher)
    async with running(commit):
        await commit.submit(log(1))

    stored = await publisher.bus.last("DRIVE_SIGNAL", subjects.signal("acme", "ann", "log1"))

    assert stored is not None
    signal = SIGNALS.decode(stored.data)
    assert ("acme", "ann", "log1", "push") == (
        signal.tenant,
        signal.connection,
        signal.data.log,
        signal.data.reason,
    )


async def test_pokes_that_gather_share_one_write_and_one_signal_a_log() -> None:
    """A thousand pokes of ten logs behind a slow write are ten signals."""
    publisher = GatedPublisher()
    publisher.gate.clear()
    commit = GroupCommit(publisher)
    async with running(commit):
        first = [asyncio.create_task(commit.submit(log(100 + n))) for n in range(2)]
        await publisher.began.wait()
        await asyncio.sleep(0)
        pokes = [asyncio.create_task(commit.submit(log(n % 10))) for n in range(1000)]
        await asyncio.sleep(0)
        publisher.gate.set()
        await asyncio.gather(*first, *pokes)

    assert 12 == sum(map(len, publisher.writes))
    assert 10 == len(publisher.writes[-1])


async def test_a_poke_during_a_write_gets_a_write_of_its_own() -> None:
    """A signal on its way may be taken by a poller before the change that this poke is about."""
    publisher = GatedPublisher()
    publisher.gate.clear()
    commit = GroupCommit(publisher)
    async with running(commit):
        before = asyncio.create_task(commit.submit(log(1)))
        await publisher.began.wait()
        during = asyncio.create_task(commit.submit(log(1)))
        await asyncio.sleep(0)
        publisher.gate.set()
        await asyncio.gather(before, during)

    name = subjects.signal("acme", "ann", "log1")
    assert [[name], [name]] == publisher.writes


async def test_a_failed_write_fails_its_pokes_and_no_others() -> None:
    """What the broker did not take is said to be not taken; the next write is a new one."""
    publisher = GatedPublisher()
    publisher.fail = True
    commit = GroupCommit(publisher)
    async with running(commit):
        with pytest.raises(NotCommittedError):
            await commit.submit(log(1))
        publisher.fail = False
        await commit.submit(log(2))

    assert 2 == len(publisher.writes)


async def test_the_number_of_waiting_pokes_is_bounded() -> None:
    """Beyond the bound a poke is refused at once, and memory stays where it is."""
    publisher = GatedPublisher()
    publisher.gate.clear()
    commit = GroupCommit(publisher, max_waiting=5)
    async with running(commit):
        writing = [asyncio.create_task(commit.submit(log(n))) for n in range(2)]
        await publisher.began.wait()
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(commit.submit(log(1))) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(NotCommittedError):
            await commit.submit(log(1))
        publisher.gate.set()
        await asyncio.gather(*writing, *waiting)


async def test_who_hangs_up_takes_nothing_from_the_others() -> None:
    """A cancelled poke leaves its neighbours' signal alone."""
    publisher = GatedPublisher()
    publisher.gate.clear()
    commit = GroupCommit(publisher)
    async with running(commit):
        gone = asyncio.create_task(commit.submit(log(1)))
        there = asyncio.create_task(commit.submit(log(1)))
        await publisher.began.wait()
        gone.cancel()
        publisher.gate.set()
        await there

    assert gone.cancelled()


async def test_pokes_of_the_last_moment_are_written_before_the_end() -> None:
    """The stop drains what waits; what comes after it is refused."""
    publisher = GatedPublisher()
    publisher.gate.clear()
    commit = GroupCommit(publisher)
    stop = Stop()
    task = asyncio.create_task(commit.run(stop))
    pokes = [asyncio.create_task(commit.submit(log(n))) for n in range(50)]
    await publisher.began.wait()
    stop.request()
    publisher.gate.set()
    await asyncio.gather(*pokes, task)

    with pytest.raises(NotCommittedError):
        await commit.submit(log(1))
    assert 50 == len({name for write in publisher.writes for name in write})
