"""What all parts of the bus in memory share: streams, time, and waking those who wait."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

from drivewake.contracts.subjects import Consumer, Stream
from drivewake.runtime.bus import Message, PublishAck
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import BusUnavailableError, NotFoundError
from drivewake.runtime.memory_stream import MemoryConsumer, MemoryStream


class Core:
    """The state of one bus. Schedules fire whenever anybody looks or waits."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._streams: dict[str, MemoryStream] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def make_stream(self, spec: Stream) -> None:
        """Create a stream, or bring it to its specification."""
        if (known := self._streams.get(spec.name)) is not None:
            known.spec = spec
        else:
            self._streams[spec.name] = MemoryStream(spec)

    def make_consumer(self, spec: Consumer) -> None:
        """Create a consumer, or bring it to its specification, keeping its place."""
        stream = self.stream(spec.stream)
        if (known := stream.consumers.get(spec.name)) is not None:
            known.spec = spec
        else:
            stream.consumers[spec.name] = MemoryConsumer(spec, stream)

    def check_open(self) -> None:
        """Raise BusUnavailableError after `close`."""
        if self._closed:
            raise BusUnavailableError("the bus is closed")

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        self.notify()

    def stream(self, name: str) -> MemoryStream:
        """Return a stream; NotFoundError if there is none of that name."""
        self.check_open()
        if name not in self._streams:
            raise NotFoundError(f"there is no stream {name}")
        self.fire()
        stream = self._streams[name]
        stream.expire(self.clock.now())
        return stream

    def consumer(self, spec: Consumer) -> MemoryConsumer:
        """Return a durable consumer; NotFoundError if it was not provisioned."""
        found = self.stream(spec.stream).consumers.get(spec.name)
        if found is None:
            raise NotFoundError(f"there is no consumer {spec.name}")
        return found

    def taking(self, subject: str) -> MemoryStream:
        """Return the stream that stores a subject; NotFoundError without one."""
        self.check_open()
        self.fire()
        for stream in self._streams.values():
            if stream.takes(subject):
                stream.expire(self.clock.now())
                return stream
        raise NotFoundError(f"no stream takes {subject}")

    def append(
        self, stream: MemoryStream, messages: Sequence[Message], expected_last: int | None
    ) -> PublishAck:
        """Store all messages or none, and wake who waits for them."""
        ack = stream.append(messages, self.clock.now(), expected_last=expected_last)
        self.notify()
        return ack

    def fire(self) -> None:
        """Publish what schedules have ripened."""
        now = self.clock.now()
        for stream in self._streams.values():
            for sequence, plan in stream.due(now):
                data = stream.stored[sequence].data
                stream.remove(sequence)
                self.append(stream, [Message(subject=plan.target, data=data)], None)

    def notify(self) -> None:
        """Wake everybody who waits for anything."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def pause(self, until: Sequence[dt.datetime | None]) -> None:
        """Wait for a change, at most until the earliest instant or the next schedule."""
        due = [stream.next_due() for stream in self._streams.values()]
        instants = [instant for instant in (*until, *due) if instant is not None]
        waits: set[asyncio.Task[Any]] = {asyncio.create_task(self._changed.wait())}
        if instants:
            seconds = (min(instants) - self.clock.now()).total_seconds()
            waits.add(asyncio.create_task(self.clock.sleep(max(seconds, 0.0))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        self.check_open()
        self.fire()
