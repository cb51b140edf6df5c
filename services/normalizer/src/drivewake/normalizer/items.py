"""Messages decoded: what each says, and who said it."""

import datetime as dt
from functools import lru_cache
from typing import Final

import msgspec

from drivewake.contracts.connections import CONNECTIONS, Connection
from drivewake.contracts.envelope import Envelope, InvalidMessageError
from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.contracts.raw import RAWS, LogFact, Raw
from drivewake.normalizer.domain.audience import acl_of
from drivewake.normalizer.domain.google import (
    InvalidResourceError,
    decode_change,
    decode_file,
    decode_permissions,
    is_id,
)
from drivewake.normalizer.domain.logs import InvalidFactError, fact_id
from drivewake.normalizer.domain.observation import (
    Glimpsed,
    Gone,
    Observation,
    Seen,
    Shared,
    file_state,
    microseconds,
)
from drivewake.normalizer.domain.parts import Part
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.readings import READERS, checked_item, read_activity, read_drive_change
from drivewake.runtime.bus import Delivery

MAX_AHEAD: Final = dt.timedelta(hours=26)
"""A raw observed further in the future comes from a broken clock: believing it would hide all
that follows. Time zones taken for UTC differ by up to 26 hours."""

_facts = msgspec.json.Decoder(LogFact)


# gc=False, here and on what is made for every raw: frozen and free of cycles, it need not be
# looked through by the collector, which took a tenth of the time of a batch.
class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a message comes from: what its events carry, and what settles it."""

    delivery: Delivery
    tenant: str
    connection: str
    log: str
    cause: str
    observed_at: dt.datetime
    traceparent: str | None
    partition: int = 0


class FileItem(msgspec.Struct, frozen=True, gc=False):
    """An observation of a file; `occurred_at` is Google's own time of the change.

    `cursor` is where the log's changes may be resumed; empty for what was listed.
    """

    origin: Origin
    file: str
    observation: Observation
    occurred_at: dt.datetime | None = None
    cursor: str = ""


class PartItem(msgspec.Struct, frozen=True):
    """An observation of what hangs on a file, of a shared drive, or of what somebody did.

    `cursor` as of a FileItem.
    """

    origin: Origin
    part: Part
    cursor: str = ""


class FactItem(msgspec.Struct, frozen=True):
    """A fact of a whole log, as one partition hears it."""

    origin: Origin
    fact: LogFact


class ConnectionItem(msgspec.Struct, frozen=True):
    """A connection's new state."""

    origin: Origin
    state: Connection


Item = FileItem | PartItem | FactItem | ConnectionItem


class UndecidedError(UndecidableError):
    """An item is dead, but it proves that a file is there."""

    def __init__(self, reason: str, glimpse: FileItem) -> None:
        super().__init__(reason)
        self.glimpse = glimpse


@lru_cache(maxsize=65_536)
def _sound(token: str) -> str:
    return checked(token)


def decode_raw(
    delivery: Delivery, partition: int, now: dt.datetime, body: bytes | None = None
) -> Item:
    """Return what a raw says; raise UndecidableError with the reason if nothing can be told.

    `body` is what a claim in the delivery stands for.
    """
    try:
        envelope = RAWS.decode(delivery.data if body is None else body)
        log, at = envelope.data.log, envelope.data.observed_at
        origin = _origin(delivery, envelope, log, at, partition)
    except (InvalidMessageError, InvalidIdError) as error:
        raise UndecidableError(str(error)) from error
    raw = envelope.data
    if raw.observed_at.tzinfo is None or raw.observed_at - now > MAX_AHEAD:
        raise UndecidableError("observed_at is not an instant, or lies in the future")
    try:
        return _item(origin, raw)
    except InvalidResourceError as error:
        raise UndecidableError(str(error)) from error


