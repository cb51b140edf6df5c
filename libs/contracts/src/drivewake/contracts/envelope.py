"""CloudEvents 1.0 in structured JSON: the one wrapping of every message.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md.
Attribute names are lower-case letters and digits, as the specification asks. Unknown
attributes are ignored, so that a newer sender never breaks an older reader.
"""

import datetime as dt
from typing import Final, Generic, TypeVar

import msgspec

CONTENT_TYPE: Final = "application/cloudevents+json"
HEADERS: Final = {"Content-Type": CONTENT_TYPE}

T = TypeVar("T")


class InvalidMessageError(ValueError):
    """The bytes are not a message of the expected kind; the text says where they differ."""


class Envelope(msgspec.Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """The attributes that every message carries, around its `data`.

    `time` is when the sender wrote it (UTC); `traceparent` follows W3C Trace Context.
    """

    specversion: str = msgspec.field(default="1.0")
    id: str
    source: str
    type: str
    time: dt.datetime
    tenant: str
    connection: str
    data: T
    datacontenttype: str = "application/json"
    subject: str | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        """Refuse another major version of CloudEvents."""
        if not self.specversion.startswith("1."):
            raise ValueError("specversion must be 1.x")


class Codec(Generic[T]):
    """Encodes and decodes envelopes around one type of data; safe to share between tasks."""

    def __init__(self, envelope: type[Envelope[T]]) -> None:
        self._decoder = msgspec.json.Decoder(envelope)
        self._encoder = msgspec.json.Encoder()

    def encode(self, message: Envelope[T]) -> bytes:
        """Return the message as JSON. `specversion` is written although it is a default."""
        body = self._encoder.encode(message)
        return b'{"specversion":"1.0",' + body[1:]

    def decode(self, body: bytes) -> Envelope[T]:
        """Return the message in `body`; raise InvalidMessageError if it is not one."""
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidMessageError(f"not a valid message: {error}") from error
