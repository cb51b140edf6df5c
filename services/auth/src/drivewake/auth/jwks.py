"""An issuer's published signing keys: kept for an hour, asked for again when one is new.

Whoever sends us tokens chooses the key id in them, so how often the issuer is asked does not
depend on what is sent: at most once in `KEYS_MIN_AGE_S`, one question at a time. Keys that the
issuer once published are believed for a day while it does not answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import jwt
import msgspec

from drivewake.auth.errors import AuthError, IssuerUnavailableError, UntrustedTokenError

KEYS_MAX_AGE_S: Final = 3600.0
KEYS_MIN_AGE_S: Final = 60.0
KEYS_LAST_RESORT_S: Final = 86_400.0
RETRY_S: Final = 1.0
MAX_KEYS: Final = 64
ASYMMETRIC: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""A key set may hold no shared secret: whoever can check could then sign."""

FORBIDDEN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "crit")
"""Where a token would tell us itself what to check it with."""


class KeySet:
    """The keys of one issuer, for these algorithms alone.

    `fetch` returns the JWK set document; an AuthError of it means that the issuer is away.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        algorithms: frozenset[str],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._monotonic_s = monotonic_s
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._failed_at: float | None = None
        self._asking = asyncio.Lock()

    async def key_of(self, token: str) -> jwt.PyJWK:
        """Return the key that must have signed a token; nothing in the token is believed.

        Raises UntrustedTokenError, IssuerUnavailableError.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise UntrustedTokenError("the token is no signed token") from None
        key_id, algorithm = header.get("kid"), header.get("alg")
        if any(name in header for name in FORBIDDEN_HEADERS):
            raise UntrustedTokenError("the token brings its own key")
        if not isinstance(key_id, str) or algorithm not in self._algorithms:
            raise UntrustedTokenError("the token is not signed as the issuer signs")
        if self._is_due(key_id):
            async with self._asking:
                if self._is_due(key_id):
                    await self._load()
        if not self._keys:
            raise IssuerUnavailableError("the issuer has not named its keys yet")
        key = self._keys.get(key_id)
        if key is None:
            raise UntrustedTokenError("the token is signed by nobody that the issuer names")
        if key.algorithm_name != algorithm:
            raise UntrustedTokenError("the token is not signed as its key signs")
        return key

    def _age_s(self, since: float | None) -> float:
        return KEYS_LAST_RESORT_S if since is None else self._monotonic_s() - since

    def _is_due(self, key_id: str) -> bool:
        """Return whether to ask the issuer, which failures and strange key ids do not hasten."""
        if self._age_s(self._failed_at) < RETRY_S:
            return False
        age_s = self._age_s(self._fetched_at)
        return age_s >= KEYS_MAX_AGE_S or (key_id not in self._keys and age_s >= KEYS_MIN_AGE_S)

    async def _load(self) -> None:
        try:
            keys = self._read(await self._fetch())
        except AuthError:
            self._failed_at = self._monotonic_s()
            if not self._keys or self._age_s(self._fetched_at) >= KEYS_LAST_RESORT_S:
                raise
            return
        self._keys = keys
        self._fetched_at = self._monotonic_s()

    def _read(self, body: bytes) -> dict[str, jwt.PyJWK]:
        """Return the usable keys of a document by id; others (a shared secret, say) are not."""
        try:
            found = msgspec.json.decode(body, type=dict[str, Any])["keys"]
            keys = jwt.PyJWKSet([jwk for jwk in found if _is_usable(jwk)][:MAX_KEYS]).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise IssuerUnavailableError("the issuer's keys make no sense") from None
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError):
            raise IssuerUnavailableError("the issuer's keys make no sense") from None
        return {
            key.key_id: key for key in keys if key.key_id and key.algorithm_name in self._algorithms
        }


def _is_usable(jwk: dict[str, Any]) -> bool:
    return jwk.get("kty") in {"RSA", "EC", "OKP"} and jwk.get("use", "sig") == "sig"