def _item(origin: Origin, raw: Raw) -> Item:
    match raw.source:
        case "changes":
            return _change(origin, raw)
        case "snapshot" | "file":
            return _listed(origin, raw)
        case "permissions":
            return _shared(origin, raw)
        case "log":
            return _fact(origin, raw)
        case "activity":
            told = read_activity(raw, origin.tenant, origin.connection)
            return PartItem(origin, told, raw.cursor)
        case _:
            return PartItem(origin, READERS[raw.source](raw))


def decode_connection(delivery: Delivery) -> ConnectionItem:
    """Return a connection's new state; raise UndecidableError."""
    try:
        envelope = CONNECTIONS.decode(delivery.data)
        origin = _origin(delivery, envelope, None, envelope.data.since)
    except (InvalidMessageError, InvalidIdError) as error:
        raise UndecidableError(str(error)) from error
    if envelope.data.since.tzinfo is None:
        raise UndecidableError("since is not an instant")
    return ConnectionItem(origin, envelope.data)


def _origin(
    delivery: Delivery,
    envelope: Envelope[Raw] | Envelope[Connection],
    log: str | None,
    at: dt.datetime,
    partition: int = 0,
) -> Origin:
    return Origin(
        delivery=delivery,
        tenant=_sound(envelope.tenant),
        connection=_sound(envelope.connection),
        log="" if log is None else _sound(log),
        cause=envelope.id,
        observed_at=at,
        traceparent=envelope.traceparent,
        partition=partition,
    )


def _change(origin: Origin, raw: Raw) -> Item:
    at = microseconds(raw.observed_at)
    connection, log = origin.connection, origin.log
    change = decode_change(raw.body)
    if change.change_type == "drive":
        return PartItem(origin, read_drive_change(raw), raw.cursor)
    if change.change_type != "file":
        raise UndecidableError("the change is neither of a file nor of a shared drive")
    checked_item(raw)
    if change.file_id != raw.item:
        raise UndecidableError("the change is of another file than its raw says")
    occurred_at = change.time if change.time is not None and change.time.tzinfo else None
    observation: Observation
    if change.removed:
        observation = Gone(connection=connection, log=log, at=at)
    elif change.file is None or change.file.id != raw.item:
        raise UndecidableError("a change that is no removal carries no file, or another")
    else:
        state = file_state(change.file)
        observation = Seen(connection=connection, log=log, at=at, file=state, snapshot=raw.snapshot)
    return FileItem(origin, raw.item, observation, occurred_at, raw.cursor)


def _listed(origin: Origin, raw: Raw) -> Item:
    connection, log, at = origin.connection, origin.log, microseconds(raw.observed_at)
    try:
        file = decode_file(raw.body)
    except InvalidResourceError as error:
        if not is_id(raw.item):
            raise UndecidableError(str(error)) from error
        glimpse = Glimpsed(connection=connection, log=log, at=at, snapshot=raw.snapshot)
        raise UndecidedError(str(error), FileItem(origin, raw.item, glimpse)) from error
    checked_item(raw)
    if file.id != raw.item:
        raise UndecidableError("the file is another than its raw says")
    state = file_state(file)
    seen = Seen(connection=connection, log=log, at=at, file=state, snapshot=raw.snapshot)
    # A listing's page token says nothing of where the log's changes may be resumed.
    return FileItem(origin, raw.item, seen)


def _shared(origin: Origin, raw: Raw) -> Item:
    checked_item(raw)
    shared = Shared(
        connection=origin.connection,
        log=origin.log,
        at=microseconds(raw.observed_at),
        version=raw.version,
        acl=acl_of(decode_permissions(raw.body)),
    )
    return FileItem(origin, raw.item, shared)


def _fact(origin: Origin, raw: Raw) -> Item:
    try:
        fact = _facts.decode(raw.body)
        fact_id(fact)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidFactError) as error:
        raise UndecidableError(f"not a fact of a log: {error}") from error
    if fact.started_at.tzinfo is None:
        raise UndecidableError("started_at is not an instant")
    return FactItem(origin, fact)
