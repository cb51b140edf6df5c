"""DriveClient against a server that answers whatever bytes a test wants, or none."""

import asyncio
import contextlib
import datetime as dt
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Self

import pytest

from drivewake.gdrive import errors
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.retries import Patience, Retries
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Limits, Transport

TOKEN = AccessToken(
    "ya29.secret-of-ann",
    tenant="acme",
    connection="ann",
    id="t1",
    expires_at=dt.datetime.now(dt.UTC),
)
PAGE = b'{"newStartPageToken":"9","changes":[{"fileId":"f1"}]}'
RESET = b""


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return an HTTP answer as bytes."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """Answers the nth connection with the nth of `answers`, the last one again and again.

    An answer is bytes; RESET closes at once; None never answers.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            raw = self.answers[min(len(self.requests), len(self.answers)) - 1]
            if raw is None:
                return
            writer.write(raw)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def asking(
    *answers: bytes | None, attempts: int = 1, limits: Limits | None = None
) -> AsyncIterator[tuple[DriveClient, Server]]:
    """Give a client and the server that it talks to."""
    patience = Patience(attempts=attempts, first_wait_s=0.001, max_wait_s=0.002)
    async with (
        Server(*answers) as server,
        DriveClient(
            server.url,
            transport=Transport(limits or Limits(deadline_s=5.0)),
            retries=Retries(patience),
        ) as client,
    ):
        yield client, server


async def outcome(*answers: bytes | None, limits: Limits | None = None) -> errors.GoogleError:
    """Return the error of one attempt."""
    async with asking(*answers, limits=limits) as (client, _):
        with pytest.raises(errors.GoogleError) as raised:
            await client.list_changes(TOKEN, "1")
    error: BaseException | None = raised.value
    while error is not None:  # whatever a log might print
        assert TOKEN.reveal() not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    return raised.value


async def test_a_good_page_is_read_plain_and_compressed() -> None:
    """Gzip and deflate are undone; the token travels in its header."""
    for raw in (
        answer(PAGE),
        answer(gzip.compress(PAGE), "Content-Encoding: gzip"),
        answer(zlib.compress(PAGE), "Content-Encoding: deflate"),
    ):
        async with asking(raw) as (client, server):
            page = await client.list_changes(TOKEN, "1")

        assert ("9", "f1") == (page.new_start_page_token, page.items[0].id)
        assert b"authorization: Bearer ya29.secret-of-ann\r\n" in server.requests[0].replace(
            b"Authorization", b"authorization"
        )


@pytest.mark.parametrize(
    "raw",
    [
        answer(b""),
        answer(b"<html><title>Sign in</title></html>", "Content-Type: text/html"),
        answer(PAGE[:-5]),
        answer(PAGE.decode().encode("utf-16"), "Content-Type: application/json; charset=utf-16"),
        answer(b'{"newStartPageToken":"9","changes":[{"fileId":"f1","name":"\xe9"}]}'),
        answer(b"[" * 50_000),
        answer(gzip.compress(PAGE)[:-9], "Content-Encoding: gzip"),
        answer(gzip.compress(PAGE)[:20] + b"broken", "Content-Encoding: gzip"),
        answer(PAGE, "Content-Encoding: gzip"),
        answer(PAGE, "Content-Encoding: br"),
        answer(b"", "Location: http://127.0.0.1:1/inside", status="302 Found"),
        answer(PAGE, status="204 No Content", length=0),
    ],
    ids=[
        "empty",
        "html",
        "cut json",
        "wrong charset",
        "no utf-8",
        "very deep",
        "cut gzip",
        "broken gzip",
        "no gzip",
        "no brotli",
        "redirect",
        "no content",
    ],
)
async def test_answers_that_are_none_are_errors_to_retry(raw: bytes) -> None:
    """HTML with 200, cut JSON or gzip, a wrong charset, a redirect: no page, no crash."""
    assert isinstance(await outcome(raw), errors.UnavailableError)


