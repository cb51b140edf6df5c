"""Redacted capture of calls, as curl lines that a person can replay with an own token."""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from googleapiclient.http import HttpRequest

from drivewake.gdrive.verdict import clean

_BODY_TOKEN: Final = re.compile(r'("token"\s*:\s*")[^"]*"')
_REQUEST_IDS: Final = ("x-guploader-uploadid", "x-goog-request-id", "x-request-id")
_FIRST_ERROR: Final = 300


class Capture:
    """Writes one line a call: the command to repeat it, and what came back.

    The access token is `$TOKEN`, a channel's token `$CHANNEL_TOKEN`. Bodies of good answers
    are data of people and stay out; bodies of errors are shown, cleaned and cut.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def write(
        self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Write one call down. `body` is as received, perhaps compressed."""
        words = ["curl", "--compressed", "-X", request.method]
        for name, value in sorted(request.headers.items()):
            if name not in {"accept-encoding", "content-length", "authorization"}:
                words += ["-H", f"{name}: {value}"]
        if request.body:
            words += ["-d", _BODY_TOKEN.sub(r'\1$CHANNEL_TOKEN"', str(request.body))]
        line = f'{shlex.join(words)} -H "authorization: Bearer $TOKEN" {shlex.quote(request.uri)}'
        known = "".join(f" {name}={headers[name]}" for name in _REQUEST_IDS if name in headers)
        line += f" # {status}, {len(body)} bytes{known}"
        if status >= _FIRST_ERROR and "content-encoding" not in headers:
            line += f": {clean(body[:1000].decode(errors='replace'))}"
        self._write(line)
