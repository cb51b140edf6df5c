"""Signal: «look at this log», whoever says it. A hint, never data."""

import datetime as dt
from typing import Literal

import msgspec

from drivewake.contracts.envelope import Codec, Envelope
from drivewake.contracts.ids import new_id

Reason = Literal["push", "timer", "operator", "snapshot"]


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a log should be looked at; `priority` 0 is the most urgent, 9 the least."""

    log: str
    reason: Reason
    requested_at: dt.datetime
    priority: int = 5


SIGNAL_TYPE = "drive.signal"
SIGNALS = Codec(Envelope[Signal])


def signal_message(
    *,
    source: str,
    tenant: str,
    connection: str,
    signal: Signal,
    traceparent: str | None = None,
    id: str = "",  # noqa: A002 - the attribute's name in CloudEvents
) -> bytes:
    """Return a signal ready to publish on `subjects.signal(tenant, connection, signal.log)`.

    `id` names this message; a fresh one is made if none is given.
    """
    return SIGNALS.encode(
        Envelope(
            id=id or new_id(),
            source=source,
            type=SIGNAL_TYPE,
            time=signal.requested_at,
            tenant=tenant,
            connection=connection,
            data=signal,
            traceparent=traceparent,
        )
    )
