"""The relay, over a store and a bus in memory that fail on command."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.contracts.events import POSITION_HEADER, decode_event
from drivewake.contracts.subjects import DOORBELL, EVENT
from drivewake.eventstore import relay as module
from drivewake.eventstore.codec import to_event
from drivewake.eventstore.errors import ForeignMessageError, StoreBehindError, StoreUnavailableError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.relay import Place, Relay, chunks, message, position_of
from drivewake.eventstore.store import EVERYTHING, Batch, Lease, NewEvent, Selection, StoredEvent
from drivewake.lab.suites.eventstore import PATIENCE_S, an_event, eventually
from drivewake.runtime.bus import Message, PublishAck, StoredMessage
from drivewake.runtime.errors import BusUnavailableError, StreamFullError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

Fault = Literal["", "before", "after", "late", "full", "read"]


class ShakyBus(MemoryBus):
    """A bus whose publishing goes wrong in a given order of ways, then works.

    Every call takes a random number of turns of the loop, before and after it takes effect, so
    that rivals come between.
    """

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        super().__init__(provisioned=False)
        self.faults = list(faults)
        self.late: list[asyncio.Task[PublishAck]] = []
        self._random = Random(seed)

    async def _turns(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Publish one message, or fail as told."""
        return await self._shaken(partial(super().publish, message, expected_last=expected_last))

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Publish a batch, or fail as told."""
        publish = partial(super().publish_batch, messages, expected_last=expected_last)
        return await self._shaken(publish)

    async def _shaken(self, publish: Callable[[], Coroutine[None, None, PublishAck]]) -> PublishAck:
        """Publish, or fail as told: before, after or while it takes effect."""
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "full":
            raise StreamFullError
        if fault == "before":
            raise BusUnavailableError
        await self._turns()
        if fault == "late":
            self.late.append(asyncio.create_task(_later(publish())))
            raise BusUnavailableError
        ack = await publish()
        await self._turns()
        if fault == "after":
            raise BusUnavailableError
        return ack

    async def last(self, stream: str, subject: str = ">") -> StoredMessage | None:
        """Read the stream's end, or fail as told."""
        if self.faults and self.faults[0] == "read":
            self.faults.pop(0)
            raise BusUnavailableError
        await self._turns()
        found = await super().last(stream, subject)
        await self._turns()
        return found

    async def last_sequence(self, stream: str) -> int:
        """Read the stream's last sequence."""
        await self._turns()
        found = await super().last_sequence(stream)
        await self._turns()
        return found


async def _later(publishing: object) -> PublishAck:
    await asyncio.sleep(0.002)
    return await publishing  # type: ignore[misc, no-any-return]


class UnlockedStore(MemoryStore):
    """A store whose locks keep nobody out, as if every lease had been lost unnoticed."""

    @asynccontextmanager
    async def exclusive(self, name: str, lane: int) -> AsyncIterator[Lease]:
        """Let everybody in."""
        async with super().exclusive(f"{name} {id(asyncio.current_task())}", lane) as lease:
            yield lease


async def a_bus(
    faults: Sequence[Fault] = (), *, seed: int = 0, window_s: int = EVENT.duplicate_window_s
) -> ShakyBus:
    """Return a bus with the stream of events."""
    bus = ShakyBus(faults, seed)
    await bus.ensure_stream(msgspec.structs.replace(EVENT, duplicate_window_s=window_s))
    return bus


async def published(bus: MemoryBus) -> list[StoredMessage]:
    """Return everything in the stream."""
    found = []
    stream = bus.follow(EVENT.name)
    async for stored in stream:
        if stored is None:
            break
        found.append(stored)
    await stream.aclose()
    return found


async def holds(bus: MemoryBus, count: int) -> bool:
    """Whether the stream has that many messages."""
    return len(await published(bus)) >= count


async def relayed(store: MemoryStore, bus: MemoryBus, relays: Sequence[Relay]) -> list[str]:
    """Run relays until the stream holds what the store holds; return the ids in the stream."""
    stop = Stop()
    running = [asyncio.create_task(relay.run(stop)) for relay in relays]
    wanted = await store.last_position(0)

    async def all_there() -> bool:
        return len(await published(bus)) >= wanted or any(task.done() for task in running)

    await eventually(all_there)
    await ended(bus, stop, *running)
    return [decode_event(stored.data).id for stored in await published(bus)]


async def ended(bus: MemoryBus, stop: Stop, *running: asyncio.Task[None]) -> None:
    """Stop relays, the idle ones at once."""
    stop.request()
    await bus.ring(DOORBELL)
    await asyncio.gather(*running)


