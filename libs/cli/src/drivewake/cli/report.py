"""What `drivewake status` tells, gathered from the broker."""

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS, Status
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.records import LogRecord
from drivewake.contracts.subjects import Consumer, Stream
from drivewake.runtime.errors import BusError, NotFoundError
from drivewake.runtime.nats import NatsBus

STATUS_TIMEOUT_S: Final = 3.0
NEARLY_FULL: Final = 0.8
LAGGING: Final = 10_000
"""Messages that wait for a consumer before it counts as lagging."""

MAX_LOGS: Final = 500
SOME: Final = 3
"""Names in a list that is only an example."""

_HEALTHY: Final[frozenset[Status]] = frozenset({"active", "revoked"})


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """A stream: `messages` held, `bytes` of at most `max_bytes` (0: no limit)."""

    name: str
    messages: int
    bytes: int
    max_bytes: int
    last_sequence: int
    last_at: dt.datetime | None = None


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer: `waiting` messages not yet delivered, `pending` ones not yet acknowledged."""

    name: str
    stream: str
    owner: str
    waiting: int
    pending: int
    redelivered: int


class ConnectionState(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as DRIVE_CONNECTION has it."""

    tenant: str
    connection: str
    status: Status
    since: dt.datetime
    reason: str = ""


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """A log as the poller tells it, or as its record says if no poller answers."""

    tenant: str
    connection: str
    log: str
    kind: str
    state: str
    phase: str
    interval_s: float
    why: str = ""
    failures: int = 0
    last_error: str = ""
    last_success_at: dt.datetime | None = None
    next_poll_at: dt.datetime | None = None
    push: bool = False
    gaps: tuple[str, ...] = ()


