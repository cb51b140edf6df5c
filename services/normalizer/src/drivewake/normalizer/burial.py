"""What cannot be decoded or decided: kept whole in DRIVE_DEAD, as long as it is the exception."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.dead import DeadLetter
from drivewake.normalizer import metrics
from drivewake.normalizer.limits import DeadBound
from drivewake.normalizer.ports import Graveyard
from drivewake.runtime.bus import Delivery
from drivewake.runtime.clock import Clock
from drivewake.runtime.logging import get_logger

SERVICE: Final = "normalizer"
MAX_BODY_BYTES: Final = 600 << 10
"""Base64 of this, with the rest of the letter, fits into a message of 1 MiB."""
MAX_REASON_CHARS: Final = 500
TRACEPARENT: Final = "traceparent"

_log = get_logger(__name__)


class Corpse(msgspec.Struct, frozen=True):
    """A message that cannot be handled, the stream it stands in, and why."""

    delivery: Delivery
    stream: str
    reason: str


class Burial:
    """Buries messages durably, so that they may be acknowledged."""

    def __init__(self, graveyard: Graveyard, bound: DeadBound, clock: Clock) -> None:
        self._graveyard = graveyard
        self._bound = bound
        self._clock = clock

    def note(self, dead: Sequence[bool], reason: str) -> None:
        """Note messages in order, before any is buried; raises TooManyDeadError."""
        self._bound.note(dead, reason)

    async def bury(self, corpses: Sequence[Corpse]) -> None:
        """Keep the messages as dead letters; raises BusError."""
        if not corpses:
            return
        await self._graveyard.bury([self._letter(corpse) for corpse in corpses])
        metrics.MESSAGES.add(len(corpses), outcome="dead")
        for corpse in corpses:
            _log.error(
                f"a message went to the dead letters: {corpse.reason[:MAX_REASON_CHARS]}",
                action="dead",
                stream=corpse.stream,
                sequence=corpse.delivery.stream_sequence,
            )

    def _letter(self, corpse: Corpse) -> DeadLetter:
        delivery, reason = corpse.delivery, corpse.reason[:MAX_REASON_CHARS]
        data, headers = delivery.data, dict(delivery.headers)
        if len(data) > MAX_BODY_BYTES:
            digest = hashlib.sha256(data).hexdigest()
            reason = f"{reason}; body cut from {len(data)} bytes, sha256 {digest}"
        return DeadLetter(
            service=SERVICE,
            reason=reason,
            stream=corpse.stream,
            sequence=delivery.stream_sequence,
            subject=delivery.subject,
            body=base64.b64encode(data[:MAX_BODY_BYTES]).decode(),
            failed_at=self._clock.now(),
            headers=headers,
            traceparent=headers.get(TRACEPARENT, ""),
        )


DEAD_SUBJECT: Final = subjects.dead(SERVICE)