@pytest.mark.parametrize(
    "raw",
    [
        RESET,
        b"HTTP/1.1 200 OK\r\nContent-Len",
        answer(PAGE, length=len(PAGE) + 10),
        b"garbage that is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_broken_connections_are_errors_to_retry(raw: bytes) -> None:
    """A reset before, within and after the headers."""
    error = await outcome(raw)

    assert errors.UnavailableError is type(error)


async def test_no_answer_ends_at_the_deadline() -> None:
    """Neither a silent server nor one that dribbles holds a call for ever."""
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    limits = Limits(deadline_s=0.3)
    for raw in (None, slow):
        async with asking(raw, limits=limits) as (client, server):
            server.answers = (raw,)
            with pytest.raises(errors.UnavailableError):
                await client.list_changes(TOKEN, "1")


async def test_bombs_are_capped() -> None:
    """Neither a huge body nor a small one that grows is held in memory."""
    limits = Limits(max_body_bytes=100_000)
    bomb = answer(gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip")

    for raw in (answer(b" " * 200_000), bomb):
        error = await outcome(raw, limits=limits)
        assert isinstance(error, errors.MalformedAnswerError)
        assert "over 100000 bytes" in str(error)


async def test_a_redirect_is_not_followed() -> None:
    """Nothing is asked of the place that an answer points to."""
    async with Server(answer(PAGE)) as inside:
        raw = answer(b"", f"Location: {inside.url}/metadata", status="307 Temporary Redirect")
        error = await outcome(raw)

    assert [] == inside.requests
    assert 307 == error.status


async def test_an_outage_is_outlived_and_a_cursor_is_not_moved() -> None:
    """503, a reset, a cut body, then an answer: one page, at the same token each time."""
    answers = (
        answer(b"", status="503 Service Unavailable"),
        RESET,
        answer(PAGE[:-3]),
        answer(PAGE),
    )
    async with asking(*answers, attempts=4) as (client, server):
        page = await client.list_changes(TOKEN, "17")

    assert "9" == page.new_start_page_token
    assert 4 == sum(b"pageToken=17&" in request for request in server.requests)


async def test_a_watch_is_never_repeated() -> None:
    """After a lost answer the channel may exist: only the caller can know."""
    async with asking(RESET, answer(b"{}"), attempts=4) as (client, server):
        with pytest.raises(errors.UnavailableError):
            await client.watch_changes(
                TOKEN, "1", "c1", "https://x", "tok", dt.datetime.now(dt.UTC)
            )

    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("401 Unauthorized", b"", errors.UnauthorizedError),
        ("403 Forbidden", b'{"error":{"errors":[{"reason":"domainPolicy"}]}}', errors.BlockedError),
        ("404 Not Found", b"<html>", errors.CursorLostError),
        ("410 Gone", b"{}", errors.CursorLostError),
        ("500 Internal", b'{"error":{"message":5}}', errors.UnavailableError),
        ("400 Bad Request", b'{"error":{"message":["x"]}}', errors.BadRequestError),
        ("502 Bad Gateway", gzip.compress(b"x", mtime=0)[:-3], errors.UnavailableError),
    ],
)
async def test_errors_with_odd_bodies_keep_their_class(
    status: str, body: bytes, kind: type[errors.GoogleError]
) -> None:
    """The status decides where the body does not."""
    encoding = ["Content-Encoding: gzip"] if body.startswith(b"\x1f") else []

    assert kind is type(await outcome(answer(body, *encoding, status=status)))


async def test_retry_after_reaches_the_caller_and_the_governor() -> None:
    """After 429 with a wait, the same user's next call is not even sent."""
    raw = answer(b"{}", "Retry-After: 120", status="429 Too Many Requests")
    async with asking(raw, attempts=4) as (client, server):
        for _ in range(2):
            with pytest.raises(errors.RateLimitedError) as raised:
                await client.list_changes(TOKEN, "1")

    assert raised.value.retry_after_s is not None
    assert 100 < raised.value.retry_after_s <= 120
    assert 1 == len(server.requests)


async def test_nobody_there_is_an_error_to_retry() -> None:
    """A refused connection says neither address nor token."""
    async with Server(RESET) as server:
        url = server.url
    async with DriveClient(url, retries=Retries(Patience(attempts=1))) as client:
        with pytest.raises(errors.UnavailableError) as raised:
            await client.list_changes(TOKEN, "1")

    assert "drive.changes.list: ClientConnectorError" == str(raised.value)
