"""The OIDC issuer of the callers of the HTTP API, over HTTP: its discovery document and keys.

Source: https://openid.net/specs/openid-connect-discovery-1_0.html. Answers are bounded in size
and time; redirects are not followed.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from pydantic import SecretStr

from drivewake.auth.errors import IssuerUnavailableError, UntrustedTokenError

TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_AGE_S: Final = 3600.0
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """What of the discovery document is used."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""


class _TokenAnswer(msgspec.Struct, frozen=True):
    id_token: str


class IssuerHttp:
    """Asks one issuer. With `jwks_url`, its keys are had without a discovery document."""

    def __init__(
        self,
        issuer: str,
        *,
        jwks_url: str = "",
        allow_plain_http: bool = False,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._allow_plain_http = allow_plain_http
        self._monotonic_s = monotonic_s
        self._session: aiohttp.ClientSession | None = None
        self._found: tuple[float, Discovery] | None = None

    async def open(self) -> None:
        """Make the HTTP session; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()

    async def keys(self) -> bytes:
        """Return the issuer's JWK set document; raises IssuerUnavailableError."""
        url = self._jwks_url or (await self.discovery()).jwks_uri
        return await self._ask("GET", url)

    async def discovery(self) -> Discovery:
        """Return the issuer's discovery document, at most an hour old; IssuerUnavailableError."""
        now_s = self._monotonic_s()
        if self._found is not None and now_s - self._found[0] < MAX_AGE_S:
            return self._found[1]
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found = msgspec.json.decode(await self._ask("GET", url), type=Discovery)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise IssuerUnavailableError("the issuer's discovery document makes no sense") from None
        if found.issuer != self._issuer:
            # Section 4.3: a document in another name is not this issuer's.
            raise IssuerUnavailableError("the discovery document is another issuer's")
        for address in (found.jwks_uri, found.authorization_endpoint, found.token_endpoint):
            self._check(address)
        self._found = (now_s, found)
        return found

    async def exchange(
        self, code: SecretStr, verifier: SecretStr, client: tuple[str, SecretStr], redirect_uri: str
    ) -> SecretStr:
        """Turn a code of a person's login into an id_token.

        Raises UntrustedTokenError if the issuer refuses the code, IssuerUnavailableError.
        """
        endpoint = (await self.discovery()).token_endpoint
        form = {
            "grant_type": "authorization_code",
            "code": code.get_secret_value(),
            "code_verifier": verifier.get_secret_value(),
            "redirect_uri": redirect_uri,
            "client_id": client[0],
            "client_secret": client[1].get_secret_value(),
        }
        try:
            answer = msgspec.json.decode(await self._ask("POST", endpoint, form), type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise IssuerUnavailableError("the issuer's answer makes no sense") from None
        return SecretStr(answer.id_token)

    def _check(self, address: str) -> None:
        parts = urlsplit(address)
        plain_is_fine = self._allow_plain_http or parts.hostname in LOOPBACK
        if address and parts.scheme != "https" and not (plain_is_fine and parts.scheme == "http"):
            raise IssuerUnavailableError("the discovery document names an unencrypted address")

    async def _ask(self, method: str, url: str, form: dict[str, str] | None = None) -> bytes:
        if self._session is None or not url:
            raise IssuerUnavailableError("the issuer cannot be asked")
        try:
            async with self._session.request(
                method, url, data=form, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(16 * 1024):
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise IssuerUnavailableError("the issuer's answer is too large")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither cause nor text: a library may quote the request.
            raise IssuerUnavailableError(
                f"the issuer did not answer ({type(error).__name__})"
            ) from None
        if form is not None and HTTPStatus.BAD_REQUEST <= response.status < 500:  # noqa: PLR2004
            raise UntrustedTokenError("the issuer refuses the code")
        if response.status != HTTPStatus.OK:
            raise IssuerUnavailableError(f"the issuer answered with {response.status}")
        return bytes(body)
