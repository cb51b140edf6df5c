"""Ports of the message bus. `nats` is the real adapter, `memory` the one for tests.

Both pass the same contract suite (`drivewake.lab.suites.bus`). Every method may raise
BusUnavailableError; other errors of the tree in `errors` are named where they occur.
Objects are safe to share between tasks of one event loop.
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from drivewake.contracts.subjects import Bucket, Consumer, Stream

MAX_BATCH: Final = 1000
"""Most messages of one atomic batch (a limit of nats-server)."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish. `id` becomes Nats-Msg-Id: repeats within the window are dropped."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = {}
    id: str = ""


class PublishAck(msgspec.Struct, frozen=True, kw_only=True):
    """The stream holds the message durably at `sequence` (a batch: its last message)."""

    stream: str
    sequence: int
    duplicate: bool = False


class Publisher(Protocol):
    """Writes to streams. Returning means durable; raising means unknown: publish again."""

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Write one message.

        With `expected_last` it is written only if the stream's last sequence is that one,
        else ConflictError; that is judged before the id, so a writer that repeats itself
        after an unknown outcome looks at the stream first. Raises StreamFullError,
        TooLargeError, NotFoundError (no stream takes the subject).
        """
        ...

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Write 1 to 1000 messages of one stream, all or none, next to each other.

        `expected_last` guards the first of them. A message id that the stream knows refuses
        the whole batch with ConflictError.
        """
        ...


class Delivery(Protocol):
    """One message received. Unsettled, it comes again after the consumer's `ack_wait_s`."""

    @property
    def subject(self) -> str: ...  # noqa: D102 - the attribute's name says it
    @property
    def data(self) -> bytes: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def stream_sequence(self) -> int: ...  # noqa: D102
    @property
    def deliveries(self) -> int: ...  # noqa: D102

    async def ack(self, *, confirm: bool = False) -> None:
        """Settle: the effect is durable. With `confirm`, wait until the broker knows."""
        ...

    async def nak(self, delay_s: float) -> None:
        """Give back, to be delivered again after a delay."""
        ...

    async def term(self, reason: str) -> None:
        """Give up on it: never deliver again, say why in the advisory."""
        ...

    async def in_progress(self) -> None:
        """Restart the consumer's `ack_wait_s` for this message."""
        ...


class Puller(Protocol):
    """Pulls from one durable consumer. Order is the stream's, redeliveries aside."""

    async def fetch(self, max_messages: int, max_wait_s: float) -> Sequence[Delivery]:
        """Return 1 to `max_messages` as soon as some are there, none after `max_wait_s`."""
        ...

    async def reset(self, from_sequence: int = 0) -> None:
        """Forget what is pending: all unacknowledged messages come again, in order.

        With a sequence, all of the stream from there on come again, acknowledged or not.
        """
        ...

    async def close(self) -> None:
        """Stop pulling; what was fetched and not settled comes again."""
        ...


class Acknowledger(Protocol):
    """Settles what was pulled."""

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle many deliveries of this bus at once: their effects are durable.

        As `Delivery.ack`: nobody says whether it arrived, and what did not comes again.
        """
        ...


class Scheduler(Protocol):
    """Delivers a message later, without anybody waiting for it."""

    async def schedule(self, slot: str, target: str, at: dt.datetime, data: bytes) -> None:
        """Publish `data` on `target` at `at` (a past instant: now). A slot holds one schedule.

        `slot` and `target` are subjects of the same stream. Scheduling again replaces.
        """
        ...

    async def cancel(self, slot: str) -> None:
        """Remove what waits in the slot, if anything."""
        ...


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a stream keeps it."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int
    time: dt.datetime


class StreamReader(Protocol):
    """Reads a stream without consuming it."""

    async def last(self, stream: str, subject: str = ">") -> StoredMessage | None:
        """Return the newest message on a subject (wildcards allowed), None if there is none."""
        ...

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message ever written, 0 in a virgin stream."""
        ...

    def follow(
        self, stream: str, *, subject: str = ">", from_sequence: int = 1, latest: bool = False
    ) -> AsyncIterator[StoredMessage | None]:
        """Yield messages from a sequence on, then new ones for ever.

        Yields None once, when all that was there at the start has been yielded. With
        `latest`, starts with only the newest message of each subject. Survives reconnects
        without skipping or repeating. BusError for a work queue, which its consumers alone
        may read, and for a stream that after a reconnect is older than what was yielded.
        """
        ...


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a durable consumer stands, as the broker knows it at this moment.

    Every message of its filters up to the stream sequence `settled_sequence` is settled;
    `unsettled` were delivered and are not, `waiting` were not delivered yet.
    """

    settled_sequence: int
    unsettled: int
    waiting: int


class Trimmer(Protocol):
    """Makes room in a stream that keeps what its consumers have settled."""

    async def progress(self, consumer: Consumer) -> Progress:
        """Return where a consumer stands; NotFoundError if it does not exist."""
        ...

    async def fullness(self, stream: Stream) -> float:
        """Return which share of its size a stream has used, 0 to 1; 0 if it has no limit."""
        ...

    async def trim(self, consumer: Consumer, sequence: int) -> int:
        """Remove what matches the consumer's filters up to a sequence; return how many.

        Whoever asks knows that nobody needs it: the broker does not look at any consumer.
        """
        ...


class Eraser(Protocol):
    """Removes messages for good. Needs the `eraser` user; each method may be repeated."""

    async def erase(self, stream: Stream, sequence: int) -> None:
        """Overwrite and remove one message; nothing happens if it is gone."""
        ...

    async def purge(self, stream: Stream, subject: str) -> int:
        """Remove the messages on a subject (wildcards allowed); return how many."""
        ...

    async def forget(self, bucket: Bucket, key: str) -> None:
        """Remove a key of a bucket with its history; watchers see it deleted."""
        ...


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A key's value and its revision; `value` is None for a deleted key."""

    key: str
    value: bytes | None
    revision: int


