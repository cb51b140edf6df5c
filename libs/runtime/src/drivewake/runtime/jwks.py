"""An issuer's published signing keys, and which of them must have signed a token: no I/O.

Whoever sends tokens chooses the key id in them, so how often the issuer may be asked does not
depend on what is sent: at most once in `KEYS_MIN_AGE_S`. Keys that the issuer once published
are believed for a day while it does not answer. How it is asked, and who waits for that, is
the caller's matter.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import jwt
import msgspec

from drivewake.runtime.errors import DrivewakeError

KEYS_MAX_AGE_S: Final = 3600.0
KEYS_MIN_AGE_S: Final = 60.0
KEYS_LAST_RESORT_S: Final = 86_400.0
RETRY_S: Final = 1.0
MAX_KEYS: Final = 64
ASYMMETRIC: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""A key set may hold no shared secret: whoever can check could then sign."""

FORBIDDEN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "crit")
"""Where a token would tell us itself what to check it with."""


class RefusedTokenError(DrivewakeError):
    """No published key can have signed the token; the text says why, never what."""


class UnreadableKeysError(DrivewakeError):
    """The issuer's keys make no sense."""


class Signature(msgspec.Struct, frozen=True):
    """Which key a token claims to be signed with, and how. Nothing of it is believed."""

    key_id: str
    algorithm: str


class KnownKeys:
    """The keys of one issuer, for these algorithms alone, and when to ask for them again."""

    def __init__(
        self, algorithms: frozenset[str], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._algorithms = algorithms
        self._monotonic_s = monotonic_s
        self._keys: dict[str, jwt.PyJWK] = {}
        self._learned_at: float | None = None
        self._failed_at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether there are keys, young enough to be believed while the issuer is away."""
        return bool(self._keys) and self._age_s(self._learned_at) < KEYS_LAST_RESORT_S

    def signature(self, token: str) -> Signature:
        """Return what a token says of its signature; raises RefusedTokenError."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise RefusedTokenError("the token is no signed token") from None
        key_id, algorithm = header.get("kid"), header.get("alg")
        if any(name in header for name in FORBIDDEN_HEADERS):
            raise RefusedTokenError("the token brings its own key")
        if not isinstance(key_id, str) or algorithm not in self._algorithms:
            raise RefusedTokenError("the token is not signed as the issuer signs")
        return Signature(key_id, algorithm)

    def key_of(self, signature: Signature) -> jwt.PyJWK | None:
        """Return the key, None if the issuer names none such; raises RefusedTokenError."""
        key = self._keys.get(signature.key_id)
        if key is not None and key.algorithm_name != signature.algorithm:
            raise RefusedTokenError("the token is not signed as its key signs")
        return key

    def is_due(self, key_id: str | None = None) -> bool:
        """Return whether to ask the issuer, which failures and strange key ids do not hasten.

        `key_id` is one that is needed; without one the keys' age alone decides.
        """
        if self._age_s(self._failed_at) < RETRY_S:
            return False
        age_s = self._age_s(self._learned_at)
        missed = key_id is not None and key_id not in self._keys
        return age_s >= KEYS_MAX_AGE_S or (missed and age_s >= KEYS_MIN_AGE_S)

    def learn(self, body: bytes) -> None:
        """Take over a JWK set document; raises UnreadableKeysError."""
        self._keys = self._read(body)
        self._learned_at = self._monotonic_s()

    def failed(self) -> None:
        """Note that the issuer did not answer, or nothing that makes sense."""
        self._failed_at = self._monotonic_s()

    def _age_s(self, since: float | None) -> float:
        return KEYS_LAST_RESORT_S if since is None else self._monotonic_s() - since

    def _read(self, body: bytes) -> dict[str, jwt.PyJWK]:
        """Return the usable keys of a document by id; others (a shared secret, say) are not."""
        try:
            found = msgspec.json.decode(body, type=dict[str, Any])["keys"]
            keys = jwt.PyJWKSet([jwk for jwk in found if _is_usable(jwk)][:MAX_KEYS]).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UnreadableKeysError from None
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError):
            raise UnreadableKeysError from None
        return {
            key.key_id: key for key in keys if key.key_id and key.algorithm_name in self._algorithms
        }


def _is_usable(jwk: dict[str, Any]) -> bool:
    return jwk.get("kty") in {"RSA", "EC", "OKP"} and jwk.get("use", "sig") == "sig"
