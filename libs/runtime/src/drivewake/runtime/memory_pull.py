"""Pullers and buckets of the bus in memory."""

import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from drivewake.contracts.subjects import Bucket, Stream
from drivewake.runtime.bus import Entry, Message, StoredMessage
from drivewake.runtime.errors import BusError, BusUnavailableError, ConflictError
from drivewake.runtime.logging import get_logger
from drivewake.runtime.memory_core import Core
from drivewake.runtime.memory_stream import MemoryConsumer, MemoryStream

OPERATION: Final = "KV-Operation"

_log = get_logger(__name__)


async def follow(
    core: Core, name: str, *, subject: str, from_sequence: int, latest: bool
) -> AsyncGenerator[StoredMessage | None, None]:
    """Yield messages of a stream, None when those at the start are through, then new ones."""
    stream = core.stream(name)
    if stream.spec.retention == "workqueue":
        raise BusError(f"{name} is a work queue: only its consumers read it")
    first = stream.newest_by_subject(subject) if latest else None
    if first is None:
        first = list(stream.after(from_sequence - 1, [subject]))
    seen = max(stream.last_sequence, from_sequence - 1)
    for stored in first:
        yield stored
    yield None
    while True:
        fresh = list(core.stream(name).after(seen, [subject]))
        seen = max(stream.last_sequence, seen)
        for stored in fresh:
            yield stored
        if not fresh:
            await core.pause([])


class MemoryDelivery:
    """A message taken from a consumer."""

    def __init__(self, core: Core, consumer: MemoryConsumer, stored: StoredMessage) -> None:
        self._core = core
        self._consumer = consumer
        self._stored = stored
        self._deliveries = consumer.deliveries(stored.sequence)
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

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included."""
        return self._deliveries

    async def ack(self, *, confirm: bool = False) -> None:
        """Settle: the effect is durable."""
        del confirm
        if not self._settled:
            self._consumer.settle(self._stored.sequence)
            self._core.notify()
        self._settled = True

    async def nak(self, delay_s: float) -> None:
        """Give back, to be delivered again after a delay."""
        if not self._settled:
            self._later(delay_s)
            self._core.notify()
        self._settled = True

    async def term(self, reason: str) -> None:
        """Give up on it: never deliver again."""
        _log.warning("a message was given up", action="message_terminated", reason=reason)
        await self.ack()

    async def in_progress(self) -> None:
        """Restart the consumer's `ack_wait_s` for this message."""
        if not self._settled:
            self._later(self._consumer.spec.ack_wait_s)

    def _later(self, delay_s: float) -> None:
        at = self._core.clock.now() + dt.timedelta(seconds=delay_s)
        self._consumer.later(self._stored.sequence, at)


class MemoryPuller:
    """Pulls from one durable consumer."""

    def __init__(self, core: Core, stream: MemoryStream, consumer: MemoryConsumer) -> None:
        self._core = core
        self._stream = stream
        self._consumer = consumer
        self._closed = False

    async def fetch(self, max_messages: int, max_wait_s: float) -> Sequence[MemoryDelivery]:
        """Return 1 to `max_messages` as soon as some are there, none after `max_wait_s`."""
        clock = self._core.clock
        deadline = clock.now() + dt.timedelta(seconds=max_wait_s)
        while True:
            if self._closed:
                raise BusUnavailableError("this puller is closed")
            # Looking the stream up fires what schedules have ripened.
            self._core.stream(self._stream.spec.name)
            now = clock.now()
            if taken := self._consumer.take(max_messages, now):
                return [MemoryDelivery(self._core, self._consumer, stored) for stored in taken]
            if now >= deadline:
                return []
            await self._core.pause([deadline, self._consumer.next_due()])

    async def reset(self, from_sequence: int = 0) -> None:
        """Forget what is pending: all unacknowledged messages come again, in order."""
        self._consumer.reset(from_sequence)
        self._core.notify()

    async def close(self) -> None:
        """Stop pulling; what was fetched and not settled comes again."""
        self._closed = True
        self._core.notify()


def bucket_stream(bucket: Bucket) -> Stream:
    """Return the stream behind a bucket."""
    return Stream(
        name=bucket.stream,
        subjects=(f"$KV.{bucket.name}.>",),
        description=bucket.description,
        discard="new",
        max_bytes=bucket.max_bytes,
        max_msgs_per_subject=bucket.history,
    )


class MemoryKeyValue:
    """One bucket, by compare-and-set."""

    def __init__(self, core: Core, bucket: Bucket) -> None:
        self._core = core
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
        stored = self._core.stream(self._stream).newest(self._base + key)
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
        return self._core.append(self._core.stream(self._stream), [message], None).sequence

    async def watch(self, pattern: str = ">") -> AsyncGenerator[Entry | None, None]:
        """Yield the current entries, then None once, then every change for ever."""
        current = True
        messages = follow(
            self._core, self._stream, subject=self._base + pattern, from_sequence=1, latest=True
        )
        async with contextlib.aclosing(messages):
            async for stored in messages:
                if stored is None:
                    current = False
                    yield None
                    continue
                entry = self._entry(stored)
                if not (current and entry.value is None):
                    yield entry
