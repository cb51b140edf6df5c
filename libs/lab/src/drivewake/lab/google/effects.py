"""How a commanded fault is felt: in the body, on the wire, in the connection itself."""

import asyncio
import contextlib
import ctypes
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import msgspec
import psutil

from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.faults import Rule
from drivewake.lab.google.http import Response, send_response

_MAX_WAIT_S = 600.0
_SLICES = 10
_BOGUS = "~!!~bogus-page-token"
_WIRE = frozenset({"timeout", "reset", "truncate", "late", "slow"})


class FaultyResponse(Response):
    """A response with the rules that spoil its way to the caller."""

    __slots__ = ("rules",)

    def __init__(self, response: Response, rules: Sequence[Rule]) -> None:
        super().__init__(response.body, response.status, response.headers, response.note)
        self.rules = tuple(rules)


def refuse(rules: Sequence[Rule]) -> None:
    """Raise the refusal that the rules ask for, if they do: ApiError."""
    for rule in rules:
        if rule.effect == "expired_page_token":
            raise invalid_value("pageToken")
        if rule.effect == "status":
            after = rule.retry_after_s
            headers = () if after is None else (("retry-after", str(after)),)
            domain = "usageLimits" if "LimitExceeded" in rule.reason else "global"
            raise ApiError(rule.status, rule.reason, rule.message, domain=domain, headers=headers)


def spoil(response: Response, rules: Sequence[Rule], now_ns: int) -> Response:
    """Return the response as the rules have it; what happens on the wire comes later."""
    for rule in rules:
        if rule.effect == "content_type":
            page = b"<!doctype html><html><body>Sorry, something went wrong.</body></html>"
            kind = (b"content-type", rule.value.encode())
            response = Response(page, response.status, (kind,))
        elif rule.effect == "clock_skew":
            date = formatdate(now_ns / 1e9 + rule.seconds, usegmt=True).encode()
            response = Response(
                response.body, response.status, (*response.headers, (b"date", date))
            )
        elif rule.effect == "truncate_json":
            short = response.body[: int(len(response.body) * rule.keep)]
            response = Response(short, response.status, response.headers)
        elif rule.effect in {"bogus_page_token", "incomplete_search"}:
            response = _rewritten(response, rule)
    wire = [rule for rule in rules if rule.effect in _WIRE]
    return FaultyResponse(response, wire) if wire else response


def _rewritten(response: Response, rule: Rule) -> Response:
    """Change what a successful JSON answer says."""
    try:
        body: Any = msgspec.json.decode(response.body)
    except msgspec.MsgspecError:
        return response
    if response.status != 200 or not isinstance(body, dict):
        return response
    if rule.effect == "bogus_page_token":
        names = ("nextPageToken", "newStartPageToken", "startPageToken")
        body |= {name: _BOGUS for name in names if name in body}
    elif "files" in body:
        body |= {"files": body["files"][::2], "incompleteSearch": True}
    return Response(msgspec.json.encode(body), response.status, response.headers)


async def deliver(response: Response, scope: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    """Send a response, spoiled on the wire when its rules say so."""
    rules = response.rules if isinstance(response, FaultyResponse) else ()
    for rule in rules:
        if rule.effect == "late":
            await asyncio.sleep(min(max(rule.seconds, 0), _MAX_WAIT_S))
        if rule.effect == "timeout":
            await asyncio.sleep(min(max(rule.seconds, 0), _MAX_WAIT_S))
            with contextlib.suppress(ConnectionError):  # the caller lost patience first
                reset(scope["client"])
            return
        if rule.effect == "reset":
            reset(scope["client"])
            return
    broken = next((rule for rule in rules if rule.effect == "truncate"), None)
    slow = next((rule for rule in rules if rule.effect == "slow"), None)
    if broken is None and slow is None:
        await send_response(response, send)
        return
    await _start(response, send)
    sent = len(response.body) if broken is None else int(len(response.body) * broken.keep)
    pause_s = 0.0 if slow is None else min(max(slow.seconds, 0), _MAX_WAIT_S) / _SLICES
    step = max(1, -(-sent // _SLICES))
    for at in range(0, sent, step):
        await asyncio.sleep(pause_s)
        piece = response.body[at : min(at + step, sent)]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if broken is not None:
        await asyncio.sleep(0.05)  # lets what was sent leave before the connection goes
        reset(scope["client"])
        return
    await send({"type": "http.response.body", "body": b""})


async def _start(response: Response, send: Any) -> None:  # noqa: ANN401 - ASGI
    length = (b"content-length", str(len(response.body)).encode())
    headers = [*response.headers, length]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})


def reset(client: tuple[str, int]) -> None:
    """Cut the connection from a client: it sees ECONNRESET, not an orderly end.

    ASGI has no word for that. The server's socket is found by its peer and disconnected
    (connect(2) with AF_UNSPEC sends RST); the server then sees a dead connection. Raises
    ConnectionError, which the server answers with 500, where no such socket is found.
    """
    host, port = client[0], int(client[1])
    for connection in psutil.Process().net_connections("tcp"):
        peer = connection.raddr
        if peer and peer.port == port and peer.ip.removeprefix("::ffff:") == host:
            nowhere = ctypes.create_string_buffer(16)  # a sockaddr of family AF_UNSPEC
            libc = ctypes.CDLL(None, use_errno=True)
            if connection.fd >= 0 and libc.connect(connection.fd, nowhere, 16) == 0:
                return
    raise ConnectionError(f"No connection of {host}:{port} to cut")
