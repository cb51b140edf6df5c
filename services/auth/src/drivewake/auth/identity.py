"""Who signed in: Google's id_token, verified with Google's published keys.

Source: https://openid.net/specs/openid-connect-core-1_0.html, section 3.1.3.7.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import jwt
from pydantic import SecretStr

from drivewake.auth.errors import (
    GoogleUnavailableError,
    IdentityError,
    IssuerUnavailableError,
    UntrustedTokenError,
)
from drivewake.auth.jwks import KeySet
from drivewake.auth.records import Identity

ALGORITHM: Final = "RS256"
LEEWAY_S: Final = 600.0
"""Machines' clocks differ. The token came straight from Google, so a wide leeway costs little."""

MAX_SUBJECT: Final = 255
MAX_EMAIL: Final = 320


class IdTokens:
    """Verifies id_tokens of one issuer for one audience; keeps the issuer's keys for an hour."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        fetch_keys: Callable[[], Awaitable[bytes]],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        # Google writes its own name both ways.
        self._issuers = [issuer, issuer.removeprefix("https://")]
        self._audience = audience
        self._keys = KeySet(fetch_keys, frozenset({ALGORITHM}), monotonic_s)

    async def verify(self, id_token: SecretStr, nonce: SecretStr) -> Identity:
        """Return whom the token names; raises IdentityError, GoogleUnavailableError."""
        raw = id_token.get_secret_value()
        try:
            key = await self._keys.key_of(raw)
            claims: dict[str, Any] = jwt.decode(
                raw,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuers,
                leeway=LEEWAY_S,
                options={"require": ["iss", "aud", "exp", "iat", "sub", "nonce"]},
            )
        except jwt.PyJWTError as error:
            raise IdentityError(f"the id_token is refused: {type(error).__name__}") from None
        except UntrustedTokenError as error:
            raise IdentityError(f"the id_token is refused: {error}") from None
        except IssuerUnavailableError as error:
            raise GoogleUnavailableError(str(error)) from None
        return self._identity(claims, nonce.get_secret_value())

    def _identity(self, claims: dict[str, Any], nonce: str) -> Identity:
        subject, email = claims["sub"], claims.get("email")
        if not isinstance(claims["nonce"], str) or not hmac.compare_digest(
            claims["nonce"].encode(), nonce.encode()
        ):
            raise IdentityError("the id_token is not for this sign-in")
        if claims.get("azp", self._audience) != self._audience:
            raise IdentityError("the id_token was issued to another application")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise IdentityError("the id_token names nobody")
        label = email if isinstance(email, str) and 0 < len(email) <= MAX_EMAIL else None
        return Identity(
            issuer=self._issuer, subject=subject, email=SecretStr(label) if label else None
        )
