"""What every Publisher, Scheduler and KeyValue must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import datetime as dt
from typing import Any

import pytest

from drivewake.lab.suites.bus_world import (
    BUCKET,
    LOG,
    LOGS,
    PATIENT,
    SIGNALS,
    SMALL,
    SMALLS,
    World,
    a_message,
    nothing,
    numbered,
    payloads,
    take,
)
from drivewake.runtime.bus import MAX_BATCH, Message
from drivewake.runtime.errors import (
    BusError,
    ConflictError,
    NotFoundError,
    StreamFullError,
    TooLargeError,
)


class PublisherContract:
    """Writes to streams."""

    async def test_what_is_acknowledged_is_there(self, world: World) -> None:
        """A published message is the stream's newest, with its headers, under its sequence."""
        message = Message(subject="suite.log.a.b", data=b"x", headers={"Colour": "red"}, id="i1")
        ack = await world.bus.publish(message)
        stored = await world.other.last(LOG.name)
        assert stored is not None
        assert (LOG.name, 1, False) == (ack.stream, ack.sequence, ack.duplicate)
        assert ("suite.log.a.b", b"x", 1) == (stored.subject, stored.data, stored.sequence)
        assert {"Colour": "red", "Nats-Msg-Id": "i1"} == dict(stored.headers)
        assert dt.UTC == stored.time.tzinfo

    async def test_an_id_is_stored_once(self, world: World) -> None:
        """A repeated id is acknowledged as a duplicate, with the first one's sequence."""
        first = await world.bus.publish(a_message("suite.log.a.b", b"1", message_id="same"))
        await world.bus.publish(a_message("suite.log.a.b", b"2"))
        again = await world.other.publish(a_message("suite.log.a.c", b"3", message_id="same"))
        assert (first.sequence, True) == (again.sequence, again.duplicate)
        assert 2 == await world.bus.last_sequence(LOG.name)

    async def test_the_expectation_is_judged_before_the_id(self, world: World) -> None:
        """A repeat whose expectation no longer holds is a conflict, not a duplicate."""
        message = a_message("suite.log.a.b", message_id="same")
        await world.bus.publish(message, expected_last=0)
        with pytest.raises(ConflictError):
            await world.bus.publish(message, expected_last=0)
        assert (await world.bus.publish(message, expected_last=1)).duplicate

    async def test_nobody_takes_the_subject(self, world: World) -> None:
        """A subject of no stream is told, not swallowed."""
        with pytest.raises(NotFoundError):
            await world.bus.publish(a_message("suite.nowhere"))

    async def test_expected_last_fences(self, world: World) -> None:
        """Of two writers that expect the same last sequence, one wins and one is told."""
        await world.bus.publish(a_message("suite.log.a.b"), expected_last=0)
        with pytest.raises(ConflictError):
            await world.other.publish(a_message("suite.log.a.b"), expected_last=0)
        await world.other.publish(a_message("suite.log.a.b"), expected_last=1)
        assert 2 == await world.bus.last_sequence(LOG.name)

    async def test_a_payload_over_the_limit(self, world: World) -> None:
        """More than the broker takes is refused."""
        with pytest.raises(TooLargeError):
            await world.bus.publish(a_message("suite.log.a.b", bytes((1 << 20) + 1)))

    async def test_a_full_stream_refuses_and_recovers(self, world: World) -> None:
        """At its cap a stream refuses new messages; a settled one makes room."""
        big = a_message("suite.small.a", bytes(20_000))
        for _ in range(3):
            await world.bus.publish(big)
        with pytest.raises(StreamFullError):
            await world.bus.publish(big)
        puller = await world.bus.puller(SMALLS)
        await (await take(puller, 1))[0].ack(confirm=True)
        await world.bus.publish(big)

    async def test_a_batch_too_big_for_the_stream_leaves_nothing(self, world: World) -> None:
        """A batch that would go over the cap is refused whole."""
        batch = [a_message("suite.small.a", bytes(20_000)) for _ in range(5)]
        with pytest.raises(StreamFullError):
            await world.bus.publish_batch(batch)
        assert await world.bus.last(SMALL.name) is None

    async def test_a_batch_is_stored_whole_and_in_order(self, world: World) -> None:
        """The largest batch stands in the stream as it was given, and the ack names its end."""
        ack = await world.bus.publish_batch(numbered("suite.queue.a", MAX_BATCH))
        assert MAX_BATCH == ack.sequence
        taken = await take(await world.other.puller(PATIENT), MAX_BATCH)
        assert [str(number).encode() for number in range(MAX_BATCH)] == payloads(taken)

    async def test_batches_of_two_writers_do_not_mix(self, world: World) -> None:
        """Messages of one batch stand next to each other, whoever else writes meanwhile."""
        batches = [
            [a_message("suite.queue.a", f"{name}{i}".encode()) for i in range(50)]
            for name in "abcdefgh"
        ]
        await asyncio.gather(
            *(world.bus.publish_batch(batch) for batch in batches[::2]),
            *(world.other.publish_batch(batch) for batch in batches[1::2]),
        )
        found = payloads(await take(await world.bus.puller(PATIENT), 400))
        runs = [found[at : at + 50] for at in range(0, 400, 50)]
        assert sorted([m.data for m in batch] for batch in batches) == sorted(runs)

    async def test_a_known_id_refuses_the_whole_batch(self, world: World) -> None:
        """One id that the stream knows, and nothing of the batch is stored."""
        await world.bus.publish(a_message("suite.log.a.b", message_id="old"))
        batch = [
            a_message("suite.log.a.b", message_id="new"),
            a_message("suite.log.a.b", message_id="old"),
        ]
        with pytest.raises(ConflictError):
            await world.bus.publish_batch(batch)
        assert 1 == await world.bus.last_sequence(LOG.name)

    async def test_one_id_twice_refuses_the_batch(self, world: World) -> None:
        """An id that a batch holds twice is a conflict."""
        with pytest.raises(ConflictError):
            await world.bus.publish_batch([a_message("suite.log.a.b", message_id="x")] * 2)
        assert 0 == await world.bus.last_sequence(LOG.name)

    async def test_a_batch_of_one(self, world: World) -> None:
        """The smallest batch obeys the same rules."""
        batch = [a_message("suite.log.a.b", message_id="x")]
        assert 1 == (await world.bus.publish_batch(batch, expected_last=0)).sequence
        with pytest.raises(ConflictError):
            await world.bus.publish_batch(batch)

    async def test_expected_last_fences_a_batch(self, world: World) -> None:
        """A batch whose expectation does not hold leaves nothing; one that holds is written."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 3), expected_last=0)
        with pytest.raises(ConflictError):
            await world.other.publish_batch(numbered("suite.log.a.b", 3), expected_last=0)
        assert (
            6
            == (
                await world.other.publish_batch(numbered("suite.log.a.b", 3), expected_last=3)
            ).sequence
        )

    async def test_a_batch_needs_a_stream_that_takes_batches(self, world: World) -> None:
        """Where batches are off, a batch is refused and nothing is stored."""
        with pytest.raises(BusError):
            await world.bus.publish_batch(numbered("suite.rolling.a", 2))
        assert 0 == await world.bus.last_sequence("SUITE_ROLLING")

    @pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
    async def test_a_batch_has_bounds(self, world: World, count: int) -> None:
        """No batch is empty, none is over the limit."""
        with pytest.raises(ValueError, match="1 to 1000"):
            await world.bus.publish_batch(numbered("suite.log.a.b", count))

    async def test_signals_coalesce(self, world: World) -> None:
        """Of many waiting messages of a subject the newest is delivered, once."""
        for message in numbered("suite.signal.a", 5):
            await world.bus.publish(message)
        await world.bus.publish(a_message("suite.signal.b", b"other"))
        puller = await world.bus.puller(SIGNALS)
        assert [b"4", b"other"] == payloads(await take(puller, 2))
        await nothing(puller)

    async def test_a_signal_that_comes_during_the_work_is_not_lost(self, world: World) -> None:
        """Acknowledging a replaced message leaves the one that replaced it."""
        puller = await world.bus.puller(SIGNALS)
        await world.bus.publish(a_message("suite.signal.a", b"1"))
        (first,) = await take(puller, 1)
        await world.bus.publish(a_message("suite.signal.a", b"2"))
        await first.ack(confirm=True)
        (second,) = await take(puller, 1)
        assert b"2" == second.data


def soon(seconds: float = 1.0) -> dt.datetime:
    """Return an instant a little ahead."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


