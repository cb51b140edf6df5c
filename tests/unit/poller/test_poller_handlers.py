"""Taking signals: one log at a time, nothing forgotten, nobody starved."""

# ruff: noqa: D102, ASYNC110 - doubles of ports, and a bus that tells nobody when it is empty

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import Connection, Status
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.signals import Reason, Signal, signal_message
from drivewake.poller.buckets import BusChannels, BusLogs
from drivewake.poller.connections import Connections
from drivewake.poller.domain import GiveBack
from drivewake.poller.handlers import Bounds, SignalHandler
from drivewake.poller.outgoing import BusRaws, BusSignals
from drivewake.poller.polling import Claim, Done, Outcome
from drivewake.poller.ports import Outside
from drivewake.runtime.bus import Message
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)


class GatedPolling:
    """Polls that last until they are let go; `outcomes` are given in turn, then done."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.reasons: list[Reason] = []
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.outcomes: list[Outcome | Exception] = []

    async def poll(
        self,
        key: str,
        signal: Signal,
        *,
        deliveries: int = 1,
        on_claim: Callable[[Claim], None],
    ) -> Outcome:
        self.began.append(key)
        self.reasons.append(signal.reason)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        outcome = self.outcomes.pop(0) if self.outcomes else Done(outcome="done")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def stated(connection: str, status: Status, revision: int) -> Envelope[Connection]:
    """Return a state of a connection as auth would tell it."""
    state = Connection(
        status=status, principal_kind="user", scopes=(), revision=revision, since=NOW
    )
    return Envelope(
        id="i", source="/t", type="t", time=NOW, tenant="t1", connection=connection, data=state
    )


class NoTokens:
    """Has no tokens to forget."""

    def forget(self, tenant: str, connection: str) -> None:
        del tenant, connection


class World:
    """A handler on a bus in memory."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.polling = GatedPolling()
        self.stop = Stop()

    async def open(self, bounds: Bounds) -> None:
        clock = SystemClock()
        graveyard = BusGraveyard(self.bus)
        logs = BusLogs(await self.bus.key_value(subjects.LOGS))
        outside = Outside(
            logs=logs,
            raws=BusRaws(self.bus, graveyard),
            signals=BusSignals(self.bus, self.bus, clock),
            channels=BusChannels(await self.bus.key_value(subjects.CHANNELS)),
            clock=clock,
        )
        self.connections = Connections(self.bus, outside, NoTokens())  # type: ignore[arg-type]
        puller = await self.bus.puller(subjects.POLLER_SIGNALS)
        self.handler = SignalHandler(
            puller,
            self.polling,  # type: ignore[arg-type]
            self.connections,
            graveyard,
            clock,
            bounds,
        )
        self.tasks = [
            asyncio.create_task(task(self.stop))
            for task in (self.connections.run, self.handler.run, self.handler.keep)
        ]

    async def close(self) -> None:
        self.polling.gate.set()
        self.stop.request()
        await asyncio.gather(*self.tasks)

    async def connection(self, name: str, status: Status = "active", revision: int = 1) -> None:
        await self.connections.apply(stated(name, status, revision))
        await self.until_empty()  # the first signal of a new log is served before a test begins
        self.polling.began.clear()
        self.polling.reasons.clear()

    async def signal(self, connection: str, log: str = "l1", reason: Reason = "push") -> None:
        signal = Signal(log=log, reason=reason, requested_at=NOW)
        body = signal_message(source="/t", tenant="t1", connection=connection, signal=signal)
        subject = subjects.signal("t1", connection, log)
        await self.bus.publish(Message(subject=subject, data=body))

    async def signal_again(self, connection: str, reason: Reason) -> None:
        """Signal a log under way; return once the handler has noted it."""
        await self.signal(connection, reason=reason)
        sequence = await self.bus.last_sequence(subjects.SIGNAL.name)
        work = self.handler._works[f"{connection}.l1"]
        async with asyncio.timeout(20):
            while work.again is None or work.again[1].stream_sequence < sequence:
                await asyncio.sleep(0.005)

    async def until_began(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.polling.began) < count:
                await asyncio.sleep(0.005)

    async def waiting(self) -> bool:
        """Say whether DRIVE_SIGNAL holds a signal."""
        return await self.bus.last(subjects.SIGNAL.name, "drive.signal.v1.*.*.*") is not None

    async def until_empty(self) -> None:
        async with asyncio.timeout(20):
            while await self.waiting():
                await asyncio.sleep(0.005)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A handler that polls two logs at a time, one of each connection."""
    one = World()
    await one.open(Bounds(polls=2, per_connection=1, waiting=50, keep_s=0.05))
    yield one
    await one.close()


async def test_signals_during_a_poll_become_one_more(world: World) -> None:
    """Ten signals for a log under way: it runs once more, and every signal is settled."""
    await world.connection("c1")
    world.polling.gate.clear()
    await world.signal("c1")
    await world.until_began(1)
    for _ in range(10):
        await world.signal("c1")
        await asyncio.sleep(0.01)
    world.polling.gate.set()
    await world.until_began(2)
    await world.until_empty()
    assert ["c1.l1", "c1.l1"] == world.polling.began


async def test_timer_does_not_take_the_place_of_a_push(world: World) -> None:
    """Both come during a poll, the timer last: what follows is told of the push."""
    await world.connection("c1")
    world.polling.gate.clear()
    await world.signal("c1")
    await world.until_began(1)
    await world.signal_again("c1", "push")
    await world.signal_again("c1", "timer")
    world.polling.gate.set()
    await world.until_began(2)
    await world.until_empty()
    assert ["push", "push"] == world.polling.reasons


async def test_signal_given_back_leaves_its_reason_to_the_next(world: World) -> None:
    """An operator's signal that found its log claimed is not forgotten for a push."""
    await world.connection("c1")
    world.polling.gate.clear()
    world.polling.outcomes = [GiveBack(delay_s=9.0, reason="claimed")]
    await world.signal("c1", reason="operator")
    await world.until_began(1)
    await world.signal_again("c1", "push")
    world.polling.gate.set()
    await world.until_began(2)
    await world.until_empty()
    assert ["operator", "operator"] == world.polling.reasons


