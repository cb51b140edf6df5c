"""Who learns of what: permissions, groups, links, expiry, visibility, through Google's client."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from googleapiclient.errors import HttpError

from drivewake.lab.google import RunningGoogle

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
FOLDER = "application/vnd.google-apps.folder"
DriveOf = Callable[[str], Any]
Act = Callable[..., list[dict[str, Any]]]


def start(drive: Any) -> str:  # noqa: ANN401 - Google's client has no types
    """Return a start page token."""
    token: str = drive.changes().getStartPageToken().execute()["startPageToken"]
    return token


def changed(drive: Any, token: str) -> list[tuple[str, bool]]:  # noqa: ANN401
    """Return (file id, removed) of the first page of changes."""
    page = drive.changes().list(pageToken=token, fields="changes(fileId,removed)").execute()
    return [(c["fileId"], c["removed"]) for c in page["changes"]]


def create(drive: Any, name: str, **body: Any) -> str:  # noqa: ANN401
    """Create a file; return its id."""
    made: str = drive.files().create(body={"name": name, **body}).execute()["id"]
    return made


def share(drive: Any, file: str, **permission: Any) -> str:  # noqa: ANN401
    """Share a file; return the permission's id."""
    made: str = drive.permissions().create(fileId=file, body=permission).execute()["id"]
    return made


def reason(error: HttpError) -> tuple[int, str]:
    """Return status and reason."""
    (detail,) = error.error_details
    return error.status_code, detail["reason"]


@pytest.fixture(autouse=True)
def carol(control: httpx.Client) -> None:
    """A third user."""
    assert control.post("/_sim/users", json={"email": CAROL}).status_code == 200


def test_an_acl_change_is_in_the_logs_of_the_owner_and_those_it_touches(
    whole_drive_of: DriveOf,
) -> None:
    """An ordinary collaborator's log does not tell of re-shares."""
    alice, bob, carol = (whole_drive_of(who) for who in (ALICE, BOB, CAROL))
    file = create(alice, "a")
    share(alice, file, type="user", role="writer", emailAddress=BOB)
    tokens = start(alice), start(bob), start(carol)

    share(alice, file, type="user", role="reader", emailAddress=CAROL)

    assert [(file, False)] == changed(alice, tokens[0]) == changed(carol, tokens[2])
    assert [] == changed(bob, tokens[1])


def test_loss_of_access_is_removed_and_says_no_more(whole_drive_of: DriveOf) -> None:
    """Deleting the permission hides the file: removed in that user's log."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = create(alice, "a")
    permission = share(alice, file, type="user", role="reader", emailAddress=BOB)
    token = start(bob)

    alice.permissions().delete(fileId=file, permissionId=permission).execute()

    assert [(file, True)] == changed(bob, token)


def test_permission_changes_are_recorded_only_on_the_item_changed(whole_drive_of: DriveOf) -> None:
    """What is below a shared folder becomes visible without any entry."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    folder = create(alice, "f", mimeType=FOLDER)
    below = create(alice, "below", parents=[folder])
    token = start(bob)

    share(alice, folder, type="user", role="reader", emailAddress=BOB)

    assert [(folder, False)] == changed(bob, token)
    assert "below" == bob.files().get(fileId=below).execute()["name"]


def test_opening_a_link_shared_file_puts_it_in_that_users_log_only(whole_drive_of: DriveOf) -> None:
    """The first time; later changes reach who opened it."""
    alice, bob, carol = (whole_drive_of(who) for who in (ALICE, BOB, CAROL))
    file = create(alice, "a")
    share(alice, file, type="anyone", role="reader")
    tokens = start(alice), start(bob), start(carol)

    bob.files().get_media(fileId=file).execute()
    bob.files().get_media(fileId=file).execute()

    assert ([], [(file, False)], []) == (
        changed(alice, tokens[0]),
        changed(bob, tokens[1]),
        changed(carol, tokens[2]),
    )
    later = start(bob)
    alice.files().update(fileId=file, body={"name": "b"}).execute()
    assert [(file, False)] == changed(bob, later)
    assert ["b"] == [f["name"] for f in bob.files().list().execute()["files"]]


