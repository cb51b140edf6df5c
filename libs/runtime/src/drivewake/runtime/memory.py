"""The bus in memory: the same promises as NATS, within one process and without durability.

For tests and for running everything in one process. Time is the clock's: redeliveries,
schedules and waits follow it.
"""

import asyncio
import contextlib
import datetime as dt
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from drivewake.contracts.subjects import BUCKETS, CONSUMERS, STREAMS, Bucket, Consumer, Stream
from drivewake.runtime.bus import Entry, Handler, Message, PublishAck, StoredMessage
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    ConflictError,
    NotFoundError,
)
from drivewake.runtime.logging import get_logger
from drivewake.runtime.memory_stream import MemoryConsumer, MemoryStream, Schedule, matches
from drivewake.runtime.telemetry import traceparent

MAX_BATCH: Final = 1000
OPERATION: Final = "KV-Operation"

_log = get_logger(__name__)


class MemoryBus:
    """Every port of `bus`, and the Provisioner; made with all of `contracts` unless told not to."""

    def __init__(self, *, clock: Clock | None = None, provisioned: bool = True) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[str, MemoryStream] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._endpoints: dict[str, tuple[Handler, asyncio.Semaphore, str]] = {}
        self._rings: dict[str, int] = {}
        self._heard: weakref.WeakKeyDictionary[asyncio.Task[Any], dict[str, int]] = (
            weakref.WeakKeyDictionary()
        )
        if provisioned:
            for stream in STREAMS:
                self._make_stream(stream)
            for bucket in BUCKETS:
                self._make_stream(_bucket_stream(bucket))
            for consumer in CONSUMERS:
                self._make_consumer(consumer)

    # -- Provisioner --

    async def ensure_stream(self, stream: Stream, *, replicas: int = 1, scale: float = 1.0) -> None:
        """Create the stream, or bring it to its specification; sizes are not scaled here."""
        del replicas, scale
        self._make_stream(stream)

    async def ensure_bucket(self, bucket: Bucket, *, replicas: int = 1) -> None:
        """Create the bucket, or bring it to its specification."""
        del replicas
        self._make_stream(_bucket_stream(bucket))

    async def ensure_consumer(self, consumer: Consumer) -> None:
        """Create the consumer, or bring it to its specification, keeping its place."""
        self._make_consumer(consumer)

    def _make_stream(self, stream: Stream) -> None:
        if (known := self._streams.get(stream.name)) is not None:
            known.spec = stream
        else:
            self._streams[stream.name] = MemoryStream(stream)

    def _make_consumer(self, spec: Consumer) -> None:
        stream = self._stream(spec.stream)
        consumer = MemoryConsumer(spec, stream)
        consumer.adopt(stream.consumers)
        stream.consumers[spec.name] = consumer

    # -- inside --

    def _stream(self, name: str) -> MemoryStream:
        self._check_open()
        if name not in self._streams:
            raise NotFoundError(f"there is no stream {name}")
        self._fire()
        return self._streams[name]

    def _taking(self, subject: str) -> MemoryStream:
        self._check_open()
        self._fire()
        for stream in self._streams.values():
            if stream.takes(subject):
                return stream
        raise NotFoundError(f"no stream takes {subject}")

    def _check_open(self) -> None:
        if self._closed:
            raise BusUnavailableError("the bus is closed")

    def _fire(self) -> None:
        """Publish what schedules have ripened."""
        now = self._clock.now()
        for stream in self._streams.values():
            for sequence, plan in stream.due(now):
                data = stream.stored[sequence].data
                stream.remove(sequence)
                stream.append([Message(subject=plan.target, data=data)], now, expected_last=None)
                self._notify()

    def _notify(self) -> None:
        """Wake everybody who waits for anything."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def pause(self, until: Sequence[dt.datetime | None]) -> None:
        """Wait for a change, at most until the earliest instant or the next schedule."""
        due = [stream.next_due() for stream in self._streams.values()]
        instants = [instant for instant in (*until, *due) if instant is not None]
        changed = asyncio.create_task(self._changed.wait())
        waits: set[asyncio.Task[Any]] = {changed}
        if instants:
            seconds = (min(instants) - self._clock.now()).total_seconds()
            waits.add(asyncio.create_task(self._clock.sleep(max(seconds, 0.0))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        self._check_open()
        self._fire()

    # -- Publisher --

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Write one message."""
        return self._append(self._taking(message.subject), [message], expected_last)

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Write 1 to 1000 messages of one stream, all or none, next to each other."""
        if not 1 <= len(messages) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages")
        stream = self._taking(messages[0].subject)
        if not stream.spec.atomic or not all(stream.takes(m.subject) for m in messages):
            raise BusError("a batch is for one stream that takes batches")
        ack = self._append(stream, messages, expected_last)
        if ack.duplicate:
            raise ConflictError("the batch holds a duplicate message id")
        return ack

    def _append(
        self, stream: MemoryStream, messages: Sequence[Message], expected_last: int | None
    ) -> PublishAck:
        parent = traceparent()
        if parent is not None:
            messages = [
                Message(
                    subject=m.subject,
                    data=m.data,
                    id=m.id,
                    headers={"traceparent": parent, **m.headers},
                )
                for m in messages
            ]
        ack = stream.append(messages, self._clock.now(), expected_last=expected_last)
        self._notify()
        return ack

    # -- Scheduler --

    async def schedule(self, slot: str, target: str, at: dt.datetime, data: bytes) -> None:
        """Publish `data` on `target` at `at` (a past instant: now). A slot holds one schedule."""
        stream = self._taking(slot)
        if not stream.spec.schedules or not stream.takes(target) or slot == target:
            raise BusError("slot and target are two subjects of one stream with schedules")
        await self.cancel(slot)
        ack = self._append(stream, [Message(subject=slot, data=data)], None)
        stream.schedules[ack.sequence] = Schedule(at=at, target=target)
        self._fire()
        self._notify()

    async def cancel(self, slot: str) -> None:
        """Remove what waits in the slot, if anything."""
        stream = self._taking(slot)
        if (waiting := stream.newest(slot)) is not None:
            stream.remove(waiting.sequence)

    # -- StreamReader --

    async def last(self, stream: str, subject: str = ">") -> StoredMessage | None:
        """Return the newest message on a subject (wildcards allowed), None if there is none."""
        return self._stream(stream).newest(subject)

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message ever written, 0 in a virgin stream."""
        return self._stream(stream).last_sequence

    async def follow(
        self, stream: str, *, subject: str = ">", from_sequence: int = 1, latest: bool = False
    ) -> AsyncIterator[StoredMessage | None]:
        """Yield messages from a sequence on, then new ones for ever."""
        source = self._stream(stream)
        seen = source.last_sequence if latest else from_sequence - 1
        if latest:
            first = source.newest_by_subject(subject)
        else:
            first = list(source.after(seen, [subject]))
            seen = max(seen, source.last_sequence)
        for stored in first:
            yield stored
        yield None
        while True:
            fresh = list(source.after(seen, [subject]))
            seen = max(seen, source.last_sequence)
            for stored in fresh:
                yield stored
            if not fresh:
                await self.pause([])

    # -- Requester --

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Return the answer; BusUnavailableError without one in time or without a responder."""
        self._check_open()
        for pattern, (handler, slots, name) in self._endpoints.items():
            if matches(pattern, subject):
                break
        else:
            raise BusUnavailableError(f"nobody answers on {subject}")

        async def answer() -> bytes:
            async with slots:
                return await handler(subject, data)

        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(asyncio.ensure_future(answer()))
        except TimeoutError:
            raise BusUnavailableError("no answer in time") from None
        except Exception:
            _log.exception("a handler failed", action="rpc_failed", endpoint=name)
            raise BusError("the responder failed (500)") from None

    async def serve(self, name: str, subject: str, handler: Handler, *, concurrency: int) -> None:
        """Answer requests until the bus closes, at most `concurrency` at a time."""
        self._check_open()
        self._endpoints[subject] = (handler, asyncio.Semaphore(concurrency), name)

    # -- Doorbell --

    async def ring(self, subject: str) -> None:
        """Nudge whoever waits. Never raises for want of a broker."""
        self._rings[subject] = self._rings.get(subject, 0) + 1
        self._notify()

    async def wait(self, subject: str, timeout_s: float) -> bool:
        """Return True as soon as the bell rang since the last wait, False after the timeout."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("wait belongs into a task")
        heard = self._heard.setdefault(task, {})
        before = heard.get(subject, self._rings.get(subject, 0))
        deadline = self._clock.now() + dt.timedelta(seconds=timeout_s)
        while self._rings.get(subject, 0) == before and self._clock.now() < deadline:
            await self.pause([deadline])
        heard[subject] = self._rings.get(subject, 0)
        return heard[subject] > before

    # -- Bus --

    async def puller(self, consumer: Consumer) -> "MemoryPuller":
        """Bind to a durable consumer; NotFoundError if it was not provisioned."""
        stream = self._stream(consumer.stream)
        if consumer.name not in stream.consumers:
            raise NotFoundError(f"there is no consumer {consumer.name}")
        return MemoryPuller(self, self._clock, stream, consumer.name)

    async def key_value(self, bucket: Bucket) -> "MemoryKeyValue":
        """Bind to a bucket; NotFoundError if it was not provisioned."""
        self._stream(bucket.stream)
        return MemoryKeyValue(self, bucket)

    async def close(self) -> None:
        """End everything bound to this bus."""
        self._closed = True
        self._endpoints.clear()
        self._notify()


