"""What every Puller, StreamReader and KeyValueReader must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from drivewake.lab.suites.bus_world import (
    BUCKET,
    HASTY,
    HELD,
    LOG,
    LOGS,
    NARROW,
    PATIENCE_S,
    PATIENT,
    QUEUE,
    ROLLING,
    TWICE,
    World,
    a_message,
    nothing,
    numbered,
    payloads,
    take,
)
from drivewake.runtime.bus import Bus
from drivewake.runtime.errors import BusUnavailableError, NotFoundError

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


class PullerContract:
    """Pulls from one durable consumer."""

    async def test_a_fetch_without_messages_is_empty(self, world: World) -> None:
        """Nothing there is an empty answer after the wait, and at once without one."""
        puller = await world.bus.puller(PATIENT)
        assert [] == payloads(await puller.fetch(5, 0.2))
        assert [] == payloads(await puller.fetch(5, 0.0))

    async def test_messages_come_in_order_and_as_many_as_asked(self, world: World) -> None:
        """Order is the stream's; a fetch takes no more than it was asked to."""
        await world.bus.publish_batch(numbered("suite.queue.a", 10))
        puller = await world.bus.puller(PATIENT)
        first = await puller.fetch(4, 5.0)
        rest = await take(await world.other.puller(PATIENT), 6)
        assert [b"0", b"1", b"2", b"3"] == payloads(first)
        assert [b"4", b"5", b"6", b"7", b"8", b"9"] == payloads(rest)
        assert [1, 2, 3, 4] == [delivery.stream_sequence for delivery in first]
        assert [1, 1, 1, 1] == [delivery.deliveries for delivery in first]

    async def test_a_waiting_fetch_gets_what_comes(self, world: World) -> None:
        """A message that comes during the wait ends it."""
        puller = await world.bus.puller(PATIENT)
        waiting = asyncio.create_task(puller.fetch(10, PATIENCE_S))
        await asyncio.sleep(0.1)
        await world.other.publish(a_message("suite.queue.a", b"x"))
        assert [b"x"] == payloads(await waiting)

    async def test_a_message_goes_to_one_puller(self, world: World) -> None:
        """Pullers of one consumer share the work; filters keep other subjects away."""
        pullers = [await world.bus.puller(PATIENT), await world.other.puller(PATIENT)]
        await world.bus.publish_batch(numbered("suite.queue.a", 200))
        await world.bus.publish(a_message("suite.queue.unheard", b"x"))
        taken: list[bytes] = []

        async def work(index: int) -> None:
            while batch := await pullers[index].fetch(7, 1.0):
                taken.extend(payloads(batch))
                for delivery in batch:
                    await delivery.ack()

        await asyncio.gather(work(0), work(1))
        assert sorted(str(number).encode() for number in range(200)) == sorted(taken)

    async def test_fetches_of_one_puller_may_overlap(self, world: World) -> None:
        """Tasks may share a puller; each message goes to one of them."""
        puller = await world.bus.puller(PATIENT)
        tasks = [asyncio.create_task(puller.fetch(1, PATIENCE_S)) for _ in range(5)]
        await world.bus.publish_batch(numbered("suite.queue.a", 5))
        taken = [payloads(batch) for batch in await asyncio.gather(*tasks)]
        assert [[b"0"], [b"1"], [b"2"], [b"3"], [b"4"]] == sorted(taken)

    async def test_settled_is_settled(self, world: World) -> None:
        """An acknowledged message does not come again; a work queue drops it."""
        await world.bus.publish(a_message("suite.queue.hasty"))
        puller = await world.bus.puller(HASTY)
        (delivery,) = await take(puller, 1)
        await delivery.ack(confirm=True)
        await asyncio.sleep(HASTY.ack_wait_s * 2)
        await nothing(puller)
        assert await world.bus.last(QUEUE.name) is None

    async def test_settling_twice_does_no_harm(self, world: World) -> None:
        """The first word counts."""
        await world.bus.publish(a_message("suite.queue.a"))
        puller = await world.bus.puller(PATIENT)
        (delivery,) = await take(puller, 1)
        await delivery.ack(confirm=True)
        await delivery.nak(0.0)
        await delivery.ack()
        await nothing(puller)

    async def test_what_is_not_settled_comes_again(self, world: World) -> None:
        """After the consumer's wait the message is delivered again, to anybody, and counted."""
        await world.bus.publish(a_message("suite.queue.hasty", b"x"))
        await take(await world.bus.puller(HASTY), 1)
        (again,) = await take(await world.other.puller(HASTY), 1)
        assert (b"x", 1) == (again.data, again.stream_sequence)
        assert 2 <= again.deliveries

    async def test_in_progress_keeps_the_message(self, world: World) -> None:
        """A worker that says it works keeps its message beyond the wait."""
        await world.bus.publish(a_message("suite.queue.held"))
        puller = await world.bus.puller(HELD)
        (delivery,) = await take(puller, 1)
        for _ in range(20):
            await asyncio.sleep(HELD.ack_wait_s / 12)
            await delivery.in_progress()
            await nothing_now(puller)
        await delivery.ack(confirm=True)
        assert await world.bus.last(QUEUE.name) is None

    async def test_a_nak_comes_again_after_its_delay(self, world: World) -> None:
        """A message given back for long lets others pass; given back for short it returns."""
        await world.bus.publish_batch(numbered("suite.queue.a", 3))
        puller = await world.bus.puller(PATIENT)
        first, second, third = await take(puller, 3)
        await first.nak(3600)
        await second.nak(0.1)
        await third.ack(confirm=True)
        (again,) = await take(puller, 1)
        assert (b"1", 2) == (again.data, again.deliveries)
        await nothing(puller)

    async def test_a_terminated_message_never_comes_again(self, world: World) -> None:
        """Giving up on a message lets its neighbours flow."""
        await world.bus.publish_batch(numbered("suite.queue.hasty", 2))
        puller = await world.bus.puller(HASTY)
        poison, good = await take(puller, 2)
        await poison.term("cannot be\r\ndecoded")
        await good.ack(confirm=True)
        await asyncio.sleep(HASTY.ack_wait_s * 2)
        await nothing(puller)

    async def test_deliveries_are_bounded(self, world: World) -> None:
        """After `max_deliver` the message is not delivered again, but stays in the stream."""
        await world.bus.publish(a_message("suite.queue.twice", b"x"))
        puller = await world.bus.puller(TWICE)
        for _ in range(2):
            (delivery,) = await take(puller, 1)
            await delivery.nak(0.05)
        await asyncio.sleep(0.3)
        await nothing(puller)
        stored = await world.bus.last(QUEUE.name, "suite.queue.twice")
        assert stored is not None
        assert b"x" == stored.data

    async def test_pending_messages_are_bounded(self, world: World) -> None:
        """At `max_ack_pending` nothing more comes until something is settled."""
        await world.bus.publish_batch(numbered("suite.queue.narrow", 4))
        puller = await world.bus.puller(NARROW)
        first, _ = await take(puller, 2)
        await nothing(puller)
        await first.ack(confirm=True)
        assert [b"2"] == payloads(await take(puller, 1))

    async def test_reset_brings_back_in_order_what_is_not_settled(self, world: World) -> None:
        """After a reset all that is unsettled comes again at once, in the stream's order."""
        await world.bus.publish_batch(numbered("suite.queue.a", 6))
        former = await world.bus.puller(PATIENT)
        deliveries = await take(former, 4)
        await deliveries[1].ack(confirm=True)
        puller = await world.other.puller(PATIENT)
        await puller.reset()
        assert [b"0", b"2", b"3", b"4", b"5"] == payloads(await take(puller, 5))

    async def test_reset_of_a_log(self, world: World) -> None:
        """Where messages stay after the ack, nothing settled before a hole is lost either."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 4))
        puller = await world.bus.puller(LOGS)
        deliveries = await take(puller, 3)
        await deliveries[0].ack(confirm=True)
        await puller.reset()
        assert [b"1", b"2", b"3"] == payloads(await take(puller, 3))

    async def test_what_a_cancelled_fetch_got_is_not_lost(self, world: World) -> None:
        """Cancelling a fetch loses nothing: the next one, or somebody's later, has it."""
        puller = await world.bus.puller(HASTY)
        fetching = asyncio.create_task(puller.fetch(1, PATIENCE_S))
        await asyncio.sleep(0.1)
        fetching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await fetching
        await world.bus.publish(a_message("suite.queue.hasty", b"x"))
        assert [b"x"] == payloads(await take(puller, 1))

    async def test_a_closed_puller_ends_its_fetch(self, world: World) -> None:
        """Closing wakes who waits, and leaves unsettled messages to others."""
        await world.bus.publish(a_message("suite.queue.hasty", b"x"))
        puller = await world.bus.puller(HASTY)
        await take(puller, 1)
        waiting = asyncio.create_task(puller.fetch(1, PATIENCE_S * 2))
        await asyncio.sleep(0.1)
        await puller.close()
        with contextlib.suppress(BusUnavailableError):
            await waiting
        with pytest.raises(BusUnavailableError):
            await puller.fetch(1, 0.1)
        assert [b"x"] == payloads(await take(await world.other.puller(HASTY), 1))


async def nothing_now(puller: object) -> None:
    """Assert that a fetch that does not wait finds nothing."""
    assert [] == payloads(await puller.fetch(1, 0.0))  # type: ignore[attr-defined]


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
