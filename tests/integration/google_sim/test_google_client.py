"""Google's own Python client, unchanged, against the simulated Drive."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from drivewake.lab.google import Options, RunningGoogle, start_google
from drivewake.lab.google.profiles import Profile

ALICE, BOB = "alice@example.com", "bob@example.com"
DriveOf = Callable[[str], Any]
Act = Callable[..., list[dict[str, Any]]]


def file_action(name: str, content: bytes = b"x", **more: str) -> dict[str, Any]:
    """Return an action that creates a file under a ref of its name."""
    text = base64.b64encode(content).decode()
    return {"op": "create_file", "ref": name, "name": name, "content": text, **more}


def start(drive: Any) -> str:  # noqa: ANN401 - Google's client has no types
    """Return a start page token."""
    token: str = drive.changes().getStartPageToken().execute()["startPageToken"]
    return token


def refusal(error: HttpError) -> tuple[int, str, str]:
    """Return status, reason and message as the client parsed them."""
    (detail,) = error.error_details
    return error.status_code, detail["reason"], detail["message"]


def test_changes_coalesce_into_one_entry_per_file(drive_of: DriveOf, act: Act) -> None:
    """Create, rename and trash between two polls are one entry with the last state."""
    drive = drive_of(ALICE)
    token = start(drive)
    act(
        ALICE,
        file_action("a"),
        file_action("b"),
        {"op": "update", "file": "a", "name": "A"},
        {"op": "trash", "file": "a"},
    )

    page = drive.changes().list(pageToken=token, fields="*").execute()

    assert [("b", False, "1"), ("A", True, "3")] == [
        (c["file"]["name"], c["file"]["trashed"], c["file"]["version"]) for c in page["changes"]
    ]


def test_list_next_walks_all_pages_and_the_last_alone_has_a_new_start(
    drive_of: DriveOf, act: Act
) -> None:
    """NewStartPageToken comes only on the last page, nextPageToken on all others."""
    drive = drive_of(ALICE)
    token = start(drive)
    act(ALICE, *(file_action(str(n)) for n in range(25)))
    seen: list[str] = []
    ends: list[tuple[bool, bool]] = []
    request = drive.changes().list(pageToken=token, pageSize=10)

    while request is not None:
        page = request.execute()
        seen += [c["file"]["name"] for c in page["changes"]]
        ends.append(("nextPageToken" in page, "newStartPageToken" in page))
        last = page
        request = drive.changes().list_next(request, page)

    assert [str(n) for n in range(25)] == seen
    assert [(True, False), (True, False), (False, True)] == ends
    assert [] == drive.changes().list(pageToken=last["newStartPageToken"]).execute()["changes"]


def test_a_page_size_beyond_the_maximum_is_coerced(drive_of: DriveOf, act: Act) -> None:
    """changes.list takes 5000 for 1000."""
    drive = drive_of(ALICE)
    token = start(drive)
    act(ALICE, *(file_action(str(n)) for n in range(1001)))

    page = drive.changes().list(pageToken=token, pageSize=5000).execute()

    assert len(page["changes"]) == 1000
    assert "nextPageToken" in page


@pytest.mark.parametrize("action", [{"op": "delete", "file": "a"}, "unshare"])
def test_removed_means_deleted_or_out_of_sight(
    drive_of: DriveOf, act: Act, action: dict[str, Any] | str
) -> None:
    """The entry says removed, has no file, and does not say why."""
    drive = drive_of(BOB)
    act(ALICE, file_action("a"))
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    (shared,) = act(ALICE, {"op": "set_permissions", "file": "a", "permissions": [share]})
    token = start(drive)
    if action == "unshare":
        action = {"op": "set_permissions", "file": "a", "permissions": []}

    act(ALICE, action)

    listing = drive.changes().list(pageToken=token, fields="*")
    (change,) = listing.execute()["changes"]
    assert (True, shared["id"], False) == (change["removed"], change["fileId"], "file" in change)
    hidden = drive.changes().list(pageToken=token, includeRemoved=False).execute()
    assert [] == hidden["changes"]
    assert "newStartPageToken" in hidden


def test_restrict_to_my_drive_leaves_out_what_others_shared(drive_of: DriveOf, act: Act) -> None:
    """Shared files that were not added to My Drive are not changes of My Drive."""
    drive = drive_of(BOB)
    token = start(drive)
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    act(
        ALICE,
        file_action("of alice"),
        {"op": "set_permissions", "file": "of alice", "permissions": [share]},
    )
    act(BOB, file_action("of bob"))

    def names(*, restrict: bool) -> list[str]:
        page = drive.changes().list(pageToken=token, restrictToMyDrive=restrict).execute()
        return [c["file"]["name"] for c in page["changes"]]

    assert ["of alice", "of bob"] == names(restrict=False)
    assert ["of bob"] == names(restrict=True)


def test_fields_project_the_answer(drive_of: DriveOf, act: Act) -> None:
    """What was not asked for is not there."""
    drive = drive_of(ALICE)
    token = start(drive)
    (made,) = act(ALICE, file_action("a", b"hello"))

    page = (
        drive.changes()
        .list(pageToken=token, fields="changes(fileId,file(size,owners/me,sha256Checksum))")
        .execute()
    )

    assert page == {
        "changes": [
            {
                "fileId": made["id"],
                "file": {
                    "owners": [{"me": True}],
                    "sha256Checksum": hashlib.sha256(b"hello").hexdigest(),
                    "size": "5",
                },
            }
        ]
    }


def test_files_list_returns_trashed_by_default(drive_of: DriveOf, act: Act) -> None:
    """Only a query leaves the trash out."""
    drive = drive_of(ALICE)
    act(ALICE, file_action("kept"), file_action("gone"), {"op": "trash", "file": "gone"})

    def names(q: str | None) -> list[str]:
        return [f["name"] for f in drive.files().list(q=q).execute()["files"]]

    assert ["kept", "gone"] == names(None)
    assert ["kept"] == names("trashed = false")


def test_files_list_pages_over_what_was_there_when_it_began(drive_of: DriveOf, act: Act) -> None:
    """Files made meanwhile are not in it: the start token must be taken first."""
    drive = drive_of(ALICE)
    act(ALICE, *(file_action(str(n)) for n in range(5)))
    request = drive.files().list(pageSize=2, orderBy="name desc")
    names: list[str] = []

    while request is not None:
        page = request.execute()
        names += [f["name"] for f in page["files"]]
        act(ALICE, file_action(f"later {len(names)}"))
        request = drive.files().list_next(request, page)

    assert ["4", "3", "2", "1", "0"] == names


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda d: d.files().get(fileId="nope"),
            (404, "notFound", "File not found: nope."),
        ),
        (
            lambda d: d.files().list(fields="files(bogus)"),
            (400, "invalidParameter", "Invalid field selection bogus"),
        ),
        (lambda d: d.changes().list(pageToken="abc"), (400, "invalid", "Invalid Value")),
        (lambda d: d.files().list(pageToken="abc"), (400, "invalid", "Invalid Value")),
        (
            lambda d: d.about().get(),
            (400, "required", "The 'fields' parameter is required for this method."),
        ),
        (
            lambda d: d.files().generateIds(count=1001),
            (
                400,
                "invalidParameter",
                "Invalid value '1001'. Values must be within the range: [1, 1000]",
            ),
        ),
        (
            lambda d: d.channels().stop(body={"id": "x", "resourceId": "y"}),
            (404, "notFound", "Channel 'x' not found for project"),
        ),
    ],
)
def test_refusals_parse_as_googles(
    drive_of: DriveOf, call: Callable[[Any], Any], expected: tuple[int, str, str]
) -> None:
    """HttpError finds status, reason and message where Google puts them."""
    with pytest.raises(HttpError) as caught:
        call(drive_of(ALICE)).execute()

    assert expected == refusal(caught.value)


def test_a_missing_page_token_is_named(control: httpx.Client, google: RunningGoogle) -> None:
    """400 required, location pageToken, no status: as in a real log."""
    token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]

    answer = control.get("/drive/v3/changes", headers={"Authorization": f"Bearer {token}"})

    message = "Required parameter: pageToken"
    detail = {
        "message": message,
        "domain": "global",
        "reason": "required",
        "location": "pageToken",
        "locationType": "parameter",
    }
    assert {"error": {"code": 400, "message": message, "errors": [detail]}} == answer.json()


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/drive/v3/about", {}, (403, "forbidden", "PERMISSION_DENIED")),
        ("POST", "/drive/v3/channels/stop", {}, (401, "required", "UNAUTHENTICATED")),
        (
            "GET",
            "/drive/v3/about",
            {"Authorization": "Bearer invented"},
            (401, "authError", "UNAUTHENTICATED"),
        ),
    ],
)
def test_authentication_failures_carry_a_status(
    control: httpx.Client, method: str, path: str, headers: dict[str, str], expected: object
) -> None:
    """Without a header GET is 403 and POST 401; a bad token is 401."""
    error = control.request(method, path, headers=headers).json()["error"]

    assert expected == (error["code"], error["errors"][0]["reason"], error["status"])


def test_a_scope_that_does_not_cover_the_method_is_refused(control: httpx.Client) -> None:
    """403 insufficientPermissions."""
    wanted = {"email": ALICE, "scopes": ["openid"]}
    token = control.post("/_sim/tokens", json=wanted).json()["access_token"]

    answer = control.get("/drive/v3/files", headers={"Authorization": f"Bearer {token}"})

    assert 403 == answer.status_code
    assert answer.json()["error"]["errors"][0]["reason"] == "insufficientPermissions"


def test_an_empty_bucket_refuses_with_googles_reason() -> None:
    """changes.list costs 100 units even when nothing changed."""
    tight = Profile(name="tight", project_units_per_min=10_000, user_units_per_min=210)
    with (
        start_google(Options(users=(ALICE,), profile=tight)) as google,
        httpx.Client(base_url=google.base_url) as control,
    ):
        token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        drive = build(
            "drive",
            "v3",
            credentials=Credentials(token),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": f"{google.base_url}/drive/v3/"},
            static_discovery=True,
        )
        first = start(drive)
        drive.changes().list(pageToken=first).execute()
        drive.changes().list(pageToken=first).execute()

        with pytest.raises(HttpError) as caught:
            drive.changes().list(pageToken=first).execute()

        assert (403, "userRateLimitExceeded", "User Rate Limit Exceeded") == refusal(caught.value)
        drive.close()
