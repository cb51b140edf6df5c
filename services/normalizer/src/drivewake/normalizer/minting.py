"""Turns what was decided into events ready to append: keys, attributes, bytes."""

import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.events import EVENT_SOURCE, SCHEMA_VERSION, EventData, type_of
from drivewake.contracts.keys import Part, event_key
from drivewake.eventstore.store import NewEvent
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import Origin

MAX_DATA_BYTES: Final = 640 << 10
"""Data above this would not fit into a message of 1 MiB together with its envelope and growth."""

_encoder = msgspec.json.Encoder()


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store keeps beside the columns, as `eventstore.codec` lays it down."""

    source: str
    time: dt.datetime
    log: str = ""
    occurredat: dt.datetime | None = None
    cause: str = ""
    schemaversion: int
    traceparent: str | None = None


class Mint:
    """Makes events. `secret` is the deployment's key secret, 16 to 64 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._last: tuple[Origin, dt.datetime | None, bytes] | None = None

    def event(
        self,
        origin: Origin,
        data: EventData,
        *,
        subject: str,
        identity_time: dt.datetime,
        parts: tuple[Part, ...],
        occurred_at: dt.datetime | None = None,
    ) -> NewEvent:
        """Return the event; raises UndecidableError if it is too large to be published."""
        body = _encoder.encode(data)
        if len(body) > MAX_DATA_BYTES:
            raise UndecidableError(
                f"the event has {len(body)} bytes, the limit is {MAX_DATA_BYTES}"
            )
        return NewEvent(
            key=event_key(self._secret, identity_time, *parts),
            tenant=origin.tenant,
            connection=origin.connection,
            stream=subject,
            type=type_of(data),
            occurred_at=occurred_at or origin.observed_at,
            data=body,
            metadata=self._metadata(origin, occurred_at),
        )

    def _metadata(self, origin: Origin, occurred_at: dt.datetime | None) -> bytes:
        # All events of one raw carry the same: encoded once.
        if self._last is None or self._last[0] is not origin or self._last[1] is not occurred_at:
            metadata = _Metadata(
                source=EVENT_SOURCE,
                time=origin.observed_at,
                log=origin.log,
                occurredat=occurred_at,
                cause=origin.cause,
                schemaversion=SCHEMA_VERSION,
                traceparent=origin.traceparent,
            )
            self._last = origin, occurred_at, _encoder.encode(metadata)
        return self._last[2]
