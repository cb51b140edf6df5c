"""Streams and consumers in memory, with the semantics of JetStream that services rely on."""

import datetime as dt
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from drivewake.contracts.subjects import Consumer, Stream
from drivewake.runtime.bus import Message, Progress, PublishAck, StoredMessage
from drivewake.runtime.errors import ConflictError, StreamFullError, TooLargeError

MAX_PAYLOAD_BYTES: Final = 1 << 20
MSG_ID: Final = "Nats-Msg-Id"


def matches(pattern: str, subject: str) -> bool:
    """Return whether a subject is one of a pattern (`*` one token, `>` one or more)."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, want in enumerate(wanted):
        if want == ">":
            return len(tokens) > index
        if index >= len(tokens) or want not in {"*", tokens[index]}:
            return False
    return len(wanted) == len(tokens)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot holds: `data` goes to `target` at `at`."""

    at: dt.datetime
    target: str


class MemoryStream:
    """One stream. `stored` is in order of sequence; nothing here waits."""

    def __init__(self, spec: Stream) -> None:
        self.spec = spec
        self.last_sequence = 0
        self.stored: dict[int, StoredMessage] = {}
        self.schedules: dict[int, Schedule] = {}
        self.consumers: dict[str, MemoryConsumer] = {}
        self._by_subject: dict[str, deque[int]] = {}
        self._bytes = 0
        self._ids: dict[str, tuple[int, dt.datetime]] = {}

    def takes(self, subject: str) -> bool:
        """Return whether this stream stores messages of a subject."""
        return any(matches(pattern, subject) for pattern in self.spec.subjects)

    def append(
        self, messages: Sequence[Message], now: dt.datetime, *, expected_last: int | None
    ) -> PublishAck:
        """Store all messages or none."""
        self.check_last(expected_last)
        self._check_size(messages)
        for message in messages:
            self._store(message, now)
        self._trim()
        return PublishAck(stream=self.spec.name, sequence=self.last_sequence)

    def check_last(self, expected: int | None) -> None:
        """Raise ConflictError if the stream's last sequence is not the expected one."""
        if expected is not None and expected != self.last_sequence:
            raise ConflictError(f"wrong last sequence: {self.last_sequence}")

    def duplicate(self, message: Message) -> int | None:
        """Return where a message with the same id stands, if it came within the window."""
        known = self._ids.get(message.id) if message.id else None
        return known[0] if known is not None else None

    def _check_size(self, messages: Sequence[Message]) -> None:
        if any(len(message.data) > MAX_PAYLOAD_BYTES for message in messages):
            raise TooLargeError
        size = sum(len(message.data) + len(message.subject) for message in messages)
        full = self.spec.max_bytes and self._bytes + size > self.spec.max_bytes
        if full and self.spec.discard == "new":
            raise StreamFullError

    def _store(self, message: Message, now: dt.datetime) -> None:
        self.last_sequence += 1
        headers = dict(message.headers)
        if message.id:
            headers[MSG_ID] = message.id
            self._ids[message.id] = (self.last_sequence, now)
        stored = StoredMessage(
            subject=message.subject,
            data=message.data,
            headers=headers,
            sequence=self.last_sequence,
            time=now,
        )
        self.stored[stored.sequence] = stored
        self._bytes += len(stored.data) + len(stored.subject)
        sequences = self._by_subject.setdefault(stored.subject, deque())
        sequences.append(stored.sequence)
        most = self.spec.max_msgs_per_subject
        while most and len(sequences) > most:
            self.remove(sequences[0])

    def _trim(self) -> None:
        """Drop the oldest while the stream is over its size."""
        while self.spec.max_bytes and self._bytes > self.spec.max_bytes and self.stored:
            self.remove(next(iter(self.stored)))

    def expire(self, now: dt.datetime) -> None:
        """Drop what is too old, and message ids out of the duplicate window."""
        window = dt.timedelta(seconds=self.spec.duplicate_window_s)
        while self._ids and next(iter(self._ids.values()))[1] + window <= now:
            del self._ids[next(iter(self._ids))]
        age = dt.timedelta(seconds=self.spec.max_age_s)
        while age and self.stored and next(iter(self.stored.values())).time + age <= now:
            self.remove(next(iter(self.stored)))

    def remove(self, sequence: int) -> None:
        """Delete one message, wherever it waits."""
        stored = self.stored.pop(sequence, None)
        if stored is None:
            return
        self.schedules.pop(sequence, None)
        self._bytes -= len(stored.data) + len(stored.subject)
        sequences = self._by_subject[stored.subject]
        sequences.remove(sequence)
        if not sequences:
            del self._by_subject[stored.subject]
        for consumer in self.consumers.values():
            consumer.forget(sequence)

    def trim(self, patterns: Sequence[str], sequence: int) -> int:
        """Drop what matches one of the patterns up to a sequence; return how many."""
        gone = [
            number
            for number, stored in self.stored.items()
            if number <= sequence and any(matches(each, stored.subject) for each in patterns)
        ]
        for number in gone:
            self.remove(number)
        return len(gone)

    @property
    def fullness(self) -> float:
        """Which share of its size is used."""
        return self._bytes / self.spec.max_bytes if self.spec.max_bytes else 0.0

    def newest(self, subject: str) -> StoredMessage | None:
        """Return the newest message of a subject or pattern."""
        if subject in self._by_subject:
            return self.stored[self._by_subject[subject][-1]]
        found = [
            sequences[-1] for name, sequences in self._by_subject.items() if matches(subject, name)
        ]
        return self.stored[max(found)] if found else None

    def newest_by_subject(self, pattern: str) -> list[StoredMessage]:
        """Return the newest message of each matching subject, in order of sequence."""
        found = sorted(
            sequences[-1] for name, sequences in self._by_subject.items() if matches(pattern, name)
        )
        return [self.stored[sequence] for sequence in found]

    def after(self, sequence: int, patterns: Sequence[str]) -> Iterator[StoredMessage]:
        """Yield stored messages behind a sequence that match one of the patterns."""
        if sequence >= self.last_sequence:
            return
        for number, stored in self.stored.items():
            if number > sequence and any(matches(p, stored.subject) for p in patterns):
                yield stored

    def due(self, now: dt.datetime) -> list[tuple[int, Schedule]]:
        """Return the schedules whose time has come, earliest first."""
        ripe = [(number, plan) for number, plan in self.schedules.items() if plan.at <= now]
        return sorted(ripe, key=lambda pair: (pair[1].at, pair[0]))

    def next_due(self) -> dt.datetime | None:
        """Return when the earliest schedule fires."""
        return min((plan.at for plan in self.schedules.values()), default=None)