async def ids_in(store: MemoryStore) -> list[str]:
    """Return the ids of the store's events, in order."""
    return [str(event.key) for event in await store.read(0, 0, 10_000)]


def quick(store: MemoryStore, bus: MemoryBus) -> Relay:
    """Return a relay that does not wait long before it tries again."""
    return Relay(store, bus, first_retry_s=0.001)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_EVENTS", 7)


async def test_message_is_the_event_as_downstream_reads_it() -> None:
    """A message has the event's subject, id, place and bytes."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event(tenant="acme")]))
    await relayed(store, bus, [quick(store, bus)])
    (sent,) = await published(bus)
    (stored,) = await store.read(0, 0, 1)
    assert "drive.event.v1.acme.file.renamed" == sent.subject
    assert "0:1" == sent.headers[POSITION_HEADER]
    assert "application/cloudevents+json" == sent.headers["Content-Type"]
    assert to_event(stored) == decode_event(sent.data)


async def test_message_carries_the_trace_of_its_event() -> None:
    """The trace in the event's metadata is the message's traceparent."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    store = MemoryStore()
    event = msgspec.structs.replace(
        an_event(), metadata=b'{"traceparent":"' + trace.encode() + b'","source":"/x"}'
    )
    await store.append(Batch(events=[event]))
    (stored,) = await store.read(0, 0, 1)
    assert trace == message(stored).headers["traceparent"]


async def test_events_that_come_while_it_runs_are_relayed() -> None:
    """A running relay publishes what is appended later, in order."""
    store, bus, stop = MemoryStore(), await a_bus(), Stop()
    running = asyncio.create_task(quick(store, bus).run(stop))
    for _ in range(3):
        await store.append(Batch(events=[an_event() for _ in range(9)]))
        await bus.ring(DOORBELL)
        await asyncio.sleep(0.01)
    await eventually(lambda: holds(bus, 27))
    await ended(bus, stop, running)
    assert await ids_in(store) == [decode_event(sent.data).id for sent in await published(bus)]


