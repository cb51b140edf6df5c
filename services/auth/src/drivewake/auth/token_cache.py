"""Access tokens in memory, and only there: who may have them, until when, sealed to whom."""

import base64
import binascii
import datetime as dt
from collections import OrderedDict
from typing import Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from pydantic import SecretStr

from drivewake.auth.domain import Connection
from drivewake.contracts.rpc import TokenReply

MAX_CALLER_KEYS: Final = 32
"""Sealed replies kept for one token; a caller's key lives as long as its process."""

REFRESH_BEFORE_S: Final = 300.0
"""A token is renewed so long before it ends; at most a fifth of its life."""

SAFETY_S: Final = 30.0
"""Callers are told that a token ends so long before it does, at most a tenth of its life."""


class BadKeyError(ValueError):
    """The caller's public key is not one."""


class CachedToken:
    """One access token with what has to be known to hand it out.

    Its own expiry runs on the monotonic clock: a wall clock that jumps ends no token early.
    """

    __slots__ = (
        "_sealed",
        "_secret",
        "connection",
        "expires_at",
        "fresh_until_s",
        "scopes",
        "token_id",
    )  # fmt: skip

    def __init__(
        self,
        secret: SecretStr,
        *,
        token_id: str,
        connection: Connection,
        scopes: frozenset[str],
        lifetime_s: float,
        now: dt.datetime,
        monotonic_s: float,
    ) -> None:
        self._secret = secret
        self._sealed: OrderedDict[str, bytes] = OrderedDict()
        self.token_id = token_id
        self.connection = connection
        self.scopes = scopes
        self.fresh_until_s = monotonic_s + lifetime_s - min(REFRESH_BEFORE_S, lifetime_s / 5)
        safe_s = lifetime_s - min(SAFETY_S, lifetime_s / 10)
        self.expires_at = now + dt.timedelta(seconds=safe_s)

    def __repr__(self) -> str:
        return f"CachedToken({self.token_id})"

    def reply_to(self, public_key: str) -> bytes:
        """Return the encoded TokenReply sealed to a key; sealed once a key. BadKeyError."""
        reply = self._sealed.get(public_key)
        if reply is not None:
            self._sealed.move_to_end(public_key)
            return reply
        sealed = _sealed(self._secret, public_key)
        reply = msgspec.json.encode(
            TokenReply(sealed=sealed, token_id=self.token_id, expires_at=self.expires_at)
        )
        self._sealed[public_key] = reply
        if len(self._sealed) > MAX_CALLER_KEYS:
            self._sealed.popitem(last=False)
        return reply


def _sealed(secret: SecretStr, public_key: str) -> str:
    try:
        box = SealedBox(PublicKey(base64.b64decode(public_key, validate=True)))
        return base64.b64encode(box.encrypt(secret.get_secret_value().encode())).decode()
    except (binascii.Error, ValueError, TypeError, CryptoError):
        raise BadKeyError("the public key is not a Curve25519 key in base64") from None


class TokenCache:
    """The tokens of the connections that were asked for most recently, at most `size`.

    A key is tenant and connection: who asks under another tenant finds nothing.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tokens: OrderedDict[tuple[str, str], CachedToken] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, key: tuple[str, str], monotonic_s: float) -> CachedToken | None:
        """Return the token of a connection while it is fresh."""
        token = self._tokens.get(key)
        if token is None:
            return None
        if monotonic_s >= token.fresh_until_s:
            del self._tokens[key]
            return None
        self._tokens.move_to_end(key)
        return token

    def put(self, token: CachedToken) -> None:
        """Keep a token in the place of any other of its connection."""
        key = (token.connection.tenant, token.connection.id)
        self._tokens[key] = token
        self._tokens.move_to_end(key)
        if len(self._tokens) > self._size:
            self._tokens.popitem(last=False)

    def clear(self) -> None:
        """Forget all tokens."""
        self._tokens.clear()

    def reject(self, key: tuple[str, str], token_id: str) -> None:
        """Forget the token if it is the one that Google refused."""
        token = self._tokens.get(key)
        if token is not None and token.token_id == token_id:
            del self._tokens[key]

    def overtaken(self, key: tuple[str, str], revision: int) -> None:
        """Forget the token if its connection has moved past the revision it was made at."""
        token = self._tokens.get(key)
        if token is not None and token.connection.revision < revision:
            del self._tokens[key]
