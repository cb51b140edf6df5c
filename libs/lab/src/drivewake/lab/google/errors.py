"""Google's refusals with the envelopes they travel in.

The Drive envelope always has `errors[]`; `status` appears on authentication failures only.
The OAuth endpoints answer with RFC 6749's flat object instead (`OAuthError`).
"""

from typing import Any

INVALID_CREDENTIALS = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project."
)
UNREGISTERED_CALLER = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)
SCOPE_INSUFFICIENT = "Request had insufficient authentication scopes."


class ApiError(Exception):
    """A refusal by an API method; `body()` is what goes over the wire.

    `short` replaces the message inside `errors[]` where Google's differ.
    """

    def __init__(  # noqa: PLR0913 - the parts of an envelope
        self,
        code: int,
        reason: str,
        message: str,
        *,
        domain: str = "global",
        location: str | None = None,
        location_type: str = "parameter",
        status: str | None = None,
        short: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.domain = domain
        self.location = location
        self.location_type = location_type
        self.status = status
        self.short = short
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """Return Drive's envelope."""
        entry = {
            "message": self.short or self.message,
            "domain": self.domain,
            "reason": self.reason,
        }
        if self.location is not None:
            entry["location"] = self.location
            entry["locationType"] = self.location_type
        error: dict[str, Any] = {"code": self.code, "message": self.message, "errors": [entry]}
        if self.status is not None:
            error["status"] = self.status
        return {"error": error}


_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def rpc_body(error: ApiError) -> dict[str, Any]:
    """Return the envelope of Google's newer APIs: a status, and no `errors[]`.

    Which of both Drive Activity has is inferred from its age and its likes (Docs, Slides).
    """
    status = error.status or _STATUSES.get(error.code, "UNKNOWN")
    return {"error": {"code": error.code, "message": error.message, "status": status}}


class OAuthError(Exception):
    """A refusal by an OAuth endpoint: `{"error", "error_description"}`.

    `subtype` is Google's own addition, for example `invalid_rapt`.
    """

    def __init__(
        self,
        error: str,
        description: str | None = None,
        code: int = 400,
        *,
        subtype: str | None = None,
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.subtype = subtype
        self.error = error
        self.description = description
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return RFC 6749's object."""
        shown = {"error": self.error}
        if self.description is not None:
            shown["error_description"] = self.description
        if self.subtype is not None:
            shown["error_subtype"] = self.subtype
        return shown


def required(parameter: str, message: str | None = None) -> ApiError:
    """Refuse a call without a parameter it needs."""
    text = message or f"Required parameter: {parameter}"
    return ApiError(400, "required", text, location=parameter)


def invalid_value(parameter: str, message: str = "Invalid Value") -> ApiError:
    """Refuse a value that cannot be."""
    return ApiError(400, "invalid", message, location=parameter)


def invalid_parameter(parameter: str, message: str) -> ApiError:
    """Refuse a value that names what does not exist."""
    return ApiError(400, "invalidParameter", message, location=parameter)


def file_not_found(file_id: str) -> ApiError:
    """Say that the file is gone or hidden."""
    return ApiError(404, "notFound", f"File not found: {file_id}.", location="fileId")


def drive_not_found(message: str) -> ApiError:
    """Say that the shared drive is gone, or that the caller is no member."""
    return ApiError(404, "notFound", message, location="driveId")


def part_not_found(part: str, message: str) -> ApiError:
    """Say that a file has no such permission, revision, comment or reply."""
    return ApiError(404, "notFound", message, location=f"{part}Id")


def insufficient_file_permissions(message: str) -> ApiError:
    """Say that the caller sees the file but may not do this."""
    return ApiError(403, "insufficientFilePermissions", message)


def bad_token() -> ApiError:
    """Refuse an expired, revoked or invented access token."""
    return ApiError(
        401,
        "authError",
        INVALID_CREDENTIALS,
        location="Authorization",
        location_type="header",
        status="UNAUTHENTICATED",
        short="Invalid Credentials",
        headers=(
            (
                "www-authenticate",
                'Bearer realm="https://accounts.google.com/", error=invalid_token',
            ),
        ),
    )


def no_credentials(http_method: str) -> ApiError:
    """Refuse a call without Authorization: 403 for GET, 401 for what writes."""
    if http_method == "GET":
        return ApiError(403, "forbidden", UNREGISTERED_CALLER, status="PERMISSION_DENIED")
    return ApiError(
        401,
        "required",
        "Request is missing required authentication credential. Expected OAuth 2 access token, "
        "login cookie or other valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project.",
        location="Authorization",
        location_type="header",
        status="UNAUTHENTICATED",
        short="Login Required.",
        headers=(("www-authenticate", 'Bearer realm="https://accounts.google.com/"'),),
    )


def insufficient_scopes() -> ApiError:
    """Refuse a token whose scopes do not cover the method."""
    return ApiError(
        403,
        "insufficientPermissions",
        SCOPE_INSUFFICIENT,
        status="PERMISSION_DENIED",
        short="Insufficient Permission",
        headers=(
            (
                "www-authenticate",
                'Bearer realm="https://accounts.google.com/", error="insufficient_scope"',
            ),
        ),
    )


def over_quota(*, per_user: bool, code: int = 403) -> ApiError:
    """Refuse a call beyond the units of this minute."""
    reason = "userRateLimitExceeded" if per_user and code == 403 else "rateLimitExceeded"
    message = "User Rate Limit Exceeded" if per_user and code == 403 else "Rate Limit Exceeded"
    return ApiError(code, reason, message, domain="usageLimits")


def over_activity_quota() -> ApiError:
    """Refuse a query of Drive Activity beyond the minute's."""
    text = (
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of "
        "service 'driveactivity.googleapis.com'."
    )
    return ApiError(
        429, "rateLimitExceeded", text, domain="usageLimits", status="RESOURCE_EXHAUSTED"
    )
