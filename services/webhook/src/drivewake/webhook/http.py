"""The public face: Google's pushes, by who sends them, and robots.txt that lets them in."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from litestar import MediaType, get
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from drivewake.runtime.logging import get_logger
from drivewake.webhook.domain import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NO_CONTENT,
    OK,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNAUTHORIZED,
    UNAVAILABLE,
    InvalidPushError,
)
from drivewake.webhook.metrics import PUSHES
from drivewake.webhook.senders import Sender
from drivewake.webhook.source import Network, source_of

PATH: Final = "/v1/notifications"
BODY_TIMEOUT_S: Final = 5.0
MAX_LENGTH_DIGITS: Final = 18
ROBOTS: Final = "User-agent: APIs-Google\nAllow: /v1/notifications/\n\nUser-agent: *\nDisallow: /\n"

_HTTP: Final = ScopeType.HTTP
_log = get_logger(__name__)


class _BodyTooLargeError(Exception):
    """The body is over the bound."""


def path_of(kind: str) -> str:
    """Return where notifications of a kind are taken; `/T/C/L` follows."""
    return f"{PATH}/{kind}"


@get("/robots.txt", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
def robots() -> str:
    """Let Google in, and nobody else."""
    return ROBOTS


def notification(sender: Sender, trusted: Sequence[Network] = ()) -> ASGIApp:
    """Return the application that answers one kind; `trusted` are the proxies before us.

    It stands before the router, which would cost as much as judging a push does.
    """
    mount = len(path_of(sender.kind))

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status = await _status(scope, receive, sender, scope["path"][mount:], trusted)
        except Exception:  # noqa: BLE001 - whatever it is, Google shall try again
            _log.exception("a push could not be judged", action="push_failed", kind=sender.kind)
            PUSHES.add(verdict="overload")
            status = UNAVAILABLE
        await send(_STARTS.get(status) or _start(status))
        await send(_END)

    return answer


async def _status(
    scope: Scope, receive: Receive, sender: Sender, path: str, trusted: Sequence[Network]
) -> int:
    if scope["type"] != _HTTP or scope["method"] != "POST":
        return METHOD_NOT_ALLOWED
    headers = scope["headers"]
    try:
        body = await _body(receive, _declared_bytes(headers), sender.max_body_bytes)
        return await sender.answer(path, headers, body, partial(_source, scope, trusted))
    except _BodyTooLargeError:
        PUSHES.add(verdict="too_large")
        return TOO_LARGE
    except TimeoutError:
        PUSHES.add(verdict="invalid")
        return REQUEST_TIMEOUT
    except InvalidPushError:
        PUSHES.add(verdict="invalid")
        return BAD_REQUEST


def _source(scope: Scope, trusted: Sequence[Network]) -> str:
    forwarded = [
        value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
    ]
    peer = scope.get("client")
    return source_of(peer[0] if peer else "", forwarded, trusted)


def _declared_bytes(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Return how long the body claims to be, without end if the claim makes no sense."""
    for name, value in headers:
        if name == b"content-length":
            known = value.isdigit() and len(value) <= MAX_LENGTH_DIGITS
            return int(value) if known else math.inf
    return None


async def _body(receive: Receive, declared: float | None, most_bytes: int) -> bytes:
    """Return the body, bounded in size and time."""
    if declared == 0:
        return b""
    if declared is not None and declared > most_bytes:
        raise _BodyTooLargeError
    body = b""
    async with asyncio.timeout(BODY_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return body
            body += message["body"]
            if len(body) > most_bytes:
                raise _BodyTooLargeError
            if not message["more_body"]:
                return body


def _start(status: int) -> Message:
    headers = [] if status == NO_CONTENT else [(b"content-length", b"0")]
    if status == UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    if status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    return {"type": "http.response.start", "status": status, "headers": headers}


_STARTS: Final = {OK: _start(OK), NO_CONTENT: _start(NO_CONTENT)}
_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}
