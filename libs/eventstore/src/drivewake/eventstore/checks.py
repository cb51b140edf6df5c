"""What Postgres can never store, found without asking it."""

import uuid
from collections.abc import Iterator
from typing import Final

import msgspec

from drivewake.eventstore.store import Batch, NewEvent

MAX_ID_CHARACTERS: Final = 500
"""Head ids stand in a B-tree, whose entries end at 2,704 bytes; tenant and kind share it."""
MAX_EVENT_BYTES: Final = 768 << 10
"""Data and metadata together: the event must fit into a message of the broker, 1 MiB."""


class Poison(msgspec.Struct, frozen=True):
    """Why a batch can never be stored, and the keys of the events at fault (none: a head)."""

    reason: str
    keys: tuple[uuid.UUID, ...]


def find_poison(batch: Batch) -> Poison | None:
    """Return what is wrong with a batch, None if nothing is.

    Takes microseconds an event: the real adapter asks only after the database has refused.
    """
    faults = [
        (event.key, fault) for event in _events(batch) if (fault := _event_fault(event)) is not None
    ]
    if faults:
        return Poison(faults[0][1], tuple(key for key, _ in faults))
    for text in _texts(batch):
        fault = _text_fault(text)
        if fault is not None:
            return Poison(fault, ())
    return find_oversize(batch)


def find_oversize(batch: Batch) -> Poison | None:
    """Return what is too large in a batch, None if nothing is.

    Postgres would take such an event, but nobody could publish it; and such a head id it
    refuses only by its compressed size. So this is asked before every append.
    """
    large = [
        event.key
        for event in _events(batch)
        if len(event.data) + len(event.metadata) > MAX_EVENT_BYTES
    ]
    if large:
        return Poison(f"an event is larger than {MAX_EVENT_BYTES} bytes", tuple(large))
    if any(len(write.id) > MAX_ID_CHARACTERS for write in batch.heads):
        return Poison(f"a head id is longer than {MAX_ID_CHARACTERS} characters", ())
    return None


def _events(batch: Batch) -> Iterator[NewEvent]:
    yield from batch.events
    yield from (mark.then for mark in batch.marks if mark.then is not None)


def _texts(batch: Batch) -> Iterator[str]:
    for write in batch.heads:
        yield from (write.tenant, write.kind, write.id)
    for mark in batch.marks:
        yield from (mark.tenant, mark.log, mark.fact)
    for cursor in batch.applied:
        yield from (cursor.tenant, cursor.connection, cursor.log, cursor.cursor)


def _event_fault(event: NewEvent) -> str | None:
    for text in (event.tenant, event.connection, event.stream, event.type):
        fault = _text_fault(text)
        if fault is not None:
            return fault
    for document in (event.metadata,) if event.sealed else (event.data, event.metadata):
        fault = _json_fault(document)
        if fault is not None:
            return fault
    if event.occurred_at.tzinfo is None:
        return "occurred_at has no time zone"
    return None


def _text_fault(text: str) -> str | None:
    if "\x00" in text:
        return "a text holds the character U+0000"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text holds half a surrogate pair"
    return None


def _json_fault(document: bytes) -> str | None:
    try:
        document.decode()
        msgspec.json.decode(document)
    except UnicodeDecodeError:
        return "a document is not UTF-8"
    except RecursionError:
        return "a document is nested too deeply"
    except msgspec.DecodeError as error:
        return f"a document is not JSON: {error}"
    return None
