"""What every StreamReader and KeyValueReader must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from drivewake.lab.suites.bus_world import (
    BUCKET,
    LOG,
    PATIENCE_S,
    PATIENT,
    QUEUE,
    ROLLING,
    World,
    a_message,
    numbered,
    take,
)
from drivewake.runtime.bus import Bus
from drivewake.runtime.errors import BusError, NotFoundError

T = TypeVar("T")


async def upto(messages: AsyncIterator[T], count: int) -> list[T]:
    """Return the next so many items."""
    found: list[T] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found.append(await anext(messages))
    return found


async def upto_none(messages: AsyncIterator[T | None]) -> list[T]:
    """Return the items before the None that marks the end of what was there."""
    found: list[T] = []
    async with asyncio.timeout(PATIENCE_S):
        async for message in messages:
            if message is None:
                return found
            found.append(message)
    raise AssertionError("it ended")


class StreamReaderContract:
    """Reads a stream without consuming it."""

    async def test_a_virgin_stream(self, world: World) -> None:
        """Nothing was ever written: no message, sequence 0, and the marker at once."""
        assert await world.bus.last(LOG.name) is None
        assert 0 == await world.bus.last_sequence(LOG.name)
        assert [] == await upto_none(world.bus.follow(LOG.name))

    async def test_an_unknown_stream(self, world: World) -> None:
        """A stream that is not there is an error, not an empty one."""
        with pytest.raises(NotFoundError):
            await world.bus.last("NOWHERE")
        with pytest.raises(NotFoundError):
            await world.bus.last_sequence("NOWHERE")
        with pytest.raises(NotFoundError):
            await anext(aiter(world.bus.follow("NOWHERE")))

    async def test_the_newest_of_a_subject_or_pattern(self, world: World) -> None:
        """`last` takes a literal subject or wildcards."""
        for subject in ("suite.log.a.x", "suite.log.a.y", "suite.log.b.x"):
            await world.bus.publish(a_message(subject, subject.encode()))
        found = [
            await world.other.last(LOG.name, subject)
            for subject in ("suite.log.a.x", "suite.log.a.*", "suite.log.>", ">", "suite.log.c.*")
        ]
        assert [1, 2, 3, 3, None] == [stored.sequence if stored else None for stored in found]

    async def test_last_sequence_outlives_the_messages(self, world: World) -> None:
        """An emptied queue still knows how far it came."""
        await world.bus.publish_batch(numbered("suite.queue.a", 3))
        for delivery in await take(await world.bus.puller(PATIENT), 3):
            await delivery.ack(confirm=True)
        assert await world.bus.last(QUEUE.name) is None
        assert 3 == await world.bus.last_sequence(QUEUE.name)

    async def test_following_marks_the_present_and_goes_on(self, world: World) -> None:
        """First what is there, then one None, then what comes, each once and in order."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 700))
        messages = world.other.follow(LOG.name)
        there = await upto_none(messages)
        assert list(range(1, 701)) == [message.sequence for message in there]
        await world.bus.publish_batch(numbered("suite.log.a.b", 700))
        fresh = await upto(messages, 700)
        assert list(range(701, 1401)) == [message.sequence for message in fresh if message]

    async def test_following_from_a_sequence(self, world: World) -> None:
        """Starts at the sequence asked for; one ahead of the stream waits for it."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 5))
        there = await upto_none(world.bus.follow(LOG.name, from_sequence=4))
        assert [4, 5] == [message.sequence for message in there]
        ahead = world.bus.follow(LOG.name, from_sequence=7)
        assert [] == await upto_none(ahead)
        await world.bus.publish_batch(numbered("suite.log.a.b", 3))
        assert [7, 8] == [message.sequence for message in await upto(ahead, 2) if message]

    async def test_following_a_pattern(self, world: World) -> None:
        """Only matching subjects are yielded, and the marker does not wait for others."""
        await world.bus.publish(a_message("suite.log.a.x"))
        await world.bus.publish(a_message("suite.log.b.x"))
        messages = world.bus.follow(LOG.name, subject="suite.log.a.*")
        assert ["suite.log.a.x"] == [message.subject for message in await upto_none(messages)]
        await world.bus.publish(a_message("suite.log.b.x"))
        await world.bus.publish(a_message("suite.log.a.y"))
        (fresh,) = await upto(messages, 1)
        assert fresh is not None
        assert "suite.log.a.y" == fresh.subject

    async def test_following_the_latest(self, world: World) -> None:
        """With `latest`: the newest of each subject, the marker, then every message."""
        for subject, data in (("a.x", b"1"), ("a.y", b"2"), ("a.x", b"3"), ("b.x", b"4")):
            await world.bus.publish(a_message(f"suite.log.{subject}", data))
        messages = world.bus.follow(LOG.name, subject="suite.log.a.*", latest=True)
        assert [b"2", b"3"] == [message.data for message in await upto_none(messages)]
        await world.bus.publish_batch(numbered("suite.log.a.x", 2))
        assert [b"0", b"1"] == [message.data for message in await upto(messages, 2) if message]

    async def test_following_the_latest_of_everything(self, world: World) -> None:
        """`latest` needs no subject."""
        for subject in ("a.x", "b.x", "a.x"):
            await world.bus.publish(a_message(f"suite.log.{subject}"))
        there = await upto_none(world.bus.follow(LOG.name, latest=True))
        assert [2, 3] == [message.sequence for message in there]

    async def test_following_a_stream_that_forgets(self, world: World) -> None:
        """What is gone is skipped, and the marker comes all the same."""
        for _ in range(30):
            await world.bus.publish(a_message("suite.rolling.a", bytes(10_000)))
        there = await upto_none(world.bus.follow(ROLLING.name))
        assert 30 == there[-1].sequence
        assert 1 < there[0].sequence

    async def test_a_work_queue_is_not_followed(self, world: World) -> None:
        """Only its consumers read a work queue; `last` still looks at it."""
        with pytest.raises(BusError):
            await anext(aiter(world.bus.follow(QUEUE.name)))

    async def test_followers_do_not_share(self, world: World) -> None:
        """Each follower sees everything."""
        followers = [world.bus.follow(LOG.name), world.other.follow(LOG.name)]
        for follower in followers:
            await upto_none(follower)
        await world.bus.publish_batch(numbered("suite.log.a.b", 3))
        for follower in followers:
            assert [b"0", b"1", b"2"] == [
                message.data for message in await upto(follower, 3) if message
            ]


class KeyValueReaderContract:
    """Watches one bucket."""

    async def test_watching(self, world: World) -> None:
        """The current entries without deleted ones, None once, then changes and deletions."""
        kv = await world.bus.key_value(BUCKET)
        await kv.put("c1.a", b"old", revision=0)
        gone = await kv.put("c1.gone", b"x", revision=0)
        await kv.delete("c1.gone", revision=gone)
        await kv.put("c1.a", b"new", revision=1)
        await kv.put("c2.b", b"b", revision=0)
        entries = (await world.other.key_value(BUCKET)).watch()
        there = await upto_none(entries)
        assert [("c1.a", b"new"), ("c2.b", b"b")] == [(e.key, e.value) for e in there]
        await kv.delete("c2.b", revision=there[1].revision)
        await kv.put("c1.c", b"c", revision=0)
        changes = await upto(entries, 2)
        assert [("c2.b", None), ("c1.c", b"c")] == [(e.key, e.value) for e in changes if e]

    async def test_watching_a_pattern(self, world: World) -> None:
        """Only matching keys are watched."""
        kv = await world.bus.key_value(BUCKET)
        await kv.put("c1.a", b"1", revision=0)
        await kv.put("c2.a", b"2", revision=0)
        there = await upto_none(kv.watch("c2.*"))
        assert ["c2.a"] == [entry.key for entry in there]

    async def test_an_entry_watched_can_be_written(self, world: World) -> None:
        """The revision that a watch yields is the one to expect."""
        kv = await world.bus.key_value(BUCKET)
        await kv.put("k", b"1", revision=0)
        (entry,) = await upto_none(kv.watch())
        await kv.put("k", b"2", revision=entry.revision)


async def closed(bus: Bus) -> None:
    """Close a bus twice, which must not matter."""
    await bus.close()
    await bus.close()
