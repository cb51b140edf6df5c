"""What a push means and what it is answered: no I/O, the clock passed in.

Which channels should live is decided in `plan`.
"""

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

import msgspec

from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.contracts.records import ChannelRecord
from drivewake.webhook.tokens import Keyring, Kind, Subject

SECURITY_HEADERS: Final = {
    b"x-goog-channel-id",
    b"x-goog-channel-token",
    b"x-goog-message-number",
    b"x-goog-resource-id",
    b"x-goog-resource-state",
}
"""Servers let the last of two equal headers win: of these a second one is refused."""
MAX_HEADER_BYTES: Final = 512
MAX_NUMBER_DIGITS: Final = 19
EXPIRY_GRACE: Final = dt.timedelta(hours=2, minutes=15)
"""A clock two hours off must not end a channel early; replay within it costs one poll."""

OK: Final = 200
NO_CONTENT: Final = 204
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
METHOD_NOT_ALLOWED: Final = 405
REQUEST_TIMEOUT: Final = 408
TOO_LARGE: Final = 413
UNAVAILABLE: Final = 503


class InvalidPushError(ValueError):
    """The request is not one that Google sends."""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A notification as Google sends it. `number` 1 with state `sync` opens a channel."""

    subject: Subject
    channel: str
    token: str
    resource: str
    state: str
    number: int
    kind: Kind = "drive"


@lru_cache(maxsize=16_384)
def read_subject(path: str) -> Subject:
    """Return the log of a path `/T/C/L`, or with a slash at its end; raises InvalidPushError."""
    match path.removesuffix("/").split("/"):
        case "", tenant, connection, log:
            try:
                return Subject(checked(tenant), checked(connection), checked(log))
            except InvalidIdError as error:
                raise InvalidPushError("an id is not one of ours") from error
    raise InvalidPushError("the path does not name a log")


def read_push(path: str, headers: Iterable[tuple[bytes, bytes]], kind: Kind = "drive") -> Push:
    """Return the push in a request's path and headers (names in lower case).

    Raises InvalidPushError for a missing, doubled, overlong or non-printable header, a
    message number that is no plain number, or ids that are none.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name not in SECURITY_HEADERS:
            continue
        if name in found:
            raise InvalidPushError("a security header stands there twice")
        if len(value) > MAX_HEADER_BYTES or not value.isascii():
            raise InvalidPushError("a security header is too long or not ASCII")
        text = value.decode("ascii")
        if not text.isprintable():
            raise InvalidPushError("a security header holds control characters")
        found[name] = text
    number = found.get(b"x-goog-message-number", "")
    if not number.isdigit() or len(number) > MAX_NUMBER_DIGITS:
        raise InvalidPushError("the message number is not a number")
    try:
        return Push(
            subject=read_subject(path),
            channel=checked(found.get(b"x-goog-channel-id", "")),
            token=found.get(b"x-goog-channel-token", ""),
            resource=found.get(b"x-goog-resource-id", ""),
            state=found.get(b"x-goog-resource-state", ""),
            number=int(number),
            kind=kind,
        )
    except InvalidIdError as error:
        raise InvalidPushError("an id is not one of ours") from error


Verdict = Literal["poke", "forged", "unknown", "expired", "stopped", "orphan", "look_up"]
"""What a push is; `look_up`: genuine, and its record should be read before it is judged."""

ANSWERS: Final[dict[Verdict, int]] = {
    "poke": OK,
    "forged": UNAUTHORIZED,
    "unknown": NOT_FOUND,
    "expired": NOT_FOUND,
    "stopped": NOT_FOUND,
    "orphan": NOT_FOUND,
    "look_up": UNAVAILABLE,
}


def judge(
    push: Push, record: ChannelRecord | None, keys: Keyring, now: dt.datetime, *, looked_up: bool
) -> Verdict:
    """Return what a push is, given what is known of its channel.

    The token is checked whatever is known, so that the time taken tells nothing. Nothing
    is looked up for a token that is not ours. States that we do not know are pokes too.
    """
    expires_at = keys.verify(push.token, push.subject, push.channel, push.kind)
    if expires_at is None:
        return "unknown" if record is None else "forged"
    if expires_at + EXPIRY_GRACE < now:
        return "expired"
    if record is None:
        return "orphan" if looked_up else "look_up"
    if record.resource and record.resource != push.resource:
        return "forged"
    if record.status == "refused":
        # Google opened it after all, and we never heard.
        return "orphan"
    return "stopped" if record.status == "stopped" else "poke"
