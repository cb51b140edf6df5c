"""Content on its way in: simple, multipart and resumable uploads, as Google's clients send them."""

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.http import Request, Response
from drivewake.lab.google.ids import Ids
from drivewake.lab.google.multipart import split

_CHUNK = 256 * 1024
_MAX_SESSIONS = 1_000
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Media(NamedTuple):
    """Uploaded bytes and the type they were sent as."""

    mime_type: str
    data: bytes


class _Session:
    """A resumable upload under way: what has come so far and what finishes it."""

    __slots__ = ("data", "finish", "mime_type")

    def __init__(self, mime_type: str, finish: Callable[[Media], Response]) -> None:
        self.mime_type = mime_type
        self.finish = finish
        self.data = bytearray()


def read_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object, empty for no body. Raises ApiError (400 parseError)."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return value


def read_upload(request: Request) -> tuple[dict[str, Any], Media]:
    """Return metadata and media of a simple or multipart upload. Raises ApiError (400)."""
    kind = request.query.get("uploadType", "")
    content_type = request.headers.get("content-type", "application/octet-stream")
    if kind == "media":
        return {}, Media(content_type, request.body)
    if kind != "multipart":
        raise invalid_value("uploadType")
    try:
        metadata, media = split(request.body, content_type)
    except ValueError:
        text = "Malformed multipart body."
        raise ApiError(400, "badContent", text) from None
    sent_as = media.headers.get("content-type", "application/octet-stream")
    return read_object(metadata.body), Media(sent_as, media.body)


class Uploads:
    """Resumable sessions. At most a thousand are kept: the oldest is forgotten first."""

    def __init__(self, seed: int) -> None:
        self._ids = Ids(seed, "uploads")
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def begin(self, request: Request, finish: Callable[[Media], Response]) -> Response:
        """Open a session; its address is in the `Location` header."""
        mime_type = request.headers.get("x-upload-content-type", "application/octet-stream")
        upload_id = self._ids.secret("AB", 60)
        self._sessions[upload_id] = _Session(mime_type, finish)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        address = f"{request.origin}{request.path}?{request.query_string}&upload_id={upload_id}"
        headers = ((b"location", address.encode()), (b"x-guploader-uploadid", upload_id.encode()))
        return Response(b"", 200, headers)

    def proceed(self, request: Request) -> Response:
        """Take a chunk, or say how much has come. Raises ApiError."""
        upload_id = request.query.get("upload_id", "")
        session = self._sessions.get(upload_id)
        if session is None:
            raise ApiError(404, "notFound", "Upload session not found.")
        total = self._take(request, session)
        if total is None or len(session.data) < total:
            held = len(session.data)
            so_far = ((b"range", f"bytes=0-{held - 1}".encode()),) if held else ()
            return Response(b"", 308, so_far)
        del self._sessions[upload_id]
        return session.finish(Media(session.mime_type, bytes(session.data)))

    def _take(self, request: Request, session: _Session) -> int | None:
        """Add a chunk; return the whole length once it is known."""
        stated = request.headers.get("content-range")
        if stated is None:
            session.data = bytearray(request.body)
            return len(request.body)
        found = _RANGE.fullmatch(stated)
        if found is None:
            raise invalid_value("Content-Range")
        total = None if found[3] == "*" else int(found[3])
        if found[1] is None:
            return total
        first, behind = int(found[1]), int(found[2]) + 1
        misfit = first != len(session.data) or behind - first != len(request.body)
        last = total is not None and behind == total
        if misfit or (not last and len(request.body) % _CHUNK):
            raise invalid_value("Content-Range", "The chunk does not fit the upload.")
        session.data += request.body
        return total