def test_starring_is_in_ones_own_log_only(whole_drive_of: DriveOf) -> None:
    """The version advances for all, even though others are not told."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = create(alice, "a")
    share(alice, file, type="user", role="writer", emailAddress=BOB)
    tokens = start(alice), start(bob)

    bob.files().update(fileId=file, body={"starred": True}).execute()

    assert ([], [(file, False)]) == (changed(alice, tokens[0]), changed(bob, tokens[1]))
    shown = alice.files().get(fileId=file, fields="starred,version").execute()
    assert {"starred": False, "version": "3"} == shown


def test_files_permissions_is_only_for_who_can_share(whole_drive_of: DriveOf) -> None:
    """A reader gets neither the field nor the list; a writer does unless writers may not share."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = create(alice, "a")
    permission = share(alice, file, type="user", role="reader", emailAddress=BOB)

    def seen() -> bool:
        fields = "permissions,capabilities/canShare"
        shown = bob.files().get(fileId=file, fields=fields).execute()
        assert shown["capabilities"]["canShare"] == ("permissions" in shown)
        return "permissions" in shown

    assert not seen()
    with pytest.raises(HttpError) as caught:
        bob.permissions().list(fileId=file).execute()
    body = {"role": "writer"}
    alice.permissions().update(fileId=file, permissionId=permission, body=body).execute()
    assert seen()
    alice.files().update(fileId=file, body={"writersCanShare": False}).execute()
    assert not seen()
    assert (403, "insufficientFilePermissions") == reason(caught.value)


def test_permission_pages_are_of_at_most_a_hundred(
    whole_drive_of: DriveOf, google: RunningGoogle, control: httpx.Client
) -> None:
    """My Drive tells all at once by default; pageSize is cut to 100; a drive tells 100."""
    people = [f"p{n}@example.com" for n in range(130)]
    for email in people:
        google.call(google.world.add_user, email)
    members = [{"type": "user", "role": "reader", "emailAddress": e} for e in people]
    organizer = {"type": "user", "role": "organizer", "emailAddress": ALICE}
    alice = whole_drive_of(ALICE)
    file = create(alice, "a")
    actions = [
        {"op": "create_drive", "name": "D", "ref": "d"},
        {"op": "set_permissions", "file": "d", "permissions": [organizer, *members]},
        {"op": "set_permissions", "file": file, "permissions": members},
    ]
    made = control.post("/_sim/actions", json={"actor": ALICE, "actions": actions}).json()
    drive = made["results"][0]["id"]

    def sizes(file_id: str, **more: Any) -> list[int]:  # noqa: ANN401
        listing = alice.permissions()
        request, found = listing.list(fileId=file_id, supportsAllDrives=True, **more), []
        while request is not None:
            page = request.execute()
            found.append(len(page["permissions"]))
            request = listing.list_next(request, page)
        return found

    assert [131] == sizes(file)
    assert [100, 31] == sizes(file, pageSize=500)
    assert [100, 31] == sizes(drive)


def test_members_of_a_group_have_its_access(whole_drive_of: DriveOf, control: httpx.Client) -> None:
    """Sharing with a group is in its members' logs; who joins later sees, without an entry."""
    alice, bob, carol = (whole_drive_of(who) for who in (ALICE, BOB, CAROL))
    group = {"email": "team@example.com", "members": [BOB]}
    control.post("/_sim/groups", json=group)
    file = create(alice, "a")
    tokens = start(bob), start(carol)
    share(alice, file, type="group", role="reader", emailAddress="team@example.com")

    control.post("/_sim/groups", json={**group, "members": [CAROL]})

    facts = control.get("/_sim/ledger", params={"types": "group"}).json()["facts"]

    assert [[BOB], [CAROL]] == [fact["members"] for fact in facts]
    assert [(file, True)] == changed(bob, tokens[0])
    assert [] == changed(carol, tokens[1])
    assert "a" == carol.files().get(fileId=file).execute()["name"]
    assert ["a"] == [f["name"] for f in carol.files().list().execute()["files"]]


