"""The HTTP API of auth, as the operator command asks it; every failure is one line.

DRIVEWAKE_AUTH_URL says where it is; DRIVEWAKE_API_TOKEN (or …_FILE) is a token of the
installation's OIDC issuer.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import msgspec
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from drivewake.cli.session import EXIT_MISUSED, EXIT_UNREACHABLE, Failure
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import load

TIMEOUT_S: Final = 30.0
_OK_BELOW: Final = 400


class ApiSettings(BaseSettings):
    """Where auth is, and who asks."""

    model_config = SettingsConfigDict(env_prefix="DRIVEWAKE_", env_ignore_empty=True)

    auth_url: str = Field(description="auth's address, such as https://auth.example.org")
    api_token: SecretStr = Field(description="a token of the OIDC issuer")


class Api:
    """Asks auth."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the answer's JSON; raises Failure with what auth says is wrong."""
        try:
            async with self._session.request(
                method, f"{self._url}/v1/{path}", json=body, params=query, allow_redirects=False
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Failure(
                f"cannot reach auth at {self._url}: {error or type(error).__name__}",
                EXIT_UNREACHABLE,
            ) from None
        try:
            decoded = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Failure(f"{self._url} answers {answer.status}, and not as auth does") from None
        if answer.status >= _OK_BELOW:
            about = decoded if isinstance(decoded, dict) else {}
            said = about.get("detail") or about.get("title") or "no reason given"
            raise Failure(f"auth answers {answer.status}: {said}")
        return decoded


@contextlib.asynccontextmanager
async def api() -> AsyncIterator[Api]:
    """Open a session for the length of the block; raises Failure for wrong settings."""
    try:
        told = load(ApiSettings, None)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    headers = {"Authorization": f"Bearer {told.api_token.get_secret_value()}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Api(session, told.auth_url)
