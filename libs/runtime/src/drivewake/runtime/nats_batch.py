"""The wire form of an atomic batch, all of its messages but the last in one piece.

nats-py has no batches and takes some 15 µs to publish one message with headers, most of it
checks and small writes; a batch of a thousand is one write here. The last message is an
ordinary request: its answer is the batch's acknowledgement. NATS protocol: HPUB
(docs.nats.io/reference/reference-protocols/nats-protocol); batches: ADR-50.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusError, TooLargeError
from drivewake.runtime.telemetry import with_traceparent

MSG_ID: Final = "Nats-Msg-Id"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
_SUBJECT: Final = re.compile(r"[^\s*>]+")
_NAME: Final = re.compile(r"[!-9;-~]+")
_LINE_ENDS: Final = str.maketrans({"\r": " ", "\n": " "})


def headers_of(message: Message) -> dict[str, str]:
    """Return a message's headers as they go out: with its id and the current span."""
    headers = with_traceparent(message.headers)
    if message.id:
        headers[MSG_ID] = message.id
    return headers


def headers_of_many() -> Callable[[Message], Mapping[str, str]]:
    """Return `headers_of` for many messages: the current span is asked for once."""
    span = with_traceparent({})

    def headers(message: Message) -> Mapping[str, str]:
        if not span and not message.id:
            return message.headers
        found = {**span, **message.headers}
        if message.id:
            found[MSG_ID] = message.id
        return found

    return headers


def frames(
    messages: Sequence[Message],
    *,
    batch: str,
    subject: Callable[[str], str],
    headers: Callable[[Message], Mapping[str, str]],
    first: Mapping[str, str],
    max_payload_bytes: int,
) -> bytes:
    """Return messages as members 1, 2 … of a batch; `first` are headers of the first alone.

    Raises TooLargeError, and BusError for a subject or header that cannot be sent.
    """
    parts: list[bytes] = []
    for number, message in enumerate(messages, 1):
        own = {**headers(message), **first} if number == 1 else headers(message)
        head = (
            f"NATS/1.0\r\n{BATCH_ID}: {batch}\r\n{BATCH_SEQUENCE}: {number}\r\n{_lines(own)}\r\n"
        ).encode()
        data = message.data
        size_bytes = len(head) + len(data)
        if size_bytes > max_payload_bytes:
            raise TooLargeError
        name = _sound(subject(message.subject))
        parts += (f"HPUB {name} {len(head)} {size_bytes}\r\n".encode(), head, data, b"\r\n")
    return b"".join(parts)


def _lines(headers: Mapping[str, str]) -> str:
    lines = ""
    for name, value in headers.items():
        clean = value.translate(_LINE_ENDS) if "\n" in value or "\r" in value else value
        lines += f"{_named(name)}: {clean}\r\n"
    return lines


@lru_cache(maxsize=256)
def _named(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise BusError(f"not a header: {name!r}")
    return name


@lru_cache(maxsize=16_384)
def _sound(subject: str) -> str:
    if _SUBJECT.fullmatch(subject) is None:
        raise BusError(f"not a subject: {subject!r}")
    return subject