FAULTS = st.lists(st.sampled_from(["", "before", "after", "late", "full", "read"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(faults=FAULTS, count=st.integers(1, 40), seed=st.integers(0, 99))
async def test_stream_is_the_store_whatever_goes_wrong(
    faults: list[Fault], count: int, seed: int
) -> None:
    """With acks lost, batches refused or arriving late, each event is there once, in order.

    The broker forgets ids at once: its memory is no part of the guarantee.
    """
    store, bus = MemoryStore(), await a_bus(faults, seed=seed, window_s=0)
    await store.append(Batch(events=[an_event() for _ in range(count)]))
    ids = await relayed(store, bus, [quick(store, bus)])
    await asyncio.gather(*bus.late, return_exceptions=True)
    assert await ids_in(store) == ids


@settings(max_examples=40, deadline=None)
@given(faults=FAULTS, relays=st.integers(2, 4), count=st.integers(1, 60), seed=st.integers(0, 99))
async def test_racing_relays_are_fenced_by_the_stream(
    faults: list[Fault], relays: int, count: int, seed: int
) -> None:
    """Relays that all believe to hold the lock still publish each event once, in order."""
    store, bus = UnlockedStore(), await a_bus(faults, seed=seed, window_s=0)
    await store.append(Batch(events=[an_event() for _ in range(count)]))
    ids = await relayed(store, bus, [quick(store, bus) for _ in range(relays)])
    await asyncio.gather(*bus.late, return_exceptions=True)
    assert await ids_in(store) == ids


class OvertakenBus(MemoryBus):
    """A bus on which a batch of another relay arrives while the stream's end is being read."""

    other: Sequence[Message] = ()

    async def last_sequence(self, stream: str) -> int:
        """Tell the sequence of before the batch."""
        found = await super().last_sequence(stream)
        other, self.other = self.other, ()
        if other:
            await self.publish_batch(other)
        return found


async def test_end_of_the_stream_is_read_as_of_one_instant() -> None:
    """A batch that comes between two looks at the end makes no later batch fit too early."""
    store, bus = MemoryStore(), OvertakenBus()
    await store.append(Batch(events=[an_event() for _ in range(30)]))
    bus.other = [message(event) for event in await store.read(0, 0, module.BATCH_EVENTS)]
    ids = await relayed(store, bus, [quick(store, bus)])
    assert await ids_in(store) == ids


async def test_new_relay_goes_on_where_the_stream_ends() -> None:
    """The place of a relay that died is read from the stream, not from its memory."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event() for _ in range(10)]))
    await relayed(store, bus, [quick(store, bus)])
    await store.append(Batch(events=[an_event() for _ in range(10)]))
    assert await ids_in(store) == await relayed(store, bus, [quick(store, bus)])


async def test_saved_place_serves_when_the_stream_is_empty() -> None:
    """Events that grew old and left the stream are not published again."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event() for _ in range(10)]))
    await store.save_checkpoint("relay", 0, 8)
    stop = Stop()
    running = asyncio.create_task(quick(store, bus).run(stop))
    await eventually(lambda: holds(bus, 2))
    await ended(bus, stop, running)
    assert (await ids_in(store))[8:] == [decode_event(m.data).id for m in await published(bus)]
    assert 10 == await store.checkpoint("relay", 0)


async def test_ids_that_the_broker_remembers_are_passed_over() -> None:
    """A stream emptied by hand still knows its ids: the relay does not wait for ever."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event() for _ in range(10)]))
    await relayed(store, bus, [quick(store, bus)])
    memory = bus._core.stream(EVENT.name)
    for sequence in list(memory.stored):
        memory.remove(sequence)
    fresh = MemoryStore()
    await fresh.append(
        Batch(
            events=[
                *(_new(event) for event in await store.read(0, 0, 100)),
                *(an_event() for _ in range(3)),
            ]
        )
    )
    stop = Stop()
    running = asyncio.create_task(quick(fresh, bus).run(stop))
    await eventually(lambda: holds(bus, 3))
    await ended(bus, stop, running)
    assert (await ids_in(fresh))[10:] == [decode_event(m.data).id for m in await published(bus)]


def _new(event: StoredEvent) -> NewEvent:
    fields = msgspec.structs.asdict(event)
    return NewEvent(**{name: fields[name] for name in NewEvent.__struct_fields__})


async def test_store_behind_the_stream_stops_the_relay() -> None:
    """A store restored to older data would reuse positions: the relay refuses, clearly."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event() for _ in range(3)]))
    await relayed(store, bus, [quick(store, bus)])
    restored = MemoryStore()
    await restored.append(Batch(events=[an_event()]))
    with pytest.raises(StoreBehindError, match=r"position 3.*resync --from-store"):
        await quick(restored, bus).run(Stop())


@pytest.mark.parametrize("header", ["", "1:5", "0:", "0:-1", "0:x", "0:٣", "0:1:2"])
async def test_foreign_message_stops_the_relay(header: str) -> None:
    """Behind a message that no relay of this lane wrote, nothing is published."""
    store, bus = MemoryStore(), await a_bus()
    await store.append(Batch(events=[an_event()]))
    await bus.publish(
        Message(
            subject="drive.event.v1.acme.file.renamed",
            data=b"{}",
            headers={POSITION_HEADER: header} if header else {},
        )
    )
    with pytest.raises(ForeignMessageError):
        await quick(store, bus).run(Stop())
    assert 1 == len(await published(bus))


def test_position_of_a_header() -> None:
    """The header names lane and position."""
    assert 17 == position_of("3:17", 3)


class AwayStore(MemoryStore):
    """A store that is away for its first reads."""

    away = 3

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """Fail at first."""
        if self.away:
            self.away -= 1
            raise StoreUnavailableError
        return await super().read(lane, after, limit, selection)


async def test_store_that_is_away_is_waited_for() -> None:
    """A relay outlives a database that does not answer for a while."""
    store, bus = AwayStore(), await a_bus()
    await store.append(Batch(events=[an_event() for _ in range(20)]))
    ids = await relayed(store, bus, [quick(store, bus)])
    assert await ids_in(store) == ids


async def test_waiting_for_the_lock_ends_with_the_service() -> None:
    """A standby relay stops at once when it is asked to."""
    store, bus, stop = MemoryStore(), await a_bus(), Stop()
    async with store.exclusive("relay", 0):
        running = asyncio.create_task(quick(store, bus).run(stop))
        await asyncio.sleep(0.01)
        stop.request()
        async with asyncio.timeout(PATIENCE_S):
            await running


async def test_large_events_travel_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is split so that none is over the limit, an event alone aside."""
    monkeypatch.setattr(module, "BATCH_BYTES", 1000)
    store = MemoryStore()
    sizes = [100, 600, 600, 2000, 100, 100]
    events = [
        msgspec.structs.replace(an_event(), data=b'"' + b"x" * (size - 2) + b'"') for size in sizes
    ]
    await store.append(Batch(events=events))
    split = [[event.position for event in chunk] for chunk in chunks(await store.read(0, 0, 10))]
    assert [[1, 2], [3], [4], [5, 6]] == split


def test_place_is_compared_by_value() -> None:
    """Two readings of the same end are the same place."""
    assert Place(position=1, sequence=2) == Place(position=1, sequence=2)
