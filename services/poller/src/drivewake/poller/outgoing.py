"""What the poller writes: raws in atomic batches, signals now or later, dead letters."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.claims import MAX_PAYLOAD_BYTES
from drivewake.contracts.envelope import HEADERS, Envelope
from drivewake.contracts.ids import PARTITIONS, new_id, partition_of
from drivewake.contracts.raw import RAW_TYPE, RAWS, LogFact, Raw
from drivewake.contracts.records import LogRecord
from drivewake.contracts.signals import Reason, Signal, signal_message
from drivewake.poller.ports import Page, Step
from drivewake.runtime.bus import Message, Publisher, Scheduler
from drivewake.runtime.clock import Clock
from drivewake.runtime.dead import Graveyard, dead_letter
from drivewake.runtime.logging import get_logger
from drivewake.runtime.telemetry import traceparent

SOURCE: Final = "/drivewake/poller"
SERVICE: Final = "poller"
TIMER_PRIORITY: Final = 5
MAX_BATCH: Final = 1000
MAX_BATCH_BYTES: Final = 8 << 20
MAX_RAW_BYTES: Final = 512 << 10
"""A raw above this cannot be published; the broker's limit is 1 MiB with headers."""
MAX_CLAIMED_BYTES: Final = MAX_PAYLOAD_BYTES - (64 << 10)
"""A raw above this cannot be kept as a blob: the limit less room for its envelope."""

_log = get_logger(__name__)
_encoder = msgspec.json.Encoder()


class BusRaws:
    """Raws into DRIVE_RAW: as many as fit go as one atomic batch, in order."""

    def __init__(
        self, publisher: Publisher, graveyard: Graveyard, most_bytes: int = MAX_RAW_BYTES
    ) -> None:
        self._publisher = publisher
        self._graveyard = graveyard
        self._most_bytes = most_bytes

    async def publish(self, record: LogRecord, step: Step, at: dt.datetime) -> int:
        """Publish a step's facts and items; what cannot be routed or is too large is a letter."""
        targets = [
            subjects.raw(partition, record.tenant, record.connection)
            for partition in range(PARTITIONS)
        ]
        parent = traceparent()
        headers = {**HEADERS, "traceparent": parent} if parent else HEADERS
        messages = [
            Message(subject=subject, data=data, headers=headers)
            for partition, data in self._encoded(record, step, at, parent)
            for subject in (targets if partition is None else [targets[partition]])
        ]
        for batch in batches(messages):
            await self._publisher.publish_batch(batch)
        await self._bury(record, step, at)
        return len(messages)

    def _encoded(
        self, record: LogRecord, step: Step, at: dt.datetime, parent: str | None
    ) -> Iterable[tuple[int | None, bytes]]:
        """Yield each raw and its partition, None for all of them."""

        def encode(raw: Raw) -> bytes:
            return RAWS.encode(
                Envelope(
                    id=new_id(),
                    source=SOURCE,
                    type=RAW_TYPE,
                    time=at,
                    tenant=record.tenant,
                    connection=record.connection,
                    data=raw,
                    traceparent=parent,
                )
            )

        for fact in step.before:
            yield None, encode(_fact(record, fact, at))
        for page in step.pages:
            for raw in _items(record, page, self._most_bytes):
                yield partition_of(record.tenant, raw.item), encode(raw)
        for fact in step.after:
            yield None, encode(_fact(record, fact, at))

    async def _bury(self, record: LogRecord, step: Step, at: dt.datetime) -> None:
        """Write a letter for each item that DRIVE_RAW cannot take: never in silence."""
        for page, seen in ((one, seen) for one in step.pages for seen in one.items):
            reason = unroutable(seen.id, seen.body, self._most_bytes)
            if not reason:
                continue
            _log.error("an item went to the dead letters", action="dead", reason=reason)
            letter = dead_letter(
                SERVICE,
                f"{reason}; {page.source} of log {record.log}",
                at,
                subject=subjects.raw(0, record.tenant, record.connection),
                data=bytes(seen.body),
            )
            await self._graveyard.bury([letter])


def _fact(record: LogRecord, fact: LogFact, at: dt.datetime) -> Raw:
    return Raw(
        source="log",
        log=record.log,
        item=record.log,
        observed_at=at,
        body=msgspec.Raw(_encoder.encode(fact)),
        snapshot=fact.snapshot,
    )


def _items(record: LogRecord, page: Page, most_bytes: int) -> Iterable[Raw]:
    for seen in page.items:
        if not unroutable(seen.id, seen.body, most_bytes):
            yield Raw(
                source=page.source,
                log=record.log,
                item=seen.id,
                observed_at=page.observed_at,
                body=seen.body,
                cursor=page.cursor,
                request=page.request,
                snapshot=page.snapshot,
                version=seen.version,
                ordinal=seen.ordinal,
            )


def unroutable(item: str, body: msgspec.Raw, most_bytes: int) -> str:
    """Say why an item cannot become a raw, "" if it can."""
    if not item:
        return "the item has no id"
    size = memoryview(body).nbytes
    return f"the item has {size} bytes, the limit is {most_bytes}" if size > most_bytes else ""


def batches(messages: Sequence[Message]) -> Iterable[Sequence[Message]]:
    """Cut messages into batches that the broker takes at once, in order."""
    start = size = 0
    for index, message in enumerate(messages):
        full = index - start == MAX_BATCH or size + len(message.data) > MAX_BATCH_BYTES
        if index > start and full:
            yield messages[start:index]
            start, size = index, 0
        size += len(message.data)
    if start < len(messages):
        yield messages[start:]


class BusSignals:
    """Signals into DRIVE_SIGNAL, now or by schedule."""

    def __init__(self, publisher: Publisher, scheduler: Scheduler, clock: Clock) -> None:
        self._publisher = publisher
        self._scheduler = scheduler
        self._clock = clock

    async def schedule(self, record: LogRecord, at: dt.datetime) -> None:
        """Let a timer signal come at `at`."""
        log = (record.tenant, record.connection, record.log)
        body = self._message(record, "timer", at, TIMER_PRIORITY, None)
        await self._scheduler.schedule(subjects.schedule(*log), subjects.signal(*log), at, body)

    async def send(self, record: LogRecord, reason: Reason, *, priority: int) -> None:
        """Signal a log now."""
        subject = subjects.signal(record.tenant, record.connection, record.log)
        body = self._message(record, reason, self._clock.now(), priority, traceparent())
        await self._publisher.publish(Message(subject=subject, data=body, headers=HEADERS))

    def _message(
        self, record: LogRecord, reason: Reason, at: dt.datetime, priority: int, parent: str | None
    ) -> bytes:
        return signal_message(
            source=SOURCE,
            tenant=record.tenant,
            connection=record.connection,
            signal=Signal(log=record.log, reason=reason, requested_at=at, priority=priority),
            traceparent=parent,
        )
