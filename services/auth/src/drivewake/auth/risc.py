"""Google's security events (cross-account protection): what they say, and what follows. Pure.

Sources: https://developers.google.com/identity/protocols/risc, RFC 8417 (the tokens), RFC 8935
(how they are delivered).
"""

import base64
import binascii
import datetime as dt
import hashlib
from typing import Any, Final

import msgspec
from pydantic import SecretStr

from drivewake.auth.domain import Fact, GrantDied, Reported, Unblocked
from drivewake.auth.errors import UntrustedTokenError
from drivewake.auth.records import Marks

PREFIX_CHARS: Final = 16
MAX_JTI: Final = 256
MAX_EVENTS: Final = 20
GRANTED_LATER: Final = dt.timedelta(minutes=10)
"""An event ends no grant that was given so long after it: clocks differ, events come late."""


class Subject(msgspec.Struct, frozen=True):
    """Whom an event concerns: an account, or a refresh token by its mark, or nobody."""

    account: str = ""
    mark: bytes = b""


class SecurityEvent(msgspec.Struct, frozen=True):
    """One event of a token: its last word (`tokens-revoked`), its reason, whom it concerns."""

    kind: str
    reason: str
    subject: Subject


class SecurityEventToken(msgspec.Struct, frozen=True):
    """A verified token."""

    jti: str
    issued_at: dt.datetime
    events: tuple[SecurityEvent, ...]


def marks_of(token: SecretStr) -> Marks:
    """Return how a refresh token is named in events: no secret, its hashes lead nowhere."""
    raw = token.get_secret_value().encode()
    return Marks(
        prefix=hashlib.sha256(raw[:PREFIX_CHARS]).digest(),
        double=hashlib.sha512(hashlib.sha512(raw).digest()).digest(),
    )


_FACTS: Final[dict[str, Fact]] = {
    "tokens-revoked": GrantDied("Google revoked the tokens"),
    "token-revoked": GrantDied("Google revoked the token"),
    "account-disabled": Reported("blocked", "Google disabled the account"),
    "account-enabled": Unblocked("Google enabled the account again"),
    "sessions-revoked": Reported("unauthorized", "Google ended the account's sessions"),
    "account-credential-change-required": Reported(
        "unauthorized", "Google asks the account for a new password"
    ),
}
_HIJACKED: Final = GrantDied("Google disabled the account: it was hijacked")


def fact_of(event: SecurityEvent) -> Fact | None:
    """Return what an event does to each connection that it concerns, None if nothing."""
    if event.kind == "account-disabled" and event.reason == "hijacking":
        return _HIJACKED
    return _FACTS.get(event.kind)


def token_of(claims: dict[str, Any]) -> SecurityEventToken:
    """Return what verified claims say; raises UntrustedTokenError if they are no such token."""
    jti, issued_s, events = claims.get("jti"), claims.get("iat"), claims.get("events")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI or not jti.isprintable():
        raise UntrustedTokenError("the token has no jti")
    if isinstance(issued_s, bool) or not isinstance(issued_s, int | float):
        raise UntrustedTokenError("the token has no time")
    if not isinstance(events, dict) or not 0 < len(events) <= MAX_EVENTS:
        raise UntrustedTokenError("the token holds no events")
    try:
        issued_at = dt.datetime.fromtimestamp(issued_s, dt.UTC)
    except (OverflowError, ValueError, OSError):
        raise UntrustedTokenError("the token has no time") from None
    return SecurityEventToken(
        jti, issued_at, tuple(_event(name, said) for name, said in events.items())
    )


def _event(name: str, said: object) -> SecurityEvent:
    body = said if isinstance(said, dict) else {}
    reason, subject = body.get("reason"), body.get("subject")
    return SecurityEvent(
        kind=name.rpartition("/")[2][:64],
        reason=reason[:64] if isinstance(reason, str) else "",
        subject=_subject(subject) if isinstance(subject, dict) else Subject(),
    )


def _subject(subject: dict[str, Any]) -> Subject:
    account, token = subject.get("sub"), subject.get("token")
    if isinstance(token, str) and subject.get("token_type") == "refresh_token":
        return Subject(mark=_mark(token, subject.get("token_identifier_alg")))
    return Subject(account=account) if isinstance(account, str) else Subject()


def _mark(token: str, alg: object) -> bytes:
    """Return the mark that a token's name leads to; nothing for a name that is none of ours."""
    if alg == "prefix":
        return hashlib.sha256(token.encode()[:PREFIX_CHARS]).digest()
    if alg != "hash_base64_sha512_sha512":
        return b""
    try:
        return base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return b""