class KeyValueReader(Protocol):
    """Reads one bucket."""

    async def get(self, key: str) -> Entry | None:
        """Return the current value from the leader, None if the key is absent or deleted."""
        ...

    def watch(self, pattern: str = ">") -> AsyncIterator[Entry | None]:
        """Yield the current entries, then None once, then every change for ever."""
        ...


class KeyValue(KeyValueReader, Protocol):
    """Reads and writes one bucket by compare-and-set."""

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """Write if the key's revision is `revision` (0: absent or deleted).

        Returns the new revision; raises ConflictError if it is another, StreamFullError if
        the bucket is at its size.
        """
        ...

    async def delete(self, key: str, *, revision: int) -> None:
        """Delete if the key's revision is `revision`, else ConflictError.

        It leaves a marker: StreamFullError if the bucket is at its size.
        """
        ...


Handler = Callable[[str, bytes], Awaitable[bytes]]
"""Answers one request: gets the subject and the payload, returns the answer's payload."""


class Requester(Protocol):
    """Asks and answers over core NATS: at most once, no memory."""

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Return the answer; BusUnavailableError without one in time or without a responder.

        BusError if the responder failed.
        """
        ...

    async def serve(self, name: str, subject: str, handler: Handler, *, concurrency: int) -> None:
        """Answer requests from now on until the bus closes, at most `concurrency` at a time.

        Returns as soon as the broker knows: it is no task that runs for the service's life.
        Replicas that serve the same subject share the requests.
        An exception of the handler is logged and answered with no detail (an error header):
        `request` then raises BusError.
        """
        ...


class Doorbell(Protocol):
    """A nudge that may be lost: whoever waits also polls."""

    async def ring(self, subject: str) -> None:
        """Nudge whoever waits. Never raises for want of a broker."""
        ...

    async def wait(self, subject: str, timeout_s: float) -> bool:
        """Return True as soon as the bell rang since the last wait, False after the timeout."""
        ...


class Bus(Publisher, Acknowledger, Scheduler, StreamReader, Trimmer, Requester, Doorbell, Protocol):
    """All of it, as one connection offers it. Code asks for the narrow ports above."""

    async def puller(self, consumer: Consumer) -> Puller:
        """Bind to a durable consumer; NotFoundError if it was not provisioned."""
        ...

    async def key_value(self, bucket: Bucket) -> KeyValue:
        """Bind to a bucket; NotFoundError if it was not provisioned."""
        ...

    async def check(self) -> None:
        """Return if the broker answers right now, else BusUnavailableError: for readiness."""
        ...

    async def close(self) -> None:
        """Flush and disconnect; everything bound to this bus ends."""
        ...


class Provisioner(Protocol):
    """Creates what services bind to. Idempotent; needs the `provision` user."""

    async def ensure_stream(self, stream: Stream, *, replicas: int, scale: float) -> None:
        """Create the stream, or bring it to its specification; `scale` multiplies its size."""
        ...

    async def ensure_bucket(self, bucket: Bucket, *, replicas: int, scale: float = 1.0) -> None:
        """Create the bucket, or bring it to its specification; `scale` multiplies its size."""
        ...

    async def ensure_consumer(self, consumer: Consumer) -> None:
        """Create the consumer, or bring it to its specification, keeping its place."""
        ...
