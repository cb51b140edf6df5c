"""What every Puller must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import contextlib

import pytest

from drivewake.lab.suites.bus_world import (
    HASTY,
    HELD,
    LOGS,
    NARROW,
    PATIENCE_S,
    PATIENT,
    QUEUE,
    TWICE,
    World,
    a_message,
    nothing,
    numbered,
    payloads,
    take,
)
from drivewake.runtime.bus import Puller
from drivewake.runtime.errors import BusUnavailableError


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

    async def test_reset_to_a_sequence(self, world: World) -> None:
        """Where messages stay after the ack, settled ones come again from there on."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 4))
        puller = await world.bus.puller(LOGS)
        deliveries = await take(puller, 4)
        for delivery in deliveries:
            await delivery.ack(confirm=True)
        await puller.reset(deliveries[1].stream_sequence)
        again = await take(puller, 3)
        assert [b"1", b"2", b"3"] == payloads(again)
        for delivery in again:
            await delivery.ack(confirm=True)
        await nothing(puller)

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


async def nothing_now(puller: Puller) -> None:
    """Assert that a fetch that does not wait finds nothing."""
    assert [] == payloads(await puller.fetch(1, 0.0))