def _bucket_stream(bucket: Bucket) -> Stream:
    return Stream(
        name=bucket.stream,
        subjects=(f"$KV.{bucket.name}.>",),
        description=bucket.description,
        max_msgs_per_subject=bucket.history,
    )


class MemoryDelivery:
    """A message taken from a consumer."""

    def __init__(
        self,
        bus: MemoryBus,
        clock: Clock,
        consumer: MemoryConsumer,
        taken: tuple[StoredMessage, int],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._consumer = consumer
        self._stored, self.deliveries = taken
        self._settled = False

    @property
    def subject(self) -> str:
        """Subject it was published on."""
        return self._stored.subject

    @property
    def data(self) -> bytes:
        """Payload."""
        return self._stored.data

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the sender gave."""
        return self._stored.headers

    @property
    def stream_sequence(self) -> int:
        """Its place in the stream."""
        return self._stored.sequence

    async def ack(self, *, confirm: bool = False) -> None:
        """Settle: the effect is durable."""
        del confirm
        if not self._settled:
            self._consumer.settle(self._stored.sequence)
        self._settled = True

    async def nak(self, delay_s: float) -> None:
        """Give back, to be delivered again after a delay."""
        if not self._settled:
            at = self._clock.now() + dt.timedelta(seconds=delay_s)
            self._consumer.later(self._stored.sequence, at)
            self._bus._notify()
        self._settled = True

    async def term(self, reason: str) -> None:
        """Give up on it: never deliver again."""
        _log.warning("a message was given up", action="message_terminated", reason=reason)
        await self.ack()

    async def in_progress(self) -> None:
        """Restart the consumer's `ack_wait_s` for this message."""
        wait = dt.timedelta(seconds=self._consumer.spec.ack_wait_s)
        if not self._settled:
            self._consumer.later(self._stored.sequence, self._clock.now() + wait)


class MemoryPuller:
    """Pulls from one durable consumer."""

    def __init__(self, bus: MemoryBus, clock: Clock, stream: MemoryStream, name: str) -> None:
        self._bus = bus
        self._clock = clock
        self._stream = stream
        self._name = name
        self._closed = False

    async def fetch(self, max_messages: int, max_wait_s: float) -> Sequence[MemoryDelivery]:
        """Return 1 to `max_messages` as soon as some are there, none after `max_wait_s`."""
        deadline = self._clock.now() + dt.timedelta(seconds=max_wait_s)
        while True:
            if self._closed:
                raise BusUnavailableError("this puller is closed")
            self._bus._stream(self._stream.spec.name)
            consumer = self._stream.consumers[self._name]
            now = self._clock.now()
            if taken := consumer.take(max_messages, now):
                return [MemoryDelivery(self._bus, self._clock, consumer, one) for one in taken]
            if now >= deadline:
                return []
            await self._bus.pause([deadline, consumer.next_due()])

    async def reset(self) -> None:
        """Forget what is pending: all unacknowledged messages come again, in order."""
        self._stream.consumers[self._name].reset()
        self._bus._notify()

    async def close(self) -> None:
        """Stop pulling; what was fetched and not settled comes again."""
        self._closed = True
        self._bus._notify()


class MemoryKeyValue:
    """One bucket, by compare-and-set."""

    def __init__(self, bus: MemoryBus, bucket: Bucket) -> None:
        self._bus = bus
        self._stream = bucket.stream
        self._base = f"$KV.{bucket.name}."

    def _entry(self, stored: StoredMessage) -> Entry:
        deleted = OPERATION in stored.headers
        return Entry(
            key=stored.subject.removeprefix(self._base),
            value=None if deleted else stored.data,
            revision=stored.sequence,
        )

    async def get(self, key: str) -> Entry | None:
        """Return the current value, None if the key is absent or deleted."""
        stored = self._bus._stream(self._stream).newest(self._base + key)
        entry = self._entry(stored) if stored is not None else None
        return entry if entry is not None and entry.value is not None else None

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """Write if the key's revision is `revision` (0: absent or deleted)."""
        return await self._write(key, value, revision, {})

    async def delete(self, key: str, *, revision: int) -> None:
        """Delete if the key's revision is `revision`, else ConflictError."""
        if revision or await self.get(key) is not None:
            await self._write(key, b"", revision, {OPERATION: "DEL"})

    async def _write(self, key: str, value: bytes, revision: int, headers: dict[str, str]) -> int:
        entry = await self.get(key)
        found = entry.revision if entry is not None else 0
        if found != revision:
            raise ConflictError(f"revision {revision} expected, {found} found")
        message = Message(subject=self._base + key, data=value, headers=headers)
        return (await self._bus.publish(message)).sequence

    async def watch(self, pattern: str = ">") -> AsyncIterator[Entry | None]:
        """Yield the current entries, then None once, then every change for ever."""
        current = True
        messages = self._bus.follow(self._stream, subject=self._base + pattern, latest=True)
        async with contextlib.aclosing(messages):  # type: ignore[type-var]
            async for stored in messages:
                if stored is None:
                    current = False
                    yield None
                    continue
                entry = self._entry(stored)
                if not (current and entry.value is None):
                    yield entry
