"""Google's OAuth endpoints over HTTP.

Source of the facts: RFC 6749, https://developers.google.com/identity/protocols/oauth2/web-server.
Answers are bounded in size and time, redirects are not followed, nothing is retried here.
No message repeats what Google wrote but its error codes: descriptions hold addresses.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
from pydantic import SecretStr

from drivewake.auth import scopes
from drivewake.auth.errors import (
    ClientRejectedError,
    GoogleError,
    GoogleUnavailableError,
    GrantBlockedError,
    GrantDeadError,
    IdentityError,
)
from drivewake.auth.identity import IdTokens
from drivewake.auth.ports import Identity, Tokens

TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 64
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_LIFETIME_S: Final = 86_400.0
_CODE: Final = re.compile(r"[a-z_]{1,64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")
"""What an Authorization header may carry (RFC 6750, section 2.1)."""

_BLOCKED: Final = frozenset({"admin_policy_enforced", "access_denied", "org_internal"})
_PERMANENT: Final = frozenset({"invalid_grant"})


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where Google is. The issuer stands in id_tokens."""

    authorization_url: str
    token_url: str
    revoke_url: str
    jwks_url: str
    issuer: str


class _TokenAnswer(msgspec.Struct, frozen=True):
    """A successful answer of the token endpoint."""

    access_token: str
    expires_in: float
    scope: str = ""
    refresh_token: str = ""
    id_token: str = ""


class _ErrorAnswer(msgspec.Struct, frozen=True):
    """A refusal of the token or revoke endpoint."""

    error: str = ""
    error_subtype: str = ""


class GoogleHttp:
    """Implements the port Google with one HTTP session."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        client_id: str,
        client_secret: SecretStr,
        redirect_uri: str,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._endpoints = endpoints
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._id_tokens = IdTokens(
            issuer=endpoints.issuer, audience=client_id, fetch_keys=self.keys
        )

    async def open(self) -> None:
        """Make the HTTP session; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()

    async def exchange(self, code: SecretStr, verifier: SecretStr) -> Tokens:
        """Turn a code into tokens."""
        return await self._tokens(
            {
                "grant_type": "authorization_code",
                "code": code.get_secret_value(),
                "code_verifier": verifier.get_secret_value(),
                "redirect_uri": self._redirect_uri,
            }
        )

    async def refresh(self, refresh_token: SecretStr) -> Tokens:
        """Return a fresh access token."""
        return await self._tokens(
            {"grant_type": "refresh_token", "refresh_token": refresh_token.get_secret_value()}
        )

    async def revoke(self, token: SecretStr) -> None:
        """End the grant behind a token; one that Google does not know any more is fine."""
        status, body = await self._send(
            "POST", self._endpoints.revoke_url, {"token": token.get_secret_value()}
        )
        if status == HTTPStatus.OK:
            return
        if status == HTTPStatus.BAD_REQUEST and _error(body).error == "invalid_token":
            return
        raise GoogleUnavailableError(f"revoking was answered with {status}")

    async def identify(self, id_token: SecretStr | None, nonce: SecretStr) -> Identity:
        """Verify an id_token, which has to be there."""
        if id_token is None:
            raise IdentityError("there is no id_token")
        return await self._id_tokens.verify(id_token, nonce)

    async def _tokens(self, form: Mapping[str, str]) -> Tokens:
        status, body = await self._send(
            "POST",
            self._endpoints.token_url,
            {
                **form,
                "client_id": self._client_id,
                "client_secret": self._client_secret.get_secret_value(),
            },
        )
        if status != HTTPStatus.OK:
            raise refusal(status, body)
        try:
            answer = msgspec.json.decode(body, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # `from None`: the decoder's message may quote the answer.
            raise GoogleUnavailableError("Google's answer makes no sense") from None
        if not _TOKEN.fullmatch(answer.access_token) or not 0 < answer.expires_in <= MAX_LIFETIME_S:
            raise GoogleUnavailableError("Google's answer holds no usable token")
        return Tokens(
            access_token=SecretStr(answer.access_token),
            lifetime_s=answer.expires_in,
            scopes=scopes.parsed(answer.scope),
            refresh_token=SecretStr(answer.refresh_token) if answer.refresh_token else None,
            id_token=SecretStr(answer.id_token) if answer.id_token else None,
        )

    async def keys(self) -> bytes:
        """Return Google's JWK set document; raises GoogleUnavailableError."""
        status, body = await self._send("GET", self._endpoints.jwks_url, None)
        if status != HTTPStatus.OK:
            raise GoogleUnavailableError(f"Google's keys were answered with {status}")
        return body

    async def _send(
        self, method: str, url: str, form: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        """Return status and body; raises GoogleUnavailableError."""
        if self._session is None:
            raise GoogleUnavailableError("the HTTP session is not open")
        try:
            async with self._session.request(
                method, url, data=form, allow_redirects=False
            ) as response:
                body = await response.content.read(MAX_ANSWER_BYTES + 1)
                while len(body) <= MAX_ANSWER_BYTES:
                    more = await response.content.read(MAX_ANSWER_BYTES + 1 - len(body))
                    if not more:
                        break
                    body += more
                if len(body) > MAX_ANSWER_BYTES:
                    raise GoogleUnavailableError("Google's answer is too large")
                return response.status, body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither cause nor text: a library may quote the request.
            raise GoogleUnavailableError(
                f"Google did not answer ({type(error).__name__})"
            ) from None


def refusal(status: int, body: bytes) -> GoogleError:
    """Return what an unsuccessful answer of the token endpoint means."""
    answer = _error(body)
    code = answer.error if _CODE.fullmatch(answer.error) else ""
    subtype = answer.error_subtype if _CODE.fullmatch(answer.error_subtype) else ""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return GoogleUnavailableError(f"Google answered with {status}", code=code)
    if code in _BLOCKED or subtype in _BLOCKED:
        return GrantBlockedError(code=subtype or code)
    if code in _PERMANENT:
        return GrantDeadError(code=subtype or code)
    if code:
        return ClientRejectedError(f"Google refuses this application: {code}", code=code)
    return GoogleUnavailableError(f"Google answered with {status} and no reason")


def _error(body: bytes) -> _ErrorAnswer:
    try:
        return msgspec.json.decode(body, type=_ErrorAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _ErrorAnswer()