class MemoryConsumer:
    """A durable consumer: what was delivered and not settled, and since when."""

    def __init__(self, spec: Consumer, stream: MemoryStream) -> None:
        self.spec = spec
        self._stream = stream
        self._cursor = 0
        self._floor = 0
        self._pending: dict[int, dt.datetime] = {}
        self._deliveries: dict[int, int] = {}

    def take(self, most: int, now: dt.datetime) -> list[StoredMessage]:
        """Deliver up to `most` messages."""
        again_at = now + dt.timedelta(seconds=self.spec.ack_wait_s)
        taken: list[StoredMessage] = []
        for sequence in sorted(self._pending):
            if len(taken) == most:
                break
            if self._pending[sequence] > now:
                continue
            if 0 < self.spec.max_deliver <= self._deliveries[sequence]:
                # Exhausted: it stays in the stream for operators, nobody gets it again.
                del self._pending[sequence]
                continue
            taken.append(self._deliver(sequence, again_at))
        room = min(most - len(taken), self.spec.max_ack_pending - len(self._pending))
        if room > 0:
            fresh = self._stream.after(self._cursor, self.spec.filters)
            for stored in [message for message, _ in zip(fresh, range(room), strict=False)]:
                self._cursor = stored.sequence
                taken.append(self._deliver(stored.sequence, again_at))
        return taken

    def progress(self) -> Progress:
        """Say where this consumer stands."""
        waiting = sum(1 for _ in self._stream.after(self._cursor, self.spec.filters))
        return Progress(
            settled_sequence=min(self._pending, default=self._cursor + 1) - 1,
            unsettled=len(self._pending),
            waiting=waiting,
        )

    def deliveries(self, sequence: int) -> int:
        """Return how often a message was delivered."""
        return self._deliveries.get(sequence, 0)

    def _deliver(self, sequence: int, again_at: dt.datetime) -> StoredMessage:
        self._pending[sequence] = again_at
        self._deliveries[sequence] = self._deliveries.get(sequence, 0) + 1
        return self._stream.stored[sequence]

    def next_due(self) -> dt.datetime | None:
        """Return when the next redelivery is due."""
        return min(self._pending.values(), default=None)

    def settle(self, sequence: int) -> None:
        """Never deliver again; a work queue drops the message."""
        if sequence not in self._deliveries:
            return
        self.forget(sequence)
        if self._stream.spec.retention == "workqueue":
            self._stream.remove(sequence)
        self._floor = min(self._pending, default=self._cursor + 1) - 1

    def later(self, sequence: int, at: dt.datetime) -> None:
        """Deliver again at an instant, if it still waits."""
        if sequence in self._pending:
            self._pending[sequence] = at

    def forget(self, sequence: int) -> None:
        """Drop all memory of a message."""
        self._pending.pop(sequence, None)
        self._deliveries.pop(sequence, None)

    def reset(self, from_sequence: int) -> None:
        """Start again behind the last message before which all is settled, or at a sequence."""
        self._floor = min(self._pending, default=self._cursor + 1) - 1
        if from_sequence:
            self._floor = from_sequence - 1
        self._cursor = self._floor
        self._pending.clear()
        self._deliveries.clear()