class SchedulerContract:
    """Delivers later."""

    async def test_a_past_instant_is_now(self, world: World) -> None:
        """What should have come an hour ago comes at once, with the scheduled payload."""
        await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(-3600), b"late")
        (tick,) = await take(await world.bus.puller(SIGNALS), 1)
        assert ("suite.signal.a", b"late") == (tick.subject, tick.data)

    async def test_a_schedule_comes_after_its_instant(self, world: World) -> None:
        """A scheduled message is stored at its instant or later, never before."""
        at = soon()
        await world.bus.schedule("suite.slot.a", "suite.signal.a", at, b"tick")
        await take(await world.bus.puller(SIGNALS), 1)
        assert at <= dt.datetime.now(dt.UTC)

    async def test_scheduling_again_replaces(self, world: World) -> None:
        """A slot holds one schedule: the last one."""
        await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(0.5), b"old")
        await world.other.schedule("suite.slot.a", "suite.signal.a", soon(1.0), b"new")
        await world.bus.schedule("suite.slot.b", "suite.signal.b", soon(1.5), b"end")
        assert [b"new", b"end"] == payloads(await take(await world.bus.puller(SIGNALS), 2))

    async def test_a_cancelled_schedule_does_not_come(self, world: World) -> None:
        """After a cancel the slot is empty, and can be filled again."""
        await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(0.5), b"never")
        await world.other.cancel("suite.slot.a")
        await world.bus.schedule("suite.slot.b", "suite.signal.b", soon(1.0), b"end")
        puller = await world.bus.puller(SIGNALS)
        assert [b"end"] == payloads(await take(puller, 1))
        await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(0.2), b"again")
        assert [b"again"] == payloads(await take(puller, 1))

    async def test_cancelling_nothing(self, world: World) -> None:
        """An empty slot may be cancelled."""
        await world.bus.cancel("suite.slot.a")
        await nothing(await world.bus.puller(SIGNALS))

    async def test_a_tick_coalesces_with_a_signal(self, world: World) -> None:
        """A tick for a subject where a message waits becomes one with it."""
        await world.bus.publish(a_message("suite.signal.a", b"waiting"))
        await world.bus.schedule("suite.slot.a", "suite.signal.a", soon(0.2), b"tick")
        await world.bus.schedule("suite.slot.b", "suite.signal.b", soon(0.8), b"end")
        await asyncio.sleep(2)
        assert [b"tick", b"end"] == payloads(await take(await world.bus.puller(SIGNALS), 2))

    @pytest.mark.parametrize("target", ["suite.slot.a", "suite.log.a.b"])
    async def test_a_target_must_be_another_subject_of_the_stream(
        self, world: World, target: str
    ) -> None:
        """The slot itself, or another stream's subject, is refused."""
        with pytest.raises(BusError):
            await world.bus.schedule("suite.slot.a", target, soon(), b"")

    async def test_a_stream_without_schedules_refuses(self, world: World) -> None:
        """Schedules are for streams that allow them."""
        with pytest.raises(BusError):
            await world.bus.schedule("suite.log.a.b", "suite.log.a.c", soon(), b"")


