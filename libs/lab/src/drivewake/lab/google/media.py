"""Bytes on their way out, whole or in ranges."""

import re
from urllib.parse import quote

from drivewake.lab.google.http import Request, Response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def media_response(request: Request, data: bytes, mime_type: str, name: str) -> Response:
    """Return content, or the part a `Range` header asks for; nobody gets an ETag.

    206 with `Content-Range`, 416 when the range begins behind the end: so does any range of
    an empty file. A range that cannot be read is ignored.
    """
    headers = (
        (b"content-type", mime_type.encode("latin-1", "replace")),
        (b"content-disposition", f"attachment; filename*=UTF-8''{quote(name)}".encode()),
        (b"cache-control", b"private, max-age=0, must-revalidate"),
        (b"accept-ranges", b"bytes"),
    )
    size = len(data)
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or not (found[1] or found[2]):
        return Response(data, 200, headers)
    if found[1]:
        first = int(found[1])
        behind = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < first:
            return Response(data, 200, headers)
    else:
        first, behind = max(0, size - int(found[2])), size
    if first >= size:
        return Response(b"", 416, ((b"content-range", f"bytes */{size}".encode()),))
    span = (b"content-range", f"bytes {first}-{behind - 1}/{size}".encode())
    return Response(data[first:behind], 206, (*headers, span))
