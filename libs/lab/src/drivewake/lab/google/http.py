"""The thinnest possible web layer: what a request is, what a response is, who handles it.

A framework would cost a third of the simulator's rate and hide the exact bytes, headers and
broken answers that a simulated Google has to be able to give.
"""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec

Handler = Callable[["Request"], "Response | Awaitable[Response]"]
_JSON = b"application/json; charset=UTF-8"


class Request:
    """One HTTP request, read wholly. Header names are lower case."""

    __slots__ = ("_query", "body", "headers", "method", "path", "path_params", "query_string")

    def __init__(
        self, method: str, path: str, query_string: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self._query: dict[str, str] | None = None
        self.headers = headers
        self.body = body
        self.path_params: dict[str, str] = {}

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; the last of a name wins."""
        if self._query is None:
            pairs = [part.partition("=") for part in self.query_string.split("&") if part]
            self._query = {_unquoted(name): _unquoted(value) for name, _, value in pairs}
        return self._query

    @property
    def origin(self) -> str:
        """Scheme and host as the caller reached us, behind a proxy too."""
        scheme = self.headers.get("x-forwarded-proto", "http")
        return f"{scheme}://{self.headers.get('host', 'localhost')}"

    def form(self) -> dict[str, str]:
        """Return the fields of a posted form; the last of a name wins."""
        return dict(self.form_list())

    def form_list(self) -> list[tuple[str, str]]:
        """Return the fields of a posted form in order. Undecodable bytes are replaced."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)


def _unquoted(text: str) -> str:
    return _decoded(text) if "%" in text or "+" in text else text


_decoded = lru_cache(maxsize=1024)(unquote_plus)
"""Clients write the same long `fields` in every call."""


class Response:
    """A status, headers and a body."""

    __slots__ = ("body", "headers", "note", "status")

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        note: str = "",
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers
        self.note = note

    @classmethod
    def json(
        cls,
        value: Any,  # noqa: ANN401 - anything that JSON can say
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        note: str = "",
    ) -> "Response":
        """Encode `value` as JSON."""
        more = tuple((n.encode(), v.encode()) for n, v in headers)
        kind = ((b"content-type", _JSON), (b"cache-control", b"no-cache, no-store, max-age=0"))
        return cls(msgspec.json.encode(value), status, kind + more, note)

    @classmethod
    def html(cls, text: str, status: int = 200) -> "Response":
        """Return a page."""
        return cls(text.encode(), status, ((b"content-type", b"text/html; charset=utf-8"),))

    @classmethod
    def redirect(cls, location: str, status: int = 303) -> "Response":
        """Send the browser elsewhere."""
        return cls(b"", status, ((b"location", location.encode()),))


class Router:
    """Finds the handler of a method and path; patterns name segments with `{braces}`."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[tuple[str, int], list[tuple[re.Pattern[str], Handler]]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve `path`. The first pattern added wins, exact paths win over patterns."""
        if "{" not in path:
            self._exact[method, path] = handler
            return
        source = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(path))
        pattern = re.compile(source)
        self._patterns.setdefault((method, path.count("/")), []).append((pattern, handler))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """Return the handler and the values of the named segments."""
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, {}
        for pattern, handler in self._patterns.get((method, path.count("/")), ()):
            found = pattern.fullmatch(path)
            if found:
                return handler, found.groupdict()
        return None


async def read_request(scope: Any, receive: Any) -> Request:  # noqa: ANN401 - ASGI's own types
    """Read an ASGI request wholly."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return Request(scope["method"], scope["path"], query, headers, b"".join(chunks))


async def send_response(response: Response, send: Any) -> None:  # noqa: ANN401 - ASGI's own type
    """Send a response with its length."""
    length = (b"content-length", str(len(response.body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [*response.headers, length],
        }
    )
    await send({"type": "http.response.body", "body": response.body})