class _PollerPage(msgspec.Struct):
    total: int
    logs: list[LogState]
    next: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one look. `wrong` says in words what needs somebody; `poller` answers."""

    at: dt.datetime
    streams: list[StreamState]
    consumers: list[ConsumerState]
    connections: list[ConnectionState]
    logs: list[LogState]
    poller: Literal["answers", "silent"]
    wrong: list[str]


async def gather(bus: NatsBus) -> Report:
    """Ask the broker and the poller. Raises BusUnavailableError if the broker is away."""
    streams, consumers, connections, (poller, logs) = await asyncio.gather(
        _streams(bus), _consumers(bus), _connections(bus), _logs(bus)
    )
    found, missing = streams
    reading, unread = consumers
    wrong = [*_absent("streams", missing), *_absent("consumers", unread)]
    wrong += [*_full(found), *_behind(reading), *_troubled(connections), *_failing(logs)]
    if poller == "silent":
        wrong.append("no poller answers: the logs are shown as their records say")
    return Report(
        at=dt.datetime.now(dt.UTC),
        streams=found,
        consumers=reading,
        connections=sorted(connections, key=lambda c: (c.status == "active", c.tenant)),
        logs=sorted(logs, key=lambda one: (-one.failures, one.tenant, one.connection)),
        poller=poller,
        wrong=wrong,
    )


# -- the broker ------------------------------------------------------------------------------


async def _streams(bus: NatsBus) -> tuple[list[StreamState], list[str]]:
    """Return the streams that are there, and the names of those that are not."""
    found, missing = [], []
    for stream in subjects.STREAMS:
        try:
            found.append(await _stream(bus, stream))
        except NotFoundError:
            missing.append(stream.name)
    return found, missing


async def _stream(bus: NatsBus, stream: Stream) -> StreamState:
    info = await bus.link.api(f"STREAM.INFO.{bus.link.name(stream.name)}")
    state, config = info["state"], info["config"]
    last = str(state.get("last_ts", ""))
    return StreamState(
        name=stream.name,
        messages=state["messages"],
        bytes=state["bytes"],
        max_bytes=max(config.get("max_bytes", 0), 0),
        last_sequence=state["last_seq"],
        last_at=_instant(last) if state["last_seq"] else None,
    )


def _instant(text: str) -> dt.datetime:
    """Return an instant of nats-server, which has nanoseconds, in whole seconds."""
    return dt.datetime.fromisoformat(f"{text[:19]}+00:00")


async def _consumers(bus: NatsBus) -> tuple[list[ConsumerState], list[str]]:
    """Return the consumers that are there, and the names of those that are not."""
    found, missing = [], []
    for consumer in subjects.CONSUMERS:
        try:
            found.append(await _consumer(bus, consumer))
        except NotFoundError:
            missing.append(f"{consumer.stream}/{consumer.name}")
    return found, missing


async def _consumer(bus: NatsBus, consumer: Consumer) -> ConsumerState:
    info = await bus.link.api(f"CONSUMER.INFO.{bus.link.name(consumer.stream)}.{consumer.name}")
    return ConsumerState(
        name=consumer.name,
        stream=consumer.stream,
        owner=consumer.owner,
        waiting=info["num_pending"],
        pending=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
    )


async def _connections(bus: NatsBus) -> list[ConnectionState]:
    """Return the current state of every connection."""
    found: list[ConnectionState] = []
    try:
        async for stored in bus.follow(subjects.CONNECTION.name, latest=True):
            if stored is None:
                break
            try:
                envelope = CONNECTIONS.decode(stored.data)
            except InvalidMessageError:
                continue  # a newer auth's: counted by nobody, broken for nobody
            found.append(
                ConnectionState(
                    tenant=envelope.tenant,
                    connection=envelope.connection,
                    status=envelope.data.status,
                    since=envelope.data.since,
                    reason=envelope.data.reason,
                )
            )
    except NotFoundError:
        return []
    return found


# -- logs ------------------------------------------------------------------------------------


async def _logs(bus: NatsBus) -> tuple[Literal["answers", "silent"], list[LogState]]:
    """Return the logs as the poller tells them, else as the records say."""
    decoder = msgspec.json.Decoder(_PollerPage)
    found: list[LogState] = []
    question: dict[str, object] = {"limit": MAX_LOGS}
    try:
        while True:
            body = await bus.request(
                subjects.STATUS_RPC, msgspec.json.encode(question), timeout_s=STATUS_TIMEOUT_S
            )
            page = decoder.decode(body)
            found += page.logs
            if not page.next or not page.logs:
                return "answers", found
            question["after"] = page.next
    except (BusError, msgspec.MsgspecError):
        return "silent", await _records(bus)


async def _records(bus: NatsBus) -> list[LogState]:
    found: list[LogState] = []
    try:
        bucket = await bus.key_value(subjects.LOGS)
    except NotFoundError:
        return []
    async for entry in bucket.watch():
        if entry is None:
            break
        if entry.value is not None:
            found.append(_of_record(msgspec.json.decode(entry.value, type=LogRecord)))
    return found


def _of_record(record: LogRecord) -> LogState:
    held = "stopped" if record.stopped else "paused" if record.paused else record.phase
    return LogState(
        tenant=record.tenant,
        connection=record.connection,
        log=record.log,
        kind=record.kind,
        state="failing" if record.failures and held == record.phase else held,
        phase=record.phase,
        interval_s=record.interval_s,
        failures=record.failures,
        last_error=record.last_error,
        last_success_at=record.last_success_at,
        next_poll_at=record.next_poll_at,
        gaps=tuple(gap.id for gap in record.gaps),
    )


# -- what is wrong ---------------------------------------------------------------------------


def _absent(what: str, names: Sequence[str]) -> Iterable[str]:
    if names:
        some = ", ".join(names[:SOME]) + (", …" if len(names) > SOME else "")
        yield f"{len(names)} {what} do not exist ({some}): run `drivewake provision`"


def _full(streams: Sequence[StreamState]) -> Iterable[str]:
    for stream in streams:
        if stream.max_bytes and stream.bytes > NEARLY_FULL * stream.max_bytes:
            yield f"{stream.name} is {stream.bytes / stream.max_bytes:.0%} full"


def _behind(consumers: Sequence[ConsumerState]) -> Iterable[str]:
    for consumer in consumers:
        if consumer.waiting > LAGGING:
            yield f"{consumer.name} is {consumer.waiting} messages behind in {consumer.stream}"


def _troubled(connections: Sequence[ConnectionState]) -> Iterable[str]:
    for one in connections:
        if one.status not in _HEALTHY:
            yield f"connection {one.connection} of {one.tenant} is {one.status}: {one.reason}"


def _failing(logs: Sequence[LogState]) -> Iterable[str]:
    for one in logs:
        if one.state == "failing":
            times = f"{one.failures} times in a row"
            yield f"log {one.log} of {one.connection} fails, {times}: {one.last_error}"
        if one.gaps:
            yield f"log {one.log} of {one.connection} has an open gap"
