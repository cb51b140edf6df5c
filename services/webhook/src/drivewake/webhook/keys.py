"""Google's signing keys: had beside the way of a push, never on it."""

import asyncio
import contextlib
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp

from drivewake.runtime.jwks import RETRY_S, KnownKeys, UnreadableKeysError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.webhook.keeper import until_stopped

TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_PAUSE_S: Final = 60.0
_log = get_logger(__name__)


class KeyFetcher:
    """Keeps `known` fresh: asks at the start, once an hour, and when a key is missing.

    One question at a time, and no more often than `KnownKeys.is_due` allows, whatever is sent.
    """

    def __init__(self, url: str, known: KnownKeys) -> None:
        self._url = url
        self._known = known
        self._missing: str | None = None
        self._wake = asyncio.Event()

    def want(self, key_id: str) -> None:
        """Have a key that is not known asked for; returns at once."""
        if self._known.is_due(key_id):
            self._missing = key_id
            self._wake.set()

    async def loop(self, stop: Stop) -> None:
        """Ask until the stop; one that does not answer is asked ever more rarely."""
        pause_s = RETRY_S
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as session:
            while not stop.requested:
                missing, self._missing = self._missing, None
                self._wake.clear()
                if self._known.is_due(missing):
                    asked = await self._ask(session)
                    pause_s = MAX_PAUSE_S if asked else min(pause_s * 2, MAX_PAUSE_S)
                await until_stopped(stop, partial(self._nap, pause_s))

    async def _ask(self, session: aiohttp.ClientSession) -> bool:
        """Learn the keys; return False, having said so, if that was not possible."""
        try:
            self._known.learn(await _document(session, self._url))
        except (aiohttp.ClientError, OSError, TimeoutError, UnreadableKeysError) as error:
            self._known.failed()
            _log.warning(
                "Google's signing keys are not to be had",
                action="keys_failed",
                error=str(error) or type(error).__name__,
            )
            return False
        return True

    async def _nap(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


async def _document(session: aiohttp.ClientSession, url: str) -> bytes:
    """Return a document of bounded size; raises UnreadableKeysError and what aiohttp raises."""
    body = b""
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != HTTPStatus.OK:
            raise UnreadableKeysError(f"answered with {answer.status}")
        while chunk := await answer.content.readany():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise UnreadableKeysError(f"over {MAX_ANSWER_BYTES} bytes")
    return body
