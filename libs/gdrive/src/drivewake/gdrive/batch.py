"""Many calls in one request, by the library's BatchHttpRequest, which here does not send.

The library writes and reads the multipart bodies; between the two `transport` sends. A batch
costs as many quota units as its calls by themselves; it saves round trips and connections.
Source: https://developers.google.com/workspace/drive/api/guides/performance#batch-requests.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import httplib2
from googleapiclient.errors import BatchError, HttpError
from googleapiclient.http import BatchHttpRequest, HttpRequest

from drivewake.gdrive.errors import GoogleError, MalformedAnswerError, UnauthorizedError
from drivewake.gdrive.verdict import classify, problem_of

MAX_CALLS: Final = 100
METHOD: Final = "drive.batch"
_REFUSED_TOKEN: Final = re.compile(rb"^HTTP/1\.1 401 ", re.MULTILINE)


class _WrittenError(Exception):
    """The library has written the body: this is where it would send."""

    def __init__(self, body: str, headers: dict[str, str]) -> None:
        super().__init__("written")
        self.body = body
        self.headers = headers


class _Writes:
    """Stands where the library wants an http object, and takes what it would send."""

    credentials = None

    def request(self, uri: str, method: str, body: str, headers: dict[str, str]) -> None:
        del uri, method
        raise _WrittenError(body, headers)


class _Reads:
    """Gives the library the answer that was received."""

    credentials = None

    def __init__(self, content_type: str, body: bytes) -> None:
        self._answer = httplib2.Response({"status": "200", "content-type": content_type})
        self._body = body

    def request(self, *_: object, **__: object) -> tuple[httplib2.Response, bytes]:
        return self._answer, self._body


class Batch:
    """Up to 100 calls as one: send `request`, then ask for the `answers` of its body."""

    def __init__(self, uri: str, calls: Sequence[HttpRequest]) -> None:
        if not 1 <= len(calls) <= MAX_CALLS:
            raise ValueError(f"a batch has 1 to {MAX_CALLS} calls")
        self._calls = calls
        self._content_type = ""
        self._library = BatchHttpRequest(batch_uri=uri)
        self._found: dict[str, bytes | GoogleError] = {}
        for number, call in enumerate(calls):
            self._library.add(call, callback=self._take, request_id=str(number))
        try:
            self._library.execute(http=_Writes())
        except _WrittenError as written:
            self.request = HttpRequest(
                None,
                self._judge,
                uri,
                method="POST",
                body=written.body,
                headers={**written.headers, "accept-encoding": "gzip", "user-agent": _agent(calls)},
                methodId=METHOD,
            )

    def answers(self, body: bytes) -> list[bytes | GoogleError]:
        """Return what each call was answered, in order: its verbatim body, or why not.

        Raises UnauthorizedError if the token was refused, MalformedAnswerError.
        """
        if _REFUSED_TOKEN.search(body):
            raise UnauthorizedError(f"{METHOD}: 401 for a call in it", method=METHOD, status=401)
        try:
            self._library.execute(http=_Reads(self._content_type, body))
            return [self._found[str(number)] for number in range(len(self._calls))]
        except (BatchError, HttpError, KeyError, ValueError, IndexError, TypeError) as error:
            # The library trips over parts that are missing or cut; its texts quote them.
            raise MalformedAnswerError(
                f"{METHOD}: {type(error).__name__} in the answer", method=METHOD
            ) from None

    def _judge(self, answer: httplib2.Response, body: bytes) -> bytes:
        """Keep what the parts are divided by; a refusal of the whole is an error."""
        if int(answer["status"]) >= 300:  # noqa: PLR2004 - the first status that is no success
            raise HttpError(answer, body)
        self._content_type = answer.get("content-type", "")
        return body

    def _take(self, number: str, value: Any, error: HttpError | None) -> None:  # noqa: ANN401
        call = self._calls[int(number)]
        if error is None:
            self._found[number] = value if isinstance(value, bytes) else b""
            return
        retry_after = str(error.resp.get("retry-after", ""))
        problem = problem_of(int(error.resp.status), error.content, retry_after=retry_after)
        self._found[number] = classify(str(call.methodId), problem)


def _agent(calls: Sequence[HttpRequest]) -> str:
    return str(calls[0].headers.get("user-agent", ""))
