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

`verdict` maps an answer to this tree, once. No message holds a token.
"""

from typing import ClassVar, Literal

from drivewake.runtime.errors import DrivewakeError


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
