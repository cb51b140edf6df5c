"""The relay: from the store to DRIVE_EVENT, in the store's order, each event once.

The stream itself is the checkpoint. Every message carries its position, and is published only
if the stream's last sequence is the one that was read together with the last position: so a
relay that was paused, or a second one, is refused by the broker, and whoever was refused reads
the stream's end again and goes on from there. A stored checkpoint serves only when the stream
is empty, because all in it grew old.

A few batches are under way at once: while the broker writes one, the next is put together. Each
expects the sequence that the one before it will end at. A lane is dense and only relays write to
the stream, so whatever stands at that sequence is the event that was meant to stand there. A few
events go one by one, each expecting the one before it: a batch would keep them waiting for longer.

Nothing is dropped: without a broker, or with a full stream, the relay waits and tries again.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, Protocol

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.events import EVENT_CONTENT_TYPE, POSITION_HEADER
from drivewake.eventstore import metrics
from drivewake.eventstore.codec import envelope, traceparent_of
from drivewake.eventstore.errors import (
    ArchivedError,
    ForeignMessageError,
    StoreBehindError,
    StoreUnavailableError,
)
from drivewake.eventstore.follower import POLL_S, ReadAhead
from drivewake.eventstore.store import Coordination, EventReader, Lease, StoredEvent
from drivewake.eventstore.waiting import FIRST_RETRY_S, Retry, unless_stopped
from drivewake.runtime.bus import Doorbell, Message, Publisher, StreamReader
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusUnavailableError, ConflictError, StreamFullError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

NAME: Final = "relay"
BATCH_EVENTS: Final = 1_000
"""As many as one atomic batch takes."""
BATCH_BYTES: Final = 8 << 20
IN_FLIGHT: Final = 3
"""Batches under way: one is written, one is on its way, one is put together."""
FEW_EVENTS: Final = 4
"""So few go one by one: a batch takes the broker as long as ten messages or more."""
SAVE_S: Final = 1.0

_log = get_logger(__name__)


class Store(EventReader, Coordination, Protocol):
    """What the relay needs of the store."""


class Bus(Publisher, StreamReader, Doorbell, Protocol):
    """What the relay needs of the bus."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the relay stands: position in the lane, last sequence of the stream."""

    position: int
    sequence: int


class _Flight(NamedTuple):
    """A batch under way, and where the stream stands before it."""

    events: Sequence[StoredEvent]
    before: Place
    publishing: asyncio.Task[None]


