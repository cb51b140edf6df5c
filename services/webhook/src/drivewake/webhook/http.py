"""The public face: Google's pushes, and robots.txt that lets them in."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

from litestar import MediaType, asgi, get
from litestar.enums import ScopeType
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from drivewake.webhook.domain import MAX_BODY_BYTES, InvalidPushError, Push, read_push
from drivewake.webhook.metrics import PUSHES
from drivewake.webhook.source import Network, source_of

PATH: Final = "/v1/notifications/drive"
BODY_TIMEOUT_S: Final = 5.0
MAX_LENGTH_DIGITS: Final = 18
ROBOTS: Final = "User-agent: APIs-Google\nAllow: /v1/notifications/\n\nUser-agent: *\nDisallow: /\n"
Answer = Callable[[Push, Callable[[], str]], Awaitable[int]]


class _BodyTooLargeError(Exception):
    """The body is over the bound."""


def handlers(answer: Answer, trusted: Sequence[Network] = ()) -> list[ControllerRouterHandler]:
    """Return the handlers; `answer` returns the status for a well-formed push.

    It is handed what tells the push's source, judged by the `trusted` proxies before us.
    """

    # A mount: routes of raw ASGI handlers with path parameters fail inside Litestar 2.25.
    @asgi(PATH, is_mount=True, copy_scope=False)
    async def notification(scope: Scope, receive: Receive, send: Send) -> None:
        status = await _status(scope, receive, answer, trusted)
        await _reply(send, status)

    @get("/robots.txt", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def robots() -> str:
        return ROBOTS

    return [notification, robots]


async def _status(
    scope: Scope, receive: Receive, answer: Answer, trusted: Sequence[Network]
) -> int:
    if scope["type"] != ScopeType.HTTP or scope["method"] != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED
    headers = scope["headers"]
    try:
        await _swallow(receive, _declared_bytes(headers))
        push = read_push(*_ids(scope["path"]), headers)
    except _BodyTooLargeError:
        PUSHES.add(verdict="too_large")
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    except TimeoutError:
        PUSHES.add(verdict="invalid")
        return HTTPStatus.REQUEST_TIMEOUT
    except InvalidPushError:
        PUSHES.add(verdict="invalid")
        return HTTPStatus.BAD_REQUEST
    return await answer(push, partial(_source, scope, trusted))


def _source(scope: Scope, trusted: Sequence[Network]) -> str:
    forwarded = [
        value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
    ]
    peer = scope.get("client")
    return source_of(peer[0] if peer else "", forwarded, trusted)


def _ids(path: str) -> tuple[str, str, str]:
    """Return tenant, connection and log of `/T/C/L/`, as the router leaves of the path."""
    match path.removesuffix("/").split("/"):
        case "", tenant, connection, log:
            return tenant, connection, log
    raise InvalidPushError("the path does not name a log")


def _declared_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            known = value.isdigit() and len(value) <= MAX_LENGTH_DIGITS
            return int(value) if known else MAX_BODY_BYTES + 1
    return None


async def _swallow(receive: Receive, declared: int | None) -> None:
    """Read the body away, bounded in size and time: what it says does not matter."""
    if declared == 0:
        return
    if declared is not None and declared > MAX_BODY_BYTES:
        raise _BodyTooLargeError
    size = 0
    async with asyncio.timeout(BODY_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            size += len(message["body"])
            if size > MAX_BODY_BYTES:
                raise _BodyTooLargeError
            if not message["more_body"]:
                return


async def _reply(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
