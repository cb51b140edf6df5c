"""What Google (or the way to it) can answer instead of what was asked, as one tree.

    GoogleError
    ├── RetryError                  ask again later, after `retry_after_s` if it says so
    │   ├── RateLimitedError            too fast: for this user or for the whole project
    │   │   └── DailyLimitError             the day's budget is spent: stop until reset, alert
    │   └── UnavailableError            5xx, no answer in time, connection lost
    │       ├── MalformedAnswerError        truncated, not JSON, not the promised shape
    │       └── AuthUnavailableError        our own auth service gave no token for now
    ├── UnauthorizedError           the access token is not accepted: refresh it once
    ├── ConnectionUnusableError     auth gives no token: unknown, not active, not allowed
    ├── GrantError                  the connection degrades: report `finding` to auth
    │   ├── BlockedError                an administrator forbids it
    │   ├── ScopeMissingError           the user has to consent to more
    │   └── GrantDeadError              the grant is over: the user has to consent again
    ├── ItemTerminalError           never for this item: record, don't retry
    ├── ItemNotFoundError           gone, no access, or never there
    ├── CursorLostError             the page token is not accepted: record a gap, then snapshot
    ├── ChannelRefusedError         no push channel this way: `reason` says why
    └── BadRequestError             a bug of ours: fail loudly

`classify` maps an answer to the tree, once, by the error table of Google's Drive API
(https://developers.google.com/workspace/drive/api/guides/handle-errors). No message holds
a token.
"""

import datetime as dt
import email.utils
import re
from typing import Any, ClassVar, Final, Literal

import msgspec

from drivewake.runtime.errors import DrivewakeError

MAX_MESSAGE_CHARS: Final = 300
MAX_RETRY_AFTER_S: Final = 86_400.0
_SECRETS: Final = re.compile(r"ya29\.[\w.-]+|Bearer\s+\S+|1//[\w-]+", re.IGNORECASE)


class GoogleError(DrivewakeError):
    """Google did not do what was asked."""

    def __init__(
        self, message: str = "", *, method: str = "", status: int = 0, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.method = method
        self.status = status
        self.reason = reason


class RetryError(GoogleError):
    """Google cannot answer now; ask again later."""

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        status: int = 0,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, method=method, status=status, reason=reason)
        self.retry_after_s = retry_after_s


class RateLimitedError(RetryError):
    """Google asks for a slower pace."""

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        status: int = 0,
        reason: str = "",
        retry_after_s: float | None = None,
        scope: Literal["user", "project"] = "user",
    ) -> None:
        super().__init__(
            message, method=method, status=status, reason=reason, retry_after_s=retry_after_s
        )
        self.scope = scope


class DailyLimitError(RateLimitedError):
    """The project's budget of the day is spent."""


class UnavailableError(RetryError):
    """Google is away, slow or failing."""


class MalformedAnswerError(UnavailableError):
    """Google's answer was cut short or is not what its description promises."""


class AuthUnavailableError(UnavailableError):
    """The auth service cannot give a token now."""


class UnauthorizedError(GoogleError):
    """Google does not accept the access token."""


class ConnectionUnusableError(GoogleError):
    """The auth service gives no token for this connection."""


class GrantError(GoogleError):
    """The grant does not allow this."""

    finding: ClassVar[Literal["blocked", "scope_missing", "grant_dead"]]


class BlockedError(GrantError):
    """An administrator forbids the use of the API."""

    finding = "blocked"


class ScopeMissingError(GrantError):
    """The user did not consent to what this call needs."""

    finding = "scope_missing"


class GrantDeadError(GrantError):
    """The grant is over: its user must consent again."""

    finding = "grant_dead"


class ItemTerminalError(GoogleError):
    """Google will never do that with this item for this connection."""


class ItemNotFoundError(GoogleError):
    """The item is gone, was never there, or this connection has no access to it."""


class CursorLostError(GoogleError):
    """Google does not accept the page token any more."""


class ChannelRefusedError(GoogleError):
    """Google refuses to open this push channel."""


class BadRequestError(GoogleError):
    """The request was wrong: a bug of ours."""


