"""What a connection's states do to its logs, and what is kept of both, on a bus in memory."""

# ruff: noqa: D102 - a world of helpers whose names say it

import datetime as dt

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import Connection, Status
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.records import LogRecord
from drivewake.contracts.signals import SIGNALS, Signal
from drivewake.gdrive.quota import Budget
from drivewake.poller import domain
from drivewake.poller.buckets import BusChannels, BusLogs
from drivewake.poller.connections import Connections
from drivewake.poller.outgoing import BusRaws, BusSignals
from drivewake.poller.ports import Held, Outside, key_of
from drivewake.poller.pressure import Pressure
from drivewake.poller.reconciler import Pace, Reconciler
from drivewake.runtime.bus import Entry
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
LATER = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
LIVE = msgspec.structs.replace(
    domain.new_log("t1", "c1", "user_changes", NOW), phase="live", cursor="10"
)
FAILING = msgspec.structs.replace(LIVE, failures=9, last_error="401", next_poll_at=LATER)


class NoTokens:
    """Has no tokens to forget."""

    def forget(self, tenant: str, connection: str) -> None:
        del tenant, connection


class World:
    """One log of one connection."""

    async def open(self, record: LogRecord) -> None:
        self.bus = MemoryBus()
        clock = SystemClock()
        self.logs = BusLogs(await self.bus.key_value(subjects.LOGS))
        self.outside = Outside(
            logs=self.logs,
            raws=BusRaws(self.bus, BusGraveyard(self.bus)),
            signals=BusSignals(self.bus, self.bus, clock),
            channels=BusChannels(await self.bus.key_value(subjects.CHANNELS)),
            clock=clock,
        )
        self.connections = Connections(self.bus, self.outside, NoTokens())  # type: ignore[arg-type]
        await self.logs.save(Held(record=record, revision=0), record)

    async def says(self, status: Status, revision: int) -> None:
        state = Connection(
            status=status, principal_kind="user", scopes=(), revision=revision, since=NOW
        )
        await self.connections.apply(
            Envelope(
                id="i", source="/t", type="t", time=NOW, tenant="t1", connection="c1", data=state
            )
        )

    async def record(self) -> LogRecord:
        held = await self.logs.read(key_of(LIVE))
        assert held is not None
        return held.record

    async def signals(self) -> list[Signal]:
        puller = await self.bus.puller(subjects.POLLER_SIGNALS)
        return [SIGNALS.decode(one.data).data for one in await puller.fetch(10, 0.0)]


async def test_logs_that_back_off_go_on_when_their_connection_heals() -> None:
    """From degraded to active: what failed is tried at once, with a clean slate."""
    world = World()
    await world.open(FAILING)
    await world.says("degraded", 1)
    assert [] == await world.signals()
    await world.says("active", 2)
    record = await world.record()
    assert [LIVE.log] == [signal.log for signal in await world.signals()]
    assert (0, "", "10", True) == (
        record.failures,
        record.last_error,
        record.cursor,
        record.next_poll_at is not None and record.next_poll_at < LATER,
    )


@pytest.mark.parametrize(
    ("record", "before"),
    [
        (LIVE, "degraded"),
        (FAILING, "active"),
        (msgspec.structs.replace(FAILING, owner="b", claimed_until=LATER), "degraded"),
    ],
)
async def test_healing_leaves_the_other_logs_alone(record: LogRecord, before: Status) -> None:
    """A log that is read well, one that fails for other reasons, and one under way."""
    world = World()
    await world.open(record)
    await world.says(before, 1)
    await world.says("active", 2)
    assert record == await world.record()
    assert [] == await world.signals()


async def test_revoked_connection_is_forgotten() -> None:
    """Its logs are stopped; nothing of it stays in memory, and it is not pollable."""
    world = World()
    await world.open(LIVE)
    await world.says("active", 1)
    await world.says("revoking", 2)
    assert world.connections.heard_of("c1")
    await world.says("revoked", 3)
    assert (await world.record()).stopped
    assert (False, False) == (
        world.connections.heard_of("c1"),
        world.connections.pollable("c1"),
    )
    await world.says("active", 4)
    assert world.connections.pollable("c1")


async def test_deleted_record_leaves_nothing_behind() -> None:
    """Neither in the table of records nor among the repairs that were tried."""
    world = World()
    late = msgspec.structs.replace(LIVE, next_poll_at=NOW - dt.timedelta(days=365))
    await world.open(late)
    await world.says("active", 1)
    repairs = Reconciler(
        world.outside,
        world.connections,
        Pace(),
        me="me",
        pressure=Pressure(Budget()),
        under_way=lambda _: False,
    )
    assert 1 == await repairs.sweep(Stop())
    assert [key_of(LIVE)] == list(repairs._tries)
    world.logs._take(Entry(key=key_of(LIVE), value=None, revision=1000))
    assert 0 == await repairs.sweep(Stop())
    assert ({}, {}, {}) == (world.logs._kept, world.logs._of, repairs._tries)