class Relay:
    """Publishes one lane. Several may run: one works, the others wait for its lock."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        lane: int = 0,
        clock: Clock | None = None,
        beat: Callable[[], None] = lambda: None,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._first_retry_s = first_retry_s
        self._store = store
        self._bus = bus
        self._lane = lane
        self._clock = clock or SystemClock()
        self._beat = beat
        self._saved_s = 0.0
        self._saved_position = -1
        self._ahead = ReadAhead(store, lane, BATCH_EVENTS)
        self._flying: deque[_Flight] = deque()
        self._proven = False
        """Whether a batch has landed since the stream's end was read: the next need not wait."""

    async def run(self, stop: Stop) -> None:
        """Relay until the stop.

        Raises what no waiting repairs: StoreBehindError (the store was restored to older data
        than downstream has seen), ForeignMessageError, StoreMismatchError, errors of the bus
        about permissions and sizes.
        """
        retry = Retry(stop, self._first_retry_s)
        while not stop.requested:
            try:
                async with AsyncExitStack() as stack:
                    lock = self._store.exclusive(NAME, self._lane)
                    lease = await unless_stopped(stop, stack.enter_async_context(lock))
                    if lease is not None:
                        await self._work(lease, stop, retry)
            except StoreUnavailableError as error:
                self._trouble("store", error)
                await retry.wait()
            finally:
                self._ahead.forget()
                await self._dismiss()

    async def _work(self, lease: Lease, stop: Stop, retry: Retry) -> None:
        """Relay while the lease holds and nothing but the bus is in trouble."""
        place: Place | None = None
        while not stop.requested:
            self._beat()
            await lease.check()
            try:
                if place is None:
                    place = await self._resume()
                place = await self._step(place)
            except ConflictError as error:
                self._trouble("conflict", error)
                place = None
            except (BusUnavailableError, StreamFullError) as error:
                # What was in flight may arrive yet: only the stream can tell.
                self._trouble("bus", error)
                place = None
                await retry.wait()
            else:
                retry.reset()

    async def _resume(self) -> Place:
        """Read where the stream ends, when nothing of ours is under way.

        Tells if that is not as far as we had been.
        """
        await self._dismiss()
        self._proven = False
        place = await resume(self._store, self._bus, self._lane)
        saved = await self._store.checkpoint(NAME, self._lane)
        if place.position < saved and await self._store.restarted(self._lane, saved) is None:
            _log.warning(
                f"DRIVE_EVENT ends at position {place.position}, {saved} was there: it was restored"
                " to older data. What it lost is published again, under the same ids",
                action="relay_repeats",
            )
            metrics.RELAY_TROUBLE.add(reason="stream_behind")
        _log.info("relay resumes", action="relay_resume", position=place.position)
        return place

    async def _step(self, place: Place) -> Place:
        """Send the next events on their way, or wait for news.

        `place` is where the stream stands when all that flies has landed; return the new one.
        """
        events = await self._ahead.read(place.position)
        if not events:
            if self._flying:
                return await self._land() or place
            metrics.RELAY_LAG.set(0)
            await self._save(place.position)
            await self._bus.wait(subjects.DOORBELL, POLL_S)
            return place
        for chunk in chunks(events):
            few = len(chunk) <= FEW_EVENTS
            allowed = IN_FLIGHT if self._proven and not few else 1
            while len(self._flying) >= allowed:
                if elsewhere := await self._land():
                    return elsewhere
            place = self._launch(chunk, place)
            # What goes one by one is not on the wire at once: nothing may fly behind it.
            if few and (elsewhere := await self._land()):
                return elsewhere
        return place

    def _launch(self, events: Sequence[StoredEvent], before: Place) -> Place:
        """Send a batch on its way; return where the stream stands when it has landed."""
        batch = [message(event) for event in events]
        publishing = asyncio.ensure_future(self._publish(batch, before.sequence))
        self._flying.append(_Flight(events, before, publishing))
        return Place(position=events[-1].position, sequence=before.sequence + len(events))

    async def _publish(self, batch: Sequence[Message], sequence: int) -> None:
        """Write messages behind a sequence of the stream; after an error some may be there."""
        if len(batch) > FEW_EVENTS:
            await self._bus.publish_batch(batch, expected_last=sequence)
            return
        for number, one in enumerate(batch):
            ack = await self._bus.publish(one, expected_last=sequence + number)
            if ack.duplicate:
                raise ConflictError("the stream knows the id of an event that it does not end with")

    async def _land(self) -> Place | None:
        """Wait for the oldest batch under way.

        Returns None if all goes as planned; else nothing is under way any more, and the place
        returned is where to go on.
        """
        events, before, publishing = self._flying.popleft()
        try:
            await publishing
        except ConflictError:
            if await self._resume() != before:
                raise
            # The stream has not moved: it is the ids that it knows, of messages that are no
            # longer there. One by one, it takes what it does not know and skips the rest.
            place = await self._publish_singly(events, before)
            await self._save(place.position)  # an empty stream would not tell it
            return place
        finally:
            publishing.cancel()
        self._proven = True
        metrics.RELAYED.add(len(events))
        if self._clock.monotonic_s() - self._saved_s >= SAVE_S:
            position = events[-1].position
            await self._save(position)
            metrics.RELAY_LAG.set(await self._store.last_position(self._lane) - position)
        return None

    async def _publish_singly(self, events: Sequence[StoredEvent], place: Place) -> Place:
        sequence = place.sequence
        for event in events:
            ack = await self._bus.publish(message(event), expected_last=sequence)
            if not ack.duplicate:
                sequence = ack.sequence
                metrics.RELAYED.add()
        return Place(position=events[-1].position, sequence=sequence)

    async def _dismiss(self) -> None:
        """Give up what is under way; it may arrive all the same, as the stream will tell."""
        given_up = [flight.publishing for flight in self._flying]
        self._flying.clear()
        for publishing in given_up:
            publishing.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)

    async def _save(self, position: int) -> None:
        if position != self._saved_position:
            await self._store.save_checkpoint(NAME, self._lane, position)
            self._saved_position = position
        self._saved_s = self._clock.monotonic_s()

    def _trouble(self, reason: str, error: Exception) -> None:
        metrics.RELAY_TROUBLE.add(reason=reason)
        _log.warning("relay tries again", action="relay_retry", reason=reason, error=str(error))


