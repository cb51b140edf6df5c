"""Bodies of several parts: `multipart/related` uploads and `multipart/mixed` batches."""

import re
from typing import NamedTuple

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_MAX_PARTS = 2_000


class Part(NamedTuple):
    """One part; header names are lower case."""

    headers: dict[str, str]
    body: bytes


def split(body: bytes, content_type: str) -> list[Part]:
    """Return the parts. Raises ValueError for what is no multipart body.

    Lines end as the first one does, in CRLF or, as Google's Python client sends them, in LF:
    a part's own bytes may hold either.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("no boundary")
    mark = b"--" + found.group(1).encode()
    start = body.find(mark)
    if start < 0:
        raise ValueError("no part")
    end = b"\r\n" if body[start + len(mark) :].startswith(b"\r\n") else b"\n"
    pieces = body[start + len(mark) :].split(end + mark)
    if not pieces[-1].startswith(b"--") or len(pieces) > _MAX_PARTS:
        raise ValueError("not closed, or too many parts")
    return [_part(piece.removeprefix(end), end) for piece in pieces[:-1]]


def _part(raw: bytes, end: bytes) -> Part:
    if raw.startswith(end):
        return Part({}, raw[len(end) :])
    head, _, body = raw.partition(end + end)
    return Part(read_headers(head), body)


def read_headers(head: bytes) -> dict[str, str]:
    """Return header lines by lower-case name."""
    lines = (line.partition(":") for line in head.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in lines if name.strip()}
