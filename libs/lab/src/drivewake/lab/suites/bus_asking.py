"""What every Requester, Doorbell and Bus must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import contextlib

import pytest

from drivewake.lab.suites.bus_reading import closed, upto_none
from drivewake.lab.suites.bus_world import BUCKET, LOG, PATIENCE_S, PATIENT, World, a_message
from drivewake.runtime.errors import BusError, BusUnavailableError


class RequesterContract:
    """Asks and answers."""

    async def test_an_answer(self, world: World) -> None:
        """The handler gets the subject and the payload; its answer is returned."""

        async def handler(subject: str, data: bytes) -> bytes:
            return f"{subject}:{data.decode()}".encode()

        await world.bus.serve("echo", "suite.rpc.echo.*", handler, concurrency=4)
        answer = await world.other.request("suite.rpc.echo.poller", b"hi", timeout_s=PATIENCE_S)
        assert b"suite.rpc.echo.poller:hi" == answer

    async def test_nobody_answers(self, world: World) -> None:
        """Without a responder the request fails, long before its time is over."""
        with pytest.raises(BusUnavailableError):
            await world.bus.request("suite.rpc.nobody", b"", timeout_s=PATIENCE_S)

    async def test_no_answer_in_time(self, world: World) -> None:
        """A responder that takes too long is unavailable."""
        release = asyncio.Event()

        async def handler(subject: str, data: bytes) -> bytes:
            del subject, data
            await release.wait()
            return b""

        await world.bus.serve("slow", "suite.rpc.slow", handler, concurrency=1)
        with pytest.raises(BusUnavailableError):
            await world.other.request("suite.rpc.slow", b"", timeout_s=0.2)
        release.set()

    async def test_a_failing_handler_says_nothing(self, world: World) -> None:
        """The caller learns that it failed, not why; the next request is answered."""

        async def handler(subject: str, data: bytes) -> bytes:
            del subject
            if data == b"bad":
                raise ValueError("the secret of the handler")
            return b"ok"

        await world.bus.serve("moody", "suite.rpc.moody", handler, concurrency=1)
        with pytest.raises(BusError) as caught:
            await world.other.request("suite.rpc.moody", b"bad", timeout_s=PATIENCE_S)
        assert not isinstance(caught.value, BusUnavailableError)
        assert "secret" not in str(caught.value)
        assert b"ok" == await world.other.request("suite.rpc.moody", b"", timeout_s=PATIENCE_S)

    async def test_concurrency_is_bounded_and_used(self, world: World) -> None:
        """As many requests run together as allowed, never more; all are answered."""
        running = 0
        most = 0

        async def handler(subject: str, data: bytes) -> bytes:
            nonlocal running, most
            del subject
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            return data

        await world.bus.serve("busy", "suite.rpc.busy", handler, concurrency=3)
        answers = await asyncio.gather(
            *(
                world.other.request("suite.rpc.busy", str(i).encode(), timeout_s=PATIENCE_S)
                for i in range(20)
            )
        )
        assert [str(i).encode() for i in range(20)] == answers
        assert 3 == most


class DoorbellContract:
    """A nudge."""

    async def test_a_ring_wakes_who_waits(self, world: World) -> None:
        """A wait ends with the ring."""
        waiting = asyncio.create_task(world.bus.wait("suite.bell", PATIENCE_S))
        ringing = asyncio.create_task(_ring_until(world, waiting))
        assert await waiting
        await ringing

    async def test_no_ring(self, world: World) -> None:
        """Without a ring the wait ends after its time."""
        assert not await world.bus.wait("suite.bell", 0.1)

    async def test_a_ring_between_two_waits_counts(self, world: World) -> None:
        """Rings since the last wait end the next one at once, all together once."""
        assert not await world.bus.wait("suite.bell", 0.1)
        for _ in range(3):
            await world.other.ring("suite.bell")
        assert await world.bus.wait("suite.bell", PATIENCE_S)
        await asyncio.sleep(0.2)
        await world.bus.wait("suite.bell", 0.0)
        assert not await world.bus.wait("suite.bell", 0.1)

    async def test_all_who_wait_hear_it(self, world: World) -> None:
        """Two tasks on one bus hear the same ring."""
        waiting = [asyncio.create_task(world.bus.wait("suite.bell", PATIENCE_S)) for _ in range(2)]
        ringing = asyncio.create_task(_ring_until(world, *waiting))
        assert [True, True] == await asyncio.gather(*waiting)
        await ringing

    async def test_ringing_without_a_broker(self, world: World) -> None:
        """A ring never fails, not even on a closed bus."""
        await world.bus.close()
        await world.bus.ring("suite.bell")


async def _ring_until(world: World, *tasks: asyncio.Task[bool]) -> None:
    """Ring until all heard: a ring before somebody listens is lost, as promised."""
    while not all(task.done() for task in tasks):
        await world.other.ring("suite.bell")
        await asyncio.sleep(0.05)


class ClosingContract:
    """The end of a connection."""

    async def test_a_closed_bus_is_unavailable(self, world: World) -> None:
        """Every verb says so; none hangs."""
        puller = await world.bus.puller(PATIENT)
        kv = await world.bus.key_value(BUCKET)
        await world.bus.check()
        await closed(world.bus)
        calls = (
            world.bus.publish(a_message("suite.log.a.b")),
            world.bus.publish_batch([a_message("suite.log.a.b")]),
            world.bus.last(LOG.name),
            world.bus.request("suite.rpc", b"", timeout_s=1),
            puller.fetch(1, 1.0),
            kv.get("k"),
            kv.put("k", b"", revision=0),
            world.bus.puller(PATIENT),
            world.bus.check(),
        )
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, BusUnavailableError)

    async def test_closing_ends_who_waits(self, world: World) -> None:
        """A follower of a closed bus ends with an error, not in an endless wait."""
        messages = world.bus.follow(LOG.name)
        await upto_none(messages)
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0.1)
        await world.bus.close()
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(StopAsyncIteration), pytest.raises(BusUnavailableError):
                await waiting
