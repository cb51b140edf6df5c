"""Dead letter: a message that a service could not handle, kept whole so that it can be replayed."""

import base64
import datetime as dt

import msgspec

from drivewake.contracts.envelope import InvalidMessageError


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What failed, where and why; `body` is the original message in base64.

    `stream` and `sequence` say where the original stood; replaying publishes `body` on
    `subject` again, which is safe because every effect has a deterministic key. `stream` is
    empty for what never became a message. A body that was too large is cut: `cut_from_bytes`
    and `sha256` are those of the whole.
    """

    service: str
    reason: str
    stream: str
    sequence: int
    subject: str
    body: str
    failed_at: dt.datetime
    headers: dict[str, str] = {}
    traceparent: str = ""
    cut_from_bytes: int = 0
    sha256: str = ""

    def unreplayable(self) -> str:
        """Say why the letter cannot be replayed, "" if it can."""
        if not self.stream:
            return "it never was a message of a stream"
        if self.cut_from_bytes:
            return f"its body was cut from {self.cut_from_bytes} bytes"
        return ""

    def original(self) -> bytes:
        """Return the bytes that could not be handled."""
        return base64.b64decode(self.body)


_decoder = msgspec.json.Decoder(DeadLetter)


def encode_dead(letter: DeadLetter) -> bytes:
    """Return the letter as JSON, for `subjects.dead(service)`."""
    return msgspec.json.encode(letter)


def decode_dead(body: bytes) -> DeadLetter:
    """Return the letter in `body`; raise InvalidMessageError if it is not one."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidMessageError(f"not a dead letter: {error}") from error
