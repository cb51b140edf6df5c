"""Which event a connection's new state is, compared with the last one known."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from drivewake.contracts.connections import Connection, Status
from drivewake.contracts.events import (
    ConnectionBlocked,
    ConnectionDegraded,
    ConnectionEstablished,
    ConnectionReauthorizationRequired,
    ConnectionRestored,
    ConnectionRevoked,
    EventData,
)


class ConnectionHead(msgspec.Struct, frozen=True, kw_only=True):
    """The last state known of a connection; `since` (µs since 1970, UTC) is when it began."""

    status: Status
    revision: int
    since: int


_TROUBLED: Final[Mapping[Status, Callable[..., EventData]]] = {
    "degraded": ConnectionDegraded,
    "reauthorization_required": ConnectionReauthorizationRequired,
    "blocked": ConnectionBlocked,
    "revoked": ConnectionRevoked,
}
_decoder = msgspec.msgpack.Decoder(ConnectionHead)
_encoder = msgspec.msgpack.Encoder()


def encode_connection_head(head: ConnectionHead) -> bytes:
    """Return the head as it is stored."""
    return _encoder.encode(head)


def decode_connection_head(state: bytes) -> ConnectionHead:
    """Return a stored head; raise msgspec.MsgspecError if it is none."""
    return _decoder.decode(state)


def decide_connection(head: ConnectionHead | None, now: Connection) -> EventData | None:
    """Return the event of a connection's new state; None if it is old, or nothing changed.

    `revoking` makes no event: it announces `revoked`, which ends the connection. A connection
    that works again after it was revoked is established anew.
    """
    before = head.status if head is not None else None
    if now.status == before or (head is not None and now.revision <= head.revision):
        return None
    if now.status == "active":
        if before in {None, "revoking", "revoked"}:
            return ConnectionEstablished(scopes=now.scopes)
        return ConnectionRestored(scopes=now.scopes)
    troubled = _TROUBLED.get(now.status)
    return None if troubled is None else troubled(reason=now.reason)