class KeyValueContract:
    """One bucket, by compare-and-set."""

    async def test_a_value_is_read_back(self, world: World) -> None:
        """What was put is got, by another connection too, under its revision."""
        writer, reader = await _two(world)
        revision = await writer.put("c1.log1", b"one", revision=0)
        entry = await reader.get("c1.log1")
        assert entry is not None
        assert ("c1.log1", b"one", revision) == (entry.key, entry.value, entry.revision)

    async def test_an_absent_key(self, world: World) -> None:
        """A key that never was is None."""
        assert await (await world.bus.key_value(BUCKET)).get("nobody") is None

    async def test_a_wrong_revision_writes_nothing(self, world: World) -> None:
        """Whoever expects another revision is told, and the value stays."""
        one, two = await _two(world)
        first = await one.put("k", b"1", revision=0)
        second = await two.put("k", b"2", revision=first)
        for stale in (0, first, second + 1):
            with pytest.raises(ConflictError):
                await one.put("k", b"3", revision=stale)
        entry = await one.get("k")
        assert entry is not None
        assert (b"2", second) == (entry.value, entry.revision)

    async def test_of_many_racing_writers_one_wins(self, world: World) -> None:
        """The same expectation holds for one writer only."""
        one, two = await _two(world)
        puts = [(one, two)[i % 2].put("k", str(i).encode(), revision=0) for i in range(32)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert 31 == sum(isinstance(result, ConflictError) for result in results)

    async def test_a_deleted_key_is_absent_and_can_be_made_again(self, world: World) -> None:
        """Deleting obeys the revision; afterwards 0 is the expected one, and revisions rise."""
        kv, _ = await _two(world)
        first = await kv.put("k", b"1", revision=0)
        with pytest.raises(ConflictError):
            await kv.delete("k", revision=first + 1)
        with pytest.raises(ConflictError):
            await kv.delete("k", revision=0)
        await kv.delete("k", revision=first)
        assert await kv.get("k") is None
        await kv.delete("k", revision=0)
        with pytest.raises(ConflictError):
            await kv.put("k", b"2", revision=first)
        assert first < await kv.put("k", b"2", revision=0)

    async def test_keys_do_not_disturb_each_other(self, world: World) -> None:
        """A write to one key leaves the revision of another as it is."""
        kv, _ = await _two(world)
        first = await kv.put("a", b"1", revision=0)
        await kv.put("b", b"1", revision=0)
        assert first < await kv.put("a", b"2", revision=first)

    async def test_an_unprovisioned_bucket(self, world: World) -> None:
        """Binding to a bucket that is not there fails at once."""
        with pytest.raises(NotFoundError):
            await world.bus.key_value(type(BUCKET)(name="nowhere", description=""))

    async def test_an_unprovisioned_consumer(self, world: World) -> None:
        """Binding to a consumer that is not there fails at once."""
        spec: dict[str, Any] = {"filters": (), "owner": "", "description": ""}
        for stream, name in ((LOG.name, "nobody"), ("NOWHERE", "worker")):
            with pytest.raises(NotFoundError):
                await world.bus.puller(type(LOGS)(stream=stream, name=name, **spec))


async def _two(world: World) -> tuple[Any, Any]:
    return await world.bus.key_value(BUCKET), await world.other.key_value(BUCKET)
