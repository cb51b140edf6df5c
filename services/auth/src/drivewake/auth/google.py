"""Google's OAuth endpoints over HTTP.

Source of the facts: RFC 6749, https://developers.google.com/identity/protocols/oauth2/web-server.
Answers are bounded in size and time, redirects are not followed, nothing is retried here.
No message repeats what Google wrote but its error codes: descriptions hold addresses.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import aiohttp
import jwt
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
from drivewake.auth.records import Identity, ServiceKey, Tokens

TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 64
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_LIFETIME_S: Final = 86_400.0
_CODE: Final = re.compile(r"[a-z_]{1,64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")
"""What an Authorization header may carry (RFC 6750, section 2.1)."""

_BLOCKED: Final = frozenset({"admin_policy_enforced", "access_denied", "org_internal"})
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S: Final = 3600
SKEW_MATTERS_S: Final = 30.0
_TIMEFRAME: Final = "reasonable timeframe"
_NO_SUBJECT: Final = "Invalid email or User ID"
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
    description: str = msgspec.field(default="", name="error_description")


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
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._now_s = now_s
        self._skew_s = 0.0
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

    async def delegated(self, key: ServiceKey, subject: SecretStr, scopes: Sequence[str]) -> Tokens:
        """Return an access token of a service account acting for a subject (RFC 7523).

        Google takes an assertion only if its times fit its own clock: where ours is off, the
        clock that its answers show is used, and the question asked once more.
        """
        for _ in range(2):
            skew_s = self._skew_s
            form = {"grant_type": JWT_BEARER, "assertion": self._assertion(key, subject, scopes)}
            status, body = await self._send("POST", self._endpoints.token_url, form)
            is_late = status == HTTPStatus.BAD_REQUEST and _TIMEFRAME in _error(body).description
            if not is_late or self._skew_s == skew_s:
                break
        if status != HTTPStatus.OK:
            raise refusal_of_assertion(status, body)
        return _tokens_of(body)

    def _assertion(self, key: ServiceKey, subject: SecretStr, scopes: Sequence[str]) -> str:
        issued_s = int(self._now_s() + self._skew_s)
        claims = {
            "iss": key.email,
            "sub": subject.get_secret_value(),
            "scope": " ".join(scopes),
            "aud": self._endpoints.token_url,
            "iat": issued_s,
            "exp": issued_s + ASSERTION_S,
        }
        pem = key.private_key.get_secret_value()
        return jwt.encode(claims, pem, "RS256", headers={"kid": key.key_id})

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
        return _tokens_of(body)

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
                self._see_clock(response.headers.get("Date", ""))
                return response.status, body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither cause nor text: a library may quote the request.
            raise GoogleUnavailableError(
                f"Google did not answer ({type(error).__name__})"
            ) from None

    def _see_clock(self, date: str) -> None:
        """Note how far Google's clock is ahead of ours, where that matters."""
        try:
            ahead_s = parsedate_to_datetime(date).timestamp() - self._now_s()
        except (ValueError, TypeError):
            return
        self._skew_s = ahead_s if abs(ahead_s) > SKEW_MATTERS_S else 0.0


def _tokens_of(body: bytes) -> Tokens:
    """Return what a successful answer of the token endpoint holds; GoogleUnavailableError."""
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


def refusal_of_assertion(status: int, body: bytes) -> GoogleError:
    """Return what a refused assertion means. Google tells causes apart by its prose alone.

    Only what certainly concerns the one subject ends its connection: a wrong key, a disabled
    service account or a clock that is off must not end those of a whole organisation.
    """
    answer = _error(body)
    if answer.error == "unauthorized_client":
        return GrantBlockedError(code=answer.error)
    if answer.error == "invalid_grant" and _NO_SUBJECT not in answer.description:
        return ClientRejectedError("Google refuses the service account: see its key", code="key")
    return refusal(status, body)


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