async def resume(store: Store, reader: StreamReader, lane: int) -> Place:
    """Return where relaying goes on: behind the last event that both store and stream have.

    Position and sequence must be of one instant: batches that fly behind each other count on
    both to rise together. A last message that is younger than the sequence asked for first tells
    its own; else nothing came between, and newer ones may have been deleted.

    Raises StoreBehindError if the store does not have what the stream ends with:
    it was restored to older data, and `drivewake resync --from-store` was not run yet.
    """
    sequence = await reader.last_sequence(subjects.EVENT.name)
    last = await reader.last(subjects.EVENT.name)
    if last is None:
        position = await store.checkpoint(NAME, lane)
        if await store.last_position(lane) < position:
            raise StoreBehindError(_behind(lane, position))
        return Place(position=position, sequence=sequence)
    sequence = max(sequence, last.sequence)
    position = position_of(last.headers.get(POSITION_HEADER, ""), lane)
    if not await holds(store, lane, position, last.headers.get("Nats-Msg-Id", "")):
        relayed = await store.restarted(lane, position)
        if relayed is None:
            raise StoreBehindError(_behind(lane, position))
        position = relayed
    return Place(position=position, sequence=sequence)


async def holds(store: EventReader, lane: int, position: int, id_: str) -> bool:
    """Return whether the store has this event at this position, or had it and archived it."""
    if position == 0 or await store.last_position(lane) < position:
        return position == 0
    try:
        events = await store.read(lane, position - 1, 1)
    except ArchivedError:
        return True  # only what was relayed is archived
    return bool(events) and (events[0].position, str(events[0].key)) == (position, id_)


def _behind(lane: int, position: int) -> str:
    return (
        f"downstream has seen position {position} of lane {lane}, which the store does not have, or"
        " has with another event: it was restored to older data. Stop the normalizer and run"
        " `drivewake resync --from-store` (docs/operations/store.md)"
    )


def position_of(header: str, lane: int) -> int:
    """Return the position in a message's header, `{lane}:{position}`."""
    found, _, position = header.partition(":")
    if found != str(lane) or not position.isascii() or not position.isdigit():
        raise ForeignMessageError
    return int(position)


def message(event: StoredEvent) -> Message:
    """Return the message that downstream receives."""
    headers = {
        "Content-Type": EVENT_CONTENT_TYPE,
        POSITION_HEADER: f"{event.lane}:{event.position}",
    }
    if traceparent := traceparent_of(event):
        headers["traceparent"] = traceparent
    return Message(
        subject=_subject(event.tenant, event.type),
        data=envelope(event),
        headers=headers,
        id=str(event.key),
    )


def chunks(events: Sequence[StoredEvent]) -> Sequence[Sequence[StoredEvent]]:
    """Split what was read so that no batch is larger than the broker's buffers like."""
    if sum(len(event.data) for event in events) <= BATCH_BYTES:
        return [events]
    found: list[list[StoredEvent]] = [[]]
    size = 0
    for event in events:
        if found[-1] and size + len(event.data) > BATCH_BYTES:
            found.append([])
            size = 0
        found[-1].append(event)
        size += len(event.data)
    return found


@functools.lru_cache(maxsize=4096)
def _subject(tenant: str, event_type: str) -> str:
    return subjects.event(tenant, event_type)
