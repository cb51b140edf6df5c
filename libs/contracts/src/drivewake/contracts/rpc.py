"""Questions and answers over NATS request/reply."""

import datetime as dt
from typing import Literal

import msgspec


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ask auth for an access token of a connection.

    `public_key` is the caller's Curve25519 key (base64): the token comes sealed to it.
    `rejected` holds the `token_id` that Google answered 401 to, so that auth refreshes.
    """

    tenant: str
    connection: str
    public_key: str
    scopes: tuple[str, ...] = ()
    rejected: str = ""


class TokenReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="token"):
    """A sealed access token (PyNaCl SealedBox, base64) and until when it may be used."""

    sealed: str
    token_id: str
    expires_at: dt.datetime


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """Why auth gives no token; `retry` says whether asking again later can help."""

    code: Literal[
        "unknown_connection",
        "not_active",
        "not_allowed",
        "scope_missing",
        "google_unavailable",
        "grant_dead",
        "invalid_request",
        "internal",
    ]
    reason: str
    retry: bool


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Tell auth what Google said of a grant; auth alone decides the connection's state."""

    tenant: str
    connection: str
    finding: Literal["unauthorized", "blocked", "scope_missing", "grant_dead"]
    reason: str


class ReportReply(msgspec.Struct, frozen=True, kw_only=True, tag="accepted"):
    """The state that the connection has after the report."""

    status: str


TokenAnswer = TokenReply | Refusal
ReportAnswer = ReportReply | Refusal
