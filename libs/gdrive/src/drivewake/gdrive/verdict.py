"""Maps an answer of Google to the error tree, once, for every caller.

Source: https://developers.google.com/workspace/drive/api/guides/handle-errors and what
clients met in the field: a reason decides before its status does.
"""

import datetime as dt
import email.utils
import re
from http import HTTPStatus
from typing import Any, Final

import msgspec

from drivewake.gdrive.errors import (
    BadRequestError,
    BlockedError,
    ChannelRefusedError,
    CursorLostError,
    DailyLimitError,
    GoogleError,
    GrantDeadError,
    ItemNotFoundError,
    ItemTerminalError,
    MalformedAnswerError,
    RateLimitedError,
    RetryError,
    ScopeMissingError,
    UnauthorizedError,
    UnavailableError,
)

MAX_MESSAGE_CHARS: Final = 300
MAX_REASON_CHARS: Final = 100
MAX_RETRY_AFTER_S: Final = 86_400.0
MAX_DIGITS: Final = 9
_SECRETS: Final = re.compile(r"ya29\.[\w.-]+|Bearer\s+\S+|1//[\w-]+", re.IGNORECASE)

BY_REASON: Final[dict[str, type[GoogleError]]] = {
    "userRateLimitExceeded": RateLimitedError,
    "rateLimitExceeded": RateLimitedError,
    "sharingRateLimitExceeded": RateLimitedError,
    "dailyLimitExceeded": DailyLimitError,
    "insufficientPermissions": ScopeMissingError,
    "insufficientScopes": ScopeMissingError,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ScopeMissingError,
    "appNotAuthorizedToFile": ScopeMissingError,
    "domainPolicy": BlockedError,
    "admin_policy_enforced": BlockedError,
    "invalid_grant": GrantDeadError,
    "insufficientFilePermissions": ItemTerminalError,
    "fileNotDownloadable": ItemTerminalError,
    "fileNotExportable": ItemTerminalError,
    "exportSizeLimitExceeded": ItemTerminalError,
    "cannotDownloadAbusiveFile": ItemTerminalError,
    "cannotDownloadFile": ItemTerminalError,
    "download_restricted_for_revision": ItemTerminalError,
    "teamDriveMembershipRequired": ItemTerminalError,
    "channelIdNotUnique": ChannelRefusedError,
    "push.webhookUrlNotHttps": ChannelRefusedError,
    "push.webhookUrlUnauthorized": ChannelRefusedError,
    "push.channelIdInvalid": ChannelRefusedError,
    # Without an Authorization header, or with an API that our project has not enabled.
    "forbidden": BadRequestError,
    "required": BadRequestError,
    "accessNotConfigured": BadRequestError,
}
BY_STATUS: Final[dict[int, type[GoogleError]]] = {
    HTTPStatus.UNAUTHORIZED: UnauthorizedError,
    HTTPStatus.NOT_FOUND: ItemNotFoundError,
    HTTPStatus.REQUEST_TIMEOUT: UnavailableError,
    HTTPStatus.GONE: ItemNotFoundError,
    HTTPStatus.TOO_EARLY: UnavailableError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
}
CURSOR_METHODS: Final = {"drive.changes.list", "drive.changes.watch", "drive.files.list"}
CURSOR_REASONS: Final = {"invalid", "badRequest", "invalidParameter", "invalidPageToken"}
ITEM_METHODS: Final = (
    "drive.files.get",
    "drive.files.download",
    "drive.files.export",
    "drive.permissions.",
    "drive.revisions.",
    "drive.comments.",
    "drive.replies.",
    "drive.drives.get",
    "driveactivity.",
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What an error answer says, whatever its envelope."""

    status: int
    reason: str = ""
    message: str = ""
    location: str = ""
    retry_after_s: float | None = None


def classify(method: str, problem: Problem) -> GoogleError:
    """Return the error that a refused call means; `method` is its discovery id."""
    kind = _kind(method, problem)
    text = f"{method}: {problem.status} {problem.reason or 'no reason given'}"
    if problem.message:
        text += f": {problem.message}"
    error = kind(text, method=method, status=problem.status, reason=problem.reason)
    if isinstance(error, RetryError):
        error.retry_after_s = problem.retry_after_s
    if isinstance(error, RateLimitedError) and problem.status == HTTPStatus.FORBIDDEN:
        # 403 rateLimitExceeded is the project's limit; a 429 is about this user.
        error.scope = "project" if problem.reason == "rateLimitExceeded" else "user"
    return error


def _kind(method: str, problem: Problem) -> type[GoogleError]:
    status = problem.status
    if status < HTTPStatus.BAD_REQUEST:
        # A redirect, or an odd success: nothing that this API promises.
        return MalformedAnswerError
    if _lost_cursor(method, problem):
        return CursorLostError
    known = BY_REASON.get(problem.reason) or BY_STATUS.get(status)
    if known is not None:
        return known
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError
    if status == HTTPStatus.FORBIDDEN and method.startswith(ITEM_METHODS):
        # Of one item an unknown refusal is final; of a whole log somebody must look at it.
        return ItemTerminalError
    return BadRequestError


def _lost_cursor(method: str, problem: Problem) -> bool:
    if method not in CURSOR_METHODS:
        return False
    if problem.status == HTTPStatus.NOT_FOUND:
        # A shared drive that is gone is not a lost cursor of one that lives.
        return problem.location not in {"driveId", "teamDriveId", "fileId"}
    if problem.status == HTTPStatus.GONE:
        return True
    return (
        problem.status == HTTPStatus.BAD_REQUEST
        and problem.location == "pageToken"
        and problem.reason in CURSOR_REASONS
    )


def problem_of(
    status: int, body: bytes, *, retry_after: str = "", now: dt.datetime | None = None
) -> Problem:
    """Read an error body leniently: Drive's `errors[]`, google.rpc `details[]`, OAuth's string.

    A body that is none of these leaves `reason` empty; this never raises.
    """
    reason = message = location = ""
    try:
        error: Any = msgspec.json.decode(body).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        error = None
    if isinstance(error, str):
        reason = error
    elif isinstance(error, dict):
        message = _text(error.get("message"))
        entries = _objects(error.get("errors"))
        location = _text(entries[0].get("location")) if entries else ""
        reasons = [
            _text(entry.get("reason")) for entry in (*entries, *_objects(error.get("details")))
        ]
        reason = next(filter(None, reasons), _text(error.get("status")))
    return Problem(
        status=status,
        reason=clean(reason)[:MAX_REASON_CHARS],
        message=clean(message),
        location=location,
        retry_after_s=parse_retry_after(retry_after, now or dt.datetime.now(dt.UTC)),
    )


def clean(text: str, *secrets: str) -> str:
    """Return text fit for logs: bounded, printable, without tokens."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "[redacted]")
    text = _SECRETS.sub("[redacted]", text)
    return "".join(c if c.isprintable() else " " for c in text[:MAX_MESSAGE_CHARS])


def parse_retry_after(value: str, now: dt.datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (number or HTTP date), else None."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