RATE_REASONS: Final = {"userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded"}
DAILY_REASONS: Final = {"dailyLimitExceeded", "quotaExceeded", "dailyLimitExceededUnreg"}
SCOPE_REASONS: Final = {
    "insufficientPermissions",
    "insufficientScopes",
    "appNotAuthorizedToFile",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
}
BLOCKED_REASONS: Final = {
    "domainPolicy",
    "admin_policy_enforced",
    "accountDisabled",
    "appBlacklisted",
}
ITEM_REASONS: Final = {
    "insufficientFilePermissions",
    "fileNotDownloadable",
    "fileNotExportable",
    "exportSizeLimitExceeded",
    "cannotDownloadAbusiveFile",
    "cannotDownloadFile",
    "downloadRestrictedForRevision",
    "download_restricted_for_revision",
    "teamDriveMembershipRequired",
    "fileOwnerNotMemberOfTeamDrive",
}
CHANNEL_REASONS: Final = ("push.", "channelIdNotUnique", "channelUnknown")
ITEM_METHODS: Final = (
    "drive.files.get",
    "drive.files.download",
    "drive.files.export",
    "drive.permissions.",
    "drive.revisions.",
    "drive.comments.",
    "drive.replies.",
    "drive.drives.get",
)
BUG_REASONS: Final = {"forbidden", "accessNotConfigured", "SERVICE_DISABLED"}
CURSOR_METHODS: Final = {"drive.changes.list", "drive.changes.watch", "drive.files.list"}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What an error answer says, whatever its envelope."""

    status: int
    reason: str = ""
    message: str = ""
    location: str = ""
    retry_after_s: float | None = None


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
        entries = [entry for entry in _list(error.get("errors")) if isinstance(entry, dict)]
        infos = [entry for entry in _list(error.get("details")) if isinstance(entry, dict)]
        if entries:
            location = _text(entries[0].get("location"))
        reasons = [_text(entry.get("reason")) for entry in (*entries, *infos)]
        reason = next(filter(None, reasons), _text(error.get("status")))
    return Problem(
        status=status,
        reason=reason[:100],
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
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def classify(method: str, problem: Problem) -> GoogleError:
    """Return the error that a refused call means; `method` is its discovery id."""
    status, reason = problem.status, problem.reason
    text = f"{method}: {status} {reason or 'no reason given'}"
    if problem.message:
        text += f": {problem.message}"

    def plain(kind: type[GoogleError]) -> GoogleError:
        return kind(text, method=method, status=status, reason=reason)

    def later(kind: type[RetryError]) -> GoogleError:
        return kind(
            text, method=method, status=status, reason=reason, retry_after_s=problem.retry_after_s
        )

    if reason.startswith(CHANNEL_REASONS):
        return plain(ItemNotFoundError if status == 404 else ChannelRefusedError)
    if status == 401:
        # Without any header Google answers `required`: then we forgot it.
        return plain(BadRequestError if reason == "required" else UnauthorizedError)
    if status == 429 or reason in RATE_REASONS:
        return RateLimitedError(
            text,
            method=method,
            status=status,
            reason=reason,
            retry_after_s=problem.retry_after_s,
            scope="project" if status == 403 and reason == "rateLimitExceeded" else "user",
        )
    if status >= 500 or status in {408, 425}:
        return later(UnavailableError)
    if 300 <= status < 400:
        return later(MalformedAnswerError)
    if reason in DAILY_REASONS:
        return later(DailyLimitError)
    if status == 410 or _lost_cursor(method, problem):
        return plain(CursorLostError if method in CURSOR_METHODS else ItemNotFoundError)
    if status == 403:
        return plain(_forbidden(method, reason))
    if status == 404:
        return plain(ItemNotFoundError)
    if reason == "invalid_grant":
        return plain(GrantDeadError)
    return plain(BadRequestError)


def _lost_cursor(method: str, problem: Problem) -> bool:
    if method not in CURSOR_METHODS:
        return False
    if problem.status == 404:
        # A shared drive that is gone is not a lost cursor of one that lives.
        return problem.location not in {"driveId", "teamDriveId", "fileId"}
    return (
        problem.status == 400
        and problem.location == "pageToken"
        and problem.reason in {"invalid", "badRequest", "invalidParameter", "invalidPageToken"}
    )


def _forbidden(method: str, reason: str) -> type[GoogleError]:
    if reason in SCOPE_REASONS:
        return ScopeMissingError
    if reason in BLOCKED_REASONS:
        return BlockedError
    if reason in BUG_REASONS:
        return BadRequestError
    if reason in ITEM_REASONS:
        return ItemTerminalError
    # Of one item an unknown refusal is final; of a whole log it must be looked at.
    return ItemTerminalError if method.startswith(ITEM_METHODS) else BadRequestError


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
