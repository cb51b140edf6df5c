"""Dead letters: what a service cannot handle is kept whole, and told to operators.

A letter must fit into one message: a larger body is cut, its size and hash are kept.
"""

import base64
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from drivewake.contracts import subjects
from drivewake.contracts.dead import DeadLetter, encode_dead
from drivewake.runtime.bus import Delivery, Message, Publisher

MAX_BODY_BYTES: Final = 600 << 10
"""Base64 of this, with the rest of the letter, fits into a message of 1 MiB."""
MAX_HEADER_CHARS: Final = 16 << 10
MAX_REASON_CHARS: Final = 500
TRACEPARENT: Final = "traceparent"


class Graveyard(Protocol):
    """Keeps what cannot be handled."""

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters durably; raises BusError: then none may be acknowledged."""
        ...


class BusGraveyard:
    """Dead letters into DRIVE_DEAD."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See Graveyard."""
        for letter in letters:
            message = Message(subject=subjects.dead(letter.service), data=encode_dead(letter))
            await self._publisher.publish(message)


def dead_delivery(
    service: str, stream: str, delivery: Delivery, reason: str, at: dt.datetime
) -> DeadLetter:
    """Return the letter of a message that `service` took from `stream` and cannot handle."""
    return dead_letter(
        service,
        reason,
        at,
        subject=delivery.subject,
        data=delivery.data,
        stream=stream,
        sequence=delivery.stream_sequence,
        headers=delivery.headers,
    )


def dead_letter(
    service: str,
    reason: str,
    at: dt.datetime,
    *,
    subject: str,
    data: bytes,
    stream: str = "",
    sequence: int = 0,
    headers: Mapping[str, str] | None = None,
) -> DeadLetter:
    """Return a letter; `stream` empty: `data` never was a message, it would have become one."""
    kept = dict(headers or {})
    if sum(len(name) + len(value) for name, value in kept.items()) > MAX_HEADER_CHARS:
        kept = {name: value[:200] for name, value in kept.items() if name == TRACEPARENT}
    cut = len(data) > MAX_BODY_BYTES
    return DeadLetter(
        service=service,
        reason=reason[:MAX_REASON_CHARS],
        stream=stream,
        sequence=sequence,
        subject=subject,
        body=base64.b64encode(data[:MAX_BODY_BYTES]).decode(),
        failed_at=at,
        headers=kept,
        traceparent=kept.get(TRACEPARENT, ""),
        cut_from_bytes=len(data) if cut else 0,
        sha256=hashlib.sha256(data).hexdigest() if cut else "",
    )
