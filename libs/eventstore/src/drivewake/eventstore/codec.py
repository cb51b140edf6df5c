"""Events of the contracts to and from what the store keeps.

The data of an event is stored as the JSON bytes it is published as, and everything that has no
column of its own as the JSON members of `metadata`. So the relay can put a CloudEvent together
by joining bytes, without decoding a thing.
"""

import functools
import uuid

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.events import Event, decode_event
from drivewake.eventstore.store import NewEvent, StoredEvent

_encoder = msgspec.json.Encoder()
_COLUMNS = frozenset({"id", "subject", "type", "tenant", "connection", "data"})
_PLACE = frozenset({"specversion", "datacontenttype", "position", "lane"})
_METADATA_FIELDS = tuple(
    field.encode_name
    for field in msgspec.structs.fields(Event)
    if field.name not in _COLUMNS | _PLACE
)


class _Trace(msgspec.Struct):
    traceparent: str = ""


_trace_decoder = msgspec.json.Decoder(_Trace)


def new_event(event: Event) -> NewEvent:
    """Return the event ready to append; its `id` must be the key, as a UUID in text.

    Position and lane are the store's to give: those of `event` are ignored. Raises
    InvalidIdError if the tenant or the type cannot stand in a subject.
    """
    subjects.event(event.tenant, event.type)  # what could not be published is not stored
    metadata = {
        name: value
        for name in _METADATA_FIELDS
        if (value := getattr(event, name)) is not None and value != ""
    }
    return NewEvent(
        key=uuid.UUID(event.id),
        tenant=event.tenant,
        connection=event.connection,
        stream=event.subject,
        type=event.type,
        occurred_at=event.occurredat or event.time,
        data=_encoder.encode(event.data),
        metadata=_encoder.encode(metadata),
    )


def envelope(stored: StoredEvent) -> bytes:
    """Return the CloudEvent in JSON as downstream receives it."""
    members = stored.metadata.strip()[1:-1]
    return (
        b'{"specversion":"1.0","id":"%b","type":%b,"subject":%b,"datacontenttype":"application/json"'
        b',"lane":%d,"position":%d%b%b,"data":%b}'
    ) % (
        str(stored.key).encode(),
        _shared(stored.type, stored.tenant, stored.connection),
        _encoder.encode(stored.stream),
        stored.lane,
        stored.position,
        b"," if members else b"",
        members,
        stored.data,
    )


def traceparent_of(stored: StoredEvent) -> str:
    """Return the trace that the event belongs to, empty without one."""
    if b'"traceparent"' not in stored.metadata:
        return ""
    return _trace_decoder.decode(stored.metadata).traceparent


def to_event(stored: StoredEvent) -> Event:
    """Return the event of the contracts; raise InvalidMessageError if the row holds none."""
    return decode_event(envelope(stored))


@functools.lru_cache(maxsize=4096)
def _shared(event_type: str, tenant: str, connection: str) -> bytes:
    """Return what many envelopes have in common, as JSON from within the type's member."""
    return b'%b,"tenant":%b,"connection":%b' % (
        _encoder.encode(event_type),
        _encoder.encode(tenant),
        _encoder.encode(connection),
    )