async def test_one_connection_does_not_starve_another(world: World) -> None:
    """Twenty logs of one connection leave room for one of another."""
    await world.connection("c1")
    await world.connection("c2")
    world.polling.gate.clear()
    for n in range(20):
        await world.signal("c1", f"l{n}")
    await world.signal("c2")
    await world.until_began(2)
    assert {"c1", "c2"} == {key.partition(".")[0] for key in world.polling.began}
    world.polling.gate.set()
    await world.until_empty()
    assert (21, 2) == (len(world.polling.began), world.polling.most)


async def test_signal_that_was_given_back_comes_again(world: World) -> None:
    """Whoever finds a log claimed tries again a little later."""
    await world.connection("c1")
    world.polling.outcomes = [GiveBack(delay_s=0.05, reason="claimed")]
    await world.signal("c1")
    await world.until_began(2)
    await world.until_empty()


async def test_lost_bus_gives_the_signal_back(world: World) -> None:
    """A poll that the broker left comes again."""
    await world.connection("c1")
    world.polling.outcomes = [BusUnavailableError()]
    await world.signal("c1")
    await world.until_began(2)
    await world.until_empty()


async def test_poll_of_a_connection_that_ends_is_cut_off(world: World) -> None:
    """Revocation does not wait for the page under way; its signal is settled."""
    await world.connection("c1")
    world.polling.gate.clear()
    await world.signal("c1")
    await world.until_began(1)
    await world.connections.apply(stated("c1", "revoked", 2))
    await world.until_empty()
    assert 0 == world.polling.running


async def test_signals_of_connections_that_are_not_read_are_dropped(world: World) -> None:
    """A stopped connection and one that nobody knows are not polled."""
    await world.connection("c1", status="blocked")
    await world.signal("c1")
    await world.signal("c9")
    await world.until_empty()
    assert [] == world.polling.began


async def test_nonsense_is_buried_whole(world: World) -> None:
    """Bytes that are no signal go to the dead letters and out of the way."""
    subject = subjects.signal("t1", "c1", "l1")
    await world.bus.publish(Message(subject=subject, data=b"\xff nonsense"))
    await world.until_empty()
    letter = await world.bus.last(subjects.DEAD.name)
    assert letter is not None
    dead = decode_dead(letter.data)
    assert (b"\xff nonsense", subject, "poller") == (dead.original(), dead.subject, dead.service)
