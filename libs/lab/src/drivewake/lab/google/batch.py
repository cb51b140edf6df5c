"""`POST /batch/drive/v3`: up to 100 calls in one request, answered in one response.

Each call is served, paid for and noted on its own. A call without credentials of its own has
those of the request around it. Media cannot go through a batch.
"""

import inspect
from http import HTTPStatus
from urllib.parse import urlsplit

from drivewake.lab.google.errors import ApiError
from drivewake.lab.google.http import Request, Response, Router
from drivewake.lab.google.ids import Ids
from drivewake.lab.google.multipart import Part, read_headers, split

PATH = "/batch/drive/v3"
_MAX_CALLS = 100
_MAX_URL = 8_000


class Batches:
    """Serves batches through the router that serves single calls; `seed` decides boundaries."""

    def __init__(self, router: Router, seed: int) -> None:
        self._router = router
        self._ids = Ids(seed, "batch")

    def mount(self) -> None:
        """Add the route."""
        self._router.add("POST", PATH, self.serve)

    async def serve(self, request: Request) -> Response:
        """Serve one batch; only a malformed or too long one is refused as a whole."""
        try:
            parts = split(request.body, request.headers.get("content-type", ""))
        except ValueError:
            return _refuse("badRequest", "Failed to parse batch request.")
        if len(parts) > _MAX_CALLS:
            return _refuse("badRequest", f"The batch request exceeds {_MAX_CALLS} calls.")
        boundary = self._ids.secret("batch_", 32)
        pieces: list[bytes] = []
        for part in parts:
            answer = await self._serve_one(request, part)
            pieces.append(b"--" + boundary.encode() + b"\r\n" + _encode(part, answer))
        body = b"".join(pieces) + b"--" + boundary.encode() + b"--\r\n"
        kind = f"multipart/mixed; boundary={boundary}".encode()
        return Response(body, 200, ((b"content-type", kind),))

    async def _serve_one(self, around: Request, part: Part) -> Response:
        head, _, content = _cut(part.body)
        first, *lines = head.decode("latin-1").splitlines() or [""]
        try:
            method, target, *_ = first.split(" ")
        except ValueError:
            return _refuse("badRequest", "Failed to parse batch request.")
        url = urlsplit(target)
        if len(target) > _MAX_URL:
            return _refuse("badRequest", f"The URL of a call exceeds {_MAX_URL} characters.")
        headers = read_headers("\n".join(lines).encode("latin-1"))
        for name in ("authorization", "host", "x-goog-drive-resource-keys"):
            if name in around.headers:
                headers.setdefault(name, around.headers[name])
        inner = Request(method, url.path, url.query, headers, content)
        if inner.query.get("alt") == "media" or "upload" in url.path or "/export" in url.path:
            return _refuse("badRequest", "Media cannot be sent or received in a batch.")
        found = self._router.find(method, url.path)
        if found is None or url.path == PATH:
            return _refuse("notFound", "Not Found", 404)
        handler, inner.path_params = found
        answer = handler(inner)
        return await answer if inspect.isawaitable(answer) else answer


def _cut(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Divide an HTTP message at its first empty line, however its lines end."""
    ends = [(message.find(end), end) for end in (b"\r\n\r\n", b"\n\n") if end in message]
    return message.partition(min(ends)[1]) if ends else (message, b"", b"")


def _refuse(reason: str, message: str, code: int = 400) -> Response:
    return Response.json(ApiError(code, reason, message).body(), code)


def _encode(part: Part, answer: Response) -> bytes:
    content_id = part.headers.get("content-id", "").strip("<>")
    lines = ["Content-Type: application/http"]
    if content_id:
        lines.append(f"Content-ID: <response-{content_id}>")
    lines += ["", f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{n.decode().title()}: {v.decode('latin-1')}" for n, v in answer.headers]
    lines += [f"Content-Length: {len(answer.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body + b"\r\n"
