"""The bus in memory: the same promises as NATS, within one process and without durability.

For tests and for running everything in one process. Time is the clock's: redeliveries,
schedules and waits follow it.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Sequence

from drivewake.contracts.subjects import BUCKETS, CONSUMERS, STREAMS, Bucket, Consumer, Stream
from drivewake.runtime.bus import (
    MAX_BATCH,
    Delivery,
    Handler,
    Message,
    Progress,
    PublishAck,
    StoredMessage,
)
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.doorbell import Bells
from drivewake.runtime.errors import BusError, BusUnavailableError, ConflictError
from drivewake.runtime.logging import get_logger
from drivewake.runtime.memory_core import Core
from drivewake.runtime.memory_pull import MemoryKeyValue, MemoryPuller, bucket_stream, follow
from drivewake.runtime.memory_stream import Schedule, matches
from drivewake.runtime.telemetry import with_traceparent

_log = get_logger(__name__)


class MemoryBus:
    """Every port of `bus`, and the Provisioner; made with all of `contracts` unless told not to."""

    def __init__(self, *, clock: Clock | None = None, provisioned: bool = True) -> None:
        self._core = Core(clock or SystemClock())
        self._endpoints: dict[str, tuple[Handler, asyncio.Semaphore]] = {}
        self._answers: set[asyncio.Task[bytes]] = set()
        self._bells = Bells()
        if provisioned:
            for stream in (*STREAMS, *(bucket_stream(bucket) for bucket in BUCKETS)):
                self._core.make_stream(stream)
            for consumer in CONSUMERS:
                self._core.make_consumer(consumer)

    # -- Provisioner --

    async def ensure_stream(self, stream: Stream, *, replicas: int = 1, scale: float = 1.0) -> None:
        """Create the stream, or bring it to its specification; sizes are not scaled here."""
        del replicas, scale
        self._core.make_stream(stream)

    async def ensure_bucket(self, bucket: Bucket, *, replicas: int = 1, scale: float = 1.0) -> None:
        """Create the bucket, or bring it to its specification; sizes are not scaled here."""
        del replicas, scale
        self._core.make_stream(bucket_stream(bucket))

    async def ensure_consumer(self, consumer: Consumer) -> None:
        """Create the consumer, or bring it to its specification, keeping its place."""
        self._core.make_consumer(consumer)

    # -- Publisher --

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Write one message."""
        stream = self._core.taking(message.subject)
        stream.check_last(expected_last)
        if (known := stream.duplicate(message)) is not None:
            return PublishAck(stream=stream.spec.name, sequence=known, duplicate=True)
        return self._core.append(stream, [_traced(message)], expected_last)

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Write 1 to 1000 messages of one stream, all or none, next to each other."""
        if not 1 <= len(messages) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages")
        stream = self._core.taking(messages[0].subject)
        if not stream.spec.atomic or not all(stream.takes(m.subject) for m in messages):
            raise BusError("a batch is for one stream that takes batches")
        ids = [message.id for message in messages if message.id]
        if len(set(ids)) < len(ids) or any(stream.duplicate(m) is not None for m in messages):
            raise ConflictError("the batch holds a duplicate message id")
        return self._core.append(stream, [_traced(message) for message in messages], expected_last)

    # -- Acknowledger --

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle many deliveries of this bus at once: their effects are durable."""
        for delivery in deliveries:
            await delivery.ack()

    # -- Scheduler --

    async def schedule(self, slot: str, target: str, at: dt.datetime, data: bytes) -> None:
        """Publish `data` on `target` at `at` (a past instant: now). A slot holds one schedule."""
        stream = self._core.taking(slot)
        if not stream.spec.schedules or not stream.takes(target) or slot == target:
            raise BusError("slot and target are two subjects of one stream with schedules")
        await self.cancel(slot)
        ack = self._core.append(stream, [Message(subject=slot, data=data)], None)
        stream.schedules[ack.sequence] = Schedule(at=at, target=target)
        self._core.fire()
        # Who waits must reckon with this instant too.
        self._core.notify()

    async def cancel(self, slot: str) -> None:
        """Remove what waits in the slot, if anything."""
        stream = self._core.taking(slot)
        if (waiting := stream.newest(slot)) is not None:
            stream.remove(waiting.sequence)

    # -- StreamReader --

    async def last(self, stream: str, subject: str = ">") -> StoredMessage | None:
        """Return the newest message on a subject (wildcards allowed), None if there is none."""
        return self._core.stream(stream).newest(subject)

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message ever written, 0 in a virgin stream."""
        return self._core.stream(stream).last_sequence

    def follow(
        self, stream: str, *, subject: str = ">", from_sequence: int = 1, latest: bool = False
    ) -> AsyncGenerator[StoredMessage | None, None]:
        """Yield messages from a sequence on, then new ones for ever."""
        return follow(
            self._core, stream, subject=subject, from_sequence=from_sequence, latest=latest
        )

    # -- Trimmer --

    async def progress(self, consumer: Consumer) -> Progress:
        """Return where a consumer stands; NotFoundError if it does not exist."""
        return self._core.consumer(consumer).progress()

    async def fullness(self, stream: Stream) -> float:
        """Return which share of its size a stream has used, 0 to 1; 0 if it has no limit."""
        return self._core.stream(stream.name).fullness

    async def trim(self, consumer: Consumer, sequence: int) -> int:
        """Remove what matches the consumer's filters up to a sequence; return how many."""
        return self._core.stream(consumer.stream).trim(consumer.filters, sequence)

    # -- Requester --

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Return the answer; BusUnavailableError without one in time or without a responder."""
        self._core.check_open()
        served = [end for pattern, end in self._endpoints.items() if matches(pattern, subject)]
        if not served:
            raise BusUnavailableError(f"nobody answers on {subject}")
        handler, slots = served[0]

        async def answer() -> bytes:
            async with slots:
                return await handler(subject, data)

        # As over a network: who asks may give up, the handler does not notice.
        task = asyncio.create_task(answer(), name=f"rpc-{subject}")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done() or task.cancelled():
            raise BusUnavailableError("no answer in time")
        if (error := task.exception()) is not None:
            _log.error("a handler failed", action="rpc_failed", subject=subject, exc_info=error)
            raise BusError("the responder failed (500)")
        return task.result()

    async def serve(self, name: str, subject: str, handler: Handler, *, concurrency: int) -> None:
        """Answer requests from now on until the bus closes, at most `concurrency` at a time."""
        del name
        self._core.check_open()
        self._endpoints[subject] = (handler, asyncio.Semaphore(concurrency))

    # -- Doorbell --

    async def ring(self, subject: str) -> None:
        """Nudge whoever waits. Never raises for want of a broker."""
        self._bells.bell(subject).ring()

    async def wait(self, subject: str, timeout_s: float) -> bool:
        """Return True as soon as the bell rang since the last wait, False after the timeout."""
        return await self._bells.bell(subject).wait(timeout_s)

    # -- Bus --

    async def puller(self, consumer: Consumer) -> MemoryPuller:
        """Bind to a durable consumer; NotFoundError if it was not provisioned."""
        stream = self._core.stream(consumer.stream)
        return MemoryPuller(self._core, stream, self._core.consumer(consumer))

    async def key_value(self, bucket: Bucket) -> MemoryKeyValue:
        """Bind to a bucket; NotFoundError if it was not provisioned."""
        self._core.stream(bucket.stream)
        return MemoryKeyValue(self._core, bucket)

    async def check(self) -> None:
        """Return unless the bus is closed."""
        self._core.check_open()

    async def close(self) -> None:
        """End everything bound to this bus."""
        self._core.close()
        for task in self._answers:
            task.cancel()
        self._endpoints.clear()


def _traced(message: Message) -> Message:
    headers = with_traceparent(message.headers)
    return Message(subject=message.subject, data=message.data, headers=headers, id=message.id)