def test_a_permission_ends_when_it_expires(whole_drive_of: DriveOf, google: RunningGoogle) -> None:
    """expirationTime: from then on the file is removed from the user's sight."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = create(alice, "a")
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
    share(alice, file, type="user", role="reader", emailAddress=BOB, expirationTime=end.isoformat())
    token = start(bob)
    assert [] == changed(bob, token)

    now_ns = google.world.now_ns
    google.world.now_ns = lambda: now_ns() + 31 * 86_400 * 10**9
    control = httpx.Client(base_url=google.base_url)
    fresh = control.post("/_sim/tokens", json={"email": BOB}).json()["access_token"]
    page = control.get(
        "/drive/v3/changes",
        params={"pageToken": token},
        headers={"Authorization": f"Bearer {fresh}"},
    ).json()
    control.close()

    assert [(file, True)] == [(c["fileId"], c["removed"]) for c in page["changes"]]


def test_a_resource_key_is_needed_beside_the_link(
    whole_drive_of: DriveOf, control: httpx.Client, act: Act
) -> None:
    """Else link-shared is 404; who has access by name, or came before, needs none."""
    alice = whole_drive_of(ALICE)
    file = create(alice, "a")
    share(alice, file, type="anyone", role="reader")
    act(ALICE, {"op": "mark", "file": file, "resourceKey": "0-abc"})
    token = control.post("/_sim/tokens", json={"email": BOB}).json()["access_token"]

    def status(key: str | None, **params: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["X-Goog-Drive-Resource-Keys"] = f"other/1,{file}/{key}"
        return control.get(f"/drive/v3/files/{file}", params=params, headers=headers).status_code

    shown = alice.files().get(fileId=file, fields="resourceKey").execute()
    assert {"resourceKey": "0-abc"} == shown
    assert (404, 404, 200) == (status(None), status("wrong"), status("0-abc"))
    assert 200 == status("0-abc", alt="media")
    assert 200 == status(None)


def test_a_limited_folder_cuts_inherited_access(whole_drive_of: DriveOf) -> None:
    """inheritedPermissionsDisabled: only owners and who was added on the folder itself."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    top = create(alice, "top", mimeType=FOLDER)
    limited = create(alice, "limited", mimeType=FOLDER, parents=[top])
    below = create(alice, "below", parents=[limited])
    share(alice, top, type="user", role="reader", emailAddress=BOB)
    token = start(bob)

    alice.files().update(fileId=limited, body={"inheritedPermissionsDisabled": True}).execute()

    assert [(limited, True)] == changed(bob, token)
    with pytest.raises(HttpError) as caught:
        bob.files().get(fileId=below).execute()
    assert (404, "notFound") == reason(caught.value)
    share(alice, limited, type="user", role="reader", emailAddress=BOB)
    assert "below" == bob.files().get(fileId=below).execute()["name"]


def test_ownership_is_transferred_on_purpose_only(whole_drive_of: DriveOf) -> None:
    """TransferOwnership must be set; the one before stays a writer."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = create(alice, "a")
    body = {"type": "user", "role": "owner", "emailAddress": BOB}
    with pytest.raises(HttpError) as caught:
        alice.permissions().create(fileId=file, body=body).execute()

    alice.permissions().create(fileId=file, body=body, transferOwnership=True).execute()

    assert (403, "forbidden") == reason(caught.value)
    fields = "ownedByMe,permissions(emailAddress,role)"
    assert {
        "ownedByMe": True,
        "permissions": [
            {"emailAddress": BOB, "role": "owner"},
            {"emailAddress": ALICE, "role": "writer"},
        ],
    } == bob.files().get(fileId=file, fields=fields).execute()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "alien", "role": "reader"}, (400, "invalid")),
        ({"type": "user", "role": "king", "emailAddress": BOB}, (400, "invalid")),
        ({"type": "user", "role": "organizer", "emailAddress": BOB}, (400, "invalidRole")),
        (
            {"type": "user", "role": "reader", "emailAddress": "nobody@example.com"},
            (400, "invalidSharingRequest"),
        ),
        (
            {"type": "anyone", "role": "reader", "expirationTime": "2099-01-01T00:00:00Z"},
            (403, "expirationDateNotAllowedForSharedDriveMembers"),
        ),
    ],
)
def test_sharing_is_refused_with_googles_reasons(
    whole_drive_of: DriveOf, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    """And nothing changes."""
    alice = whole_drive_of(ALICE)
    file = create(alice, "a")

    with pytest.raises(HttpError) as caught:
        alice.permissions().create(fileId=file, body=body).execute()

    assert expected == reason(caught.value)
    assert "1" == alice.files().get(fileId=file, fields="version").execute()["version"]
