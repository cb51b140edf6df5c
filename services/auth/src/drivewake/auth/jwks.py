"""An issuer's published signing keys: kept for an hour, asked for again when one is new.

Which keys are believed, and how often the issuer may be asked, stands in
`drivewake.runtime.jwks`; here the caller waits for the question, one at a time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import jwt

from drivewake.auth.errors import AuthError, IssuerUnavailableError, UntrustedTokenError
from drivewake.runtime.jwks import KnownKeys, RefusedTokenError, UnreadableKeysError


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
        self._known = KnownKeys(algorithms, monotonic_s)
        self._asking = asyncio.Lock()

    async def key_of(self, token: str) -> jwt.PyJWK:
        """Return the key that must have signed a token; nothing in the token is believed.

        Raises UntrustedTokenError, IssuerUnavailableError.
        """
        try:
            signature = self._known.signature(token)
            if self._known.is_due(signature.key_id):
                async with self._asking:
                    if self._known.is_due(signature.key_id):
                        await self._load()
            if not self._known.usable:
                raise IssuerUnavailableError("the issuer has not named its keys yet")
            key = self._known.key_of(signature)
        except RefusedTokenError as error:
            raise UntrustedTokenError(str(error)) from None
        if key is None:
            raise UntrustedTokenError("the token is signed by nobody that the issuer names")
        return key

    async def _load(self) -> None:
        try:
            self._known.learn(await self._fetch())
        except UnreadableKeysError as error:
            self._known.failed()
            if not self._known.usable:
                raise IssuerUnavailableError("the issuer's keys make no sense") from error
        except AuthError:
            self._known.failed()
            if not self._known.usable:
                raise
