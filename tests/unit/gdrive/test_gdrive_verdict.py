"""Every refusal of Google means one thing."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.gdrive import errors
from drivewake.gdrive.verdict import Problem, classify, clean, parse_retry_after, problem_of

LIST = "drive.changes.list"
GET = "drive.files.get"
WATCH = "drive.changes.watch"
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)

TABLE = [
    (LIST, 401, "authError", "", errors.UnauthorizedError),
    (LIST, 401, "", "", errors.UnauthorizedError),
    (WATCH, 401, "required", "", errors.BadRequestError),
    (LIST, 403, "forbidden", "", errors.BadRequestError),
    (LIST, 403, "userRateLimitExceeded", "", errors.RateLimitedError),
    (LIST, 403, "rateLimitExceeded", "", errors.RateLimitedError),
    (GET, 403, "sharingRateLimitExceeded", "", errors.RateLimitedError),
    (LIST, 429, "rateLimitExceeded", "", errors.RateLimitedError),
    (LIST, 429, "", "", errors.RateLimitedError),
    (LIST, 403, "dailyLimitExceeded", "", errors.DailyLimitError),
    (LIST, 403, "insufficientPermissions", "", errors.ScopeMissingError),
    (GET, 403, "appNotAuthorizedToFile", "", errors.ScopeMissingError),
    (LIST, 403, "domainPolicy", "", errors.BlockedError),
    (LIST, 400, "admin_policy_enforced", "", errors.BlockedError),
    (GET, 403, "insufficientFilePermissions", "", errors.ItemTerminalError),
    (GET, 403, "fileNotDownloadable", "", errors.ItemTerminalError),
    (GET, 403, "fileNotExportable", "", errors.ItemTerminalError),
    (GET, 403, "exportSizeLimitExceeded", "", errors.ItemTerminalError),
    (GET, 403, "cannotDownloadAbusiveFile", "", errors.ItemTerminalError),
    (GET, 403, "download_restricted_for_revision", "", errors.ItemTerminalError),
    (LIST, 403, "teamDriveMembershipRequired", "", errors.ItemTerminalError),
    (GET, 403, "somethingNew", "", errors.ItemTerminalError),
    (LIST, 403, "somethingNew", "", errors.BadRequestError),
    (GET, 404, "notFound", "fileId", errors.ItemNotFoundError),
    ("drive.channels.stop", 404, "notFound", "", errors.ItemNotFoundError),
    (LIST, 400, "invalid", "pageToken", errors.CursorLostError),
    ("drive.files.list", 400, "invalid", "pageToken", errors.CursorLostError),
    (LIST, 404, "notFound", "", errors.CursorLostError),
    (LIST, 404, "notFound", "driveId", errors.ItemNotFoundError),
    (LIST, 410, "", "", errors.CursorLostError),
    (GET, 410, "", "", errors.ItemNotFoundError),
    (LIST, 400, "required", "pageToken", errors.BadRequestError),
    (LIST, 400, "invalidParameter", "fields", errors.BadRequestError),
    (LIST, 500, "backendError", "", errors.UnavailableError),
    (LIST, 502, "", "", errors.UnavailableError),
    (LIST, 599, "", "", errors.UnavailableError),
    (LIST, 302, "", "", errors.MalformedAnswerError),
    (LIST, 400, "invalid_grant", "", errors.GrantDeadError),
    (WATCH, 400, "channelIdNotUnique", "", errors.ChannelRefusedError),
    (WATCH, 400, "push.webhookUrlNotHttps", "", errors.ChannelRefusedError),
    (WATCH, 401, "push.webhookUrlUnauthorized", "", errors.ChannelRefusedError),
    (WATCH, 403, "push.webhookUrlUnauthorized", "", errors.ChannelRefusedError),
    (WATCH, 400, "push.channelIdInvalid", "", errors.ChannelRefusedError),
]


@pytest.mark.parametrize(("method", "status", "reason", "location", "kind"), TABLE)
def test_the_table_of_refusals(
    method: str, status: int, reason: str, location: str, kind: type[errors.GoogleError]
) -> None:
    """Status, reason and method decide what is to be done."""
    error = classify(method, Problem(status=status, reason=reason, location=location))

    assert kind is type(error)
    assert (method, status, reason) == (error.method, error.status, error.reason)


def test_a_403_rate_limit_is_the_projects_and_a_429_the_users() -> None:
    """Only the project's own limit slows everybody down."""
    project = classify(LIST, Problem(status=403, reason="rateLimitExceeded"))
    user = classify(LIST, Problem(status=429, reason="rateLimitExceeded", retry_after_s=7.0))

    assert isinstance(project, errors.RateLimitedError)
    assert isinstance(user, errors.RateLimitedError)
    assert ("project", None) == (project.scope, project.retry_after_s)
    assert ("user", 7.0) == (user.scope, user.retry_after_s)


def test_googles_envelopes_are_read() -> None:
    """Drive's errors[], google.rpc details[], OAuth's string, and nothing at all."""
    drive = {
        "error": {
            "code": 400,
            "message": "Invalid Value",
            "errors": [
                {
                    "domain": "global",
                    "reason": "invalid",
                    "message": "Invalid Value",
                    "locationType": "parameter",
                    "location": "pageToken",
                }
            ],
        }
    }
    rpc = {
        "error": {
            "code": 403,
            "message": "no",
            "status": "PERMISSION_DENIED",
            "details": [{"@type": "x", "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}],
        }
    }
    read = [problem_of(400, msgspec.json.encode(body)) for body in (drive, rpc)]

    assert ("invalid", "pageToken", "Invalid Value") == (
        read[0].reason,
        read[0].location,
        read[0].message,
    )
    assert "ACCESS_TOKEN_SCOPE_INSUFFICIENT" == read[1].reason
    assert "invalid_grant" == problem_of(400, b'{"error":"invalid_grant"}').reason
    assert "" == problem_of(502, b"<html>Bad Gateway</html>").reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "details", "message", "reason", "location"]),
            inner,
            max_size=3,
        )
    ),
)


@settings(deadline=None)
@given(
    status=st.integers(300, 599), body=st.binary(max_size=50) | json_values.map(msgspec.json.encode)
)
def test_any_body_has_a_verdict(status: int, body: bytes) -> None:
    """No answer makes the mapping fail, and no message is long or unprintable."""
    error = classify(LIST, problem_of(status, body))

    assert str(error).isprintable()
    assert 600 > len(str(error))


def test_messages_hold_no_tokens() -> None:
    """Access tokens, refresh tokens and Authorization headers are cut out."""
    text = clean("for ya29.a0Af_x-1 or 1//0gX-y or Bearer abc.def and s3cret", "s3cret")

    assert "for [redacted] or [redacted] or [redacted] and [redacted]" == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("99999999", 86_400.0),
        ("٣", None),
        ("-1", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str, expected: float | None) -> None:
    """Both forms of the header; nonsense is none; a day at most."""
    assert expected == parse_retry_after(value, NOW)
