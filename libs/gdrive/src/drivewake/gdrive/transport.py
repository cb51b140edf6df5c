"""Sends what the library built, over pooled aiohttp connections, and hands back the bytes.

Every failure leaves here as a GoogleError. Redirects are not followed: Google's API sends
none, and one could point inside. Bodies are capped before and after decompression.
"""

from collections.abc import Mapping
from typing import Final

import aiohttp
import httplib2
import msgspec
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest
from isal import isal_zlib
from yarl import URL

from drivewake.gdrive.capture import Capture
from drivewake.gdrive.errors import (
    GoogleError,
    MalformedAnswerError,
    UnavailableError,
)
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.verdict import classify, clean, problem_of

MIB: Final = 1 << 20
FIRST_ERROR: Final = 300


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one process towards Google. A page of 1000 changes is about 2 MiB."""

    connections: int = 256
    deadline_s: float = 20.0
    connect_s: float = 5.0
    max_body_bytes: int = 32 * MIB
    keep_alive_s: float = 60.0


class Transport:
    """A connection pool to Google. Use from one event loop; close it at the end."""

    def __init__(self, limits: Limits | None = None, *, capture: Capture | None = None) -> None:
        self._limits = limits or Limits()
        self._capture = capture
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: HttpRequest, token: AccessToken) -> bytes:
        """Return the decompressed body of a 2xx answer (empty for 204); raise GoogleError."""
        method = str(request.methodId)
        failure = ""
        try:
            status, headers, body = await self._exchange(request, token)
        except TimeoutError:
            failure = f"no answer in {self._limits.deadline_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            failure = type(error).__name__
        if failure:
            # Raised here, with no cause: errors of aiohttp hold the request, token included.
            raise UnavailableError(f"{method}: {failure}", method=method)
        if self._capture is not None:
            self._capture.write(request, status, headers, body)
        try:
            body = _inflate(body, headers.get("content-encoding", ""), self._limits.max_body_bytes)
        except GoogleError as error:
            if status < FIRST_ERROR:
                error.method, error.status = method, status
                raise
            body = b""  # the status says enough
        return _parsed(request, token, status, headers, body)

    async def _exchange(
        self, request: HttpRequest, token: AccessToken
    ) -> tuple[int, Mapping[str, str], bytes]:
        limit = self._limits.max_body_bytes
        headers = {**request.headers, "authorization": f"Bearer {token.reveal()}"}
        async with self._pool().request(
            request.method,
            URL(request.uri, encoded=True),  # by the library, which is not to be quoted again
            data=request.body,
            headers=headers,
            allow_redirects=False,
        ) as response:
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise MalformedAnswerError(
                        f"{request.methodId}: the body is over {limit} bytes",
                        method=request.methodId,
                        status=response.status,
                    )
                chunks.append(chunk)
            return response.status, response.headers, b"".join(chunks)

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=limits.connections,
                    keepalive_timeout=limits.keep_alive_s,
                    ttl_dns_cache=300,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=limits.deadline_s, sock_connect=limits.connect_s
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )
        return self._session


def _parsed(
    request: HttpRequest,
    token: AccessToken,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
) -> bytes:
    """Let the library judge the answer; map its error to ours."""
    method = str(request.methodId)
    answer = httplib2.Response({**headers, "status": str(status)})
    answer.reason = ""
    try:
        value = request.postproc(answer, body)
    except (HttpError, AttributeError, RecursionError):
        # The library stumbles over odd envelopes (a message that is no text); ours does not.
        problem = problem_of(status, body, retry_after=headers.get("retry-after", ""))
        problem = msgspec.structs.replace(problem, message=clean(problem.message, token.reveal()))
        raise classify(method, problem) from None
    return value if isinstance(value, bytes) else b""


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip or deflate, to at most `limit` bytes; MalformedAnswerError if it is cut."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise MalformedAnswerError("the body has an encoding that was not asked for")
    # ISA-L takes half of zlib's time, and this is a good part of a call. 32: gzip or zlib, by its
    # header.
    inflater = isal_zlib.decompressobj(isal_zlib.MAX_WBITS | 32)
    try:
        plain = inflater.decompress(body, limit)
    except isal_zlib.error as error:  # type: ignore[misc] # the stub has an instance
        raise MalformedAnswerError("the compressed body is broken") from error
    if inflater.unconsumed_tail:
        raise MalformedAnswerError(f"the body is over {limit} bytes")
    if not inflater.eof:
        raise MalformedAnswerError("the compressed body is cut short")
    return plain
