"""The public face: Google's pushes, by who sends them, and robots.txt that lets them in."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

from litestar import MediaType, asgi, get
from litestar.enums import ScopeType
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from drivewake.webhook.domain import InvalidPushError
from drivewake.webhook.metrics import PUSHES
from drivewake.webhook.senders import Sender
from drivewake.webhook.source import Network, source_of

PATH: Final = "/v1/notifications"
BODY_TIMEOUT_S: Final = 5.0
MAX_LENGTH_DIGITS: Final = 18
ROBOTS: Final = "User-agent: APIs-Google\nAllow: /v1/notifications/\n\nUser-agent: *\nDisallow: /\n"


class _BodyTooLargeError(Exception):
    """The body is over the bound."""


def path_of(kind: str) -> str:
    """Return where notifications of a kind are taken; `/T/C/L` follows."""
    return f"{PATH}/{kind}"


def handlers(
    senders: Iterable[Sender], trusted: Sequence[Network] = ()
) -> list[ControllerRouterHandler]:
    """Return the handlers; who sent a push is judged by the `trusted` proxies before us."""

    @get("/robots.txt", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def robots() -> str:
        return ROBOTS

    return [robots, *(_notification(sender, trusted) for sender in senders)]


def _notification(sender: Sender, trusted: Sequence[Network]) -> ControllerRouterHandler:
    # A mount: routes of raw ASGI handlers with path parameters fail inside Litestar 2.25.
    @asgi(path_of(sender.kind), is_mount=True, copy_scope=False)
    async def notification(scope: Scope, receive: Receive, send: Send) -> None:
        status = await _status(scope, receive, sender, trusted)
        await _reply(send, status)

    return notification


async def _status(
    scope: Scope, receive: Receive, sender: Sender, trusted: Sequence[Network]
) -> int:
    if scope["type"] != ScopeType.HTTP or scope["method"] != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED
    headers = scope["headers"]
    try:
        body = await _body(receive, _declared_bytes(headers), sender.max_body_bytes)
        return await sender.answer(scope["path"], headers, body, partial(_source, scope, trusted))
    except _BodyTooLargeError:
        PUSHES.add(verdict="too_large")
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    except TimeoutError:
        PUSHES.add(verdict="invalid")
        return HTTPStatus.REQUEST_TIMEOUT
    except InvalidPushError:
        PUSHES.add(verdict="invalid")
        return HTTPStatus.BAD_REQUEST


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


async def _reply(send: Send, status: int) -> None:
    headers = [] if status == HTTPStatus.NO_CONTENT else [(b"content-length", b"0")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
