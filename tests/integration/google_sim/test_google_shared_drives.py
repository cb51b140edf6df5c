"""Shared drives through Google's own client: logs of their own, flags, membership."""

from collections.abc import Callable
from typing import Any

import pytest
from googleapiclient.errors import HttpError

ALICE, BOB = "alice@example.com", "bob@example.com"
ALL: dict[str, Any] = {"supportsAllDrives": True}
ITEMS: dict[str, Any] = {**ALL, "includeItemsFromAllDrives": True}
DriveOf = Callable[[str], Any]


def new_drive(drive: Any, name: str = "D") -> str:  # noqa: ANN401 - Google's client has no types
    """Create a shared drive; return its id."""
    made: str = drive.drives().create(requestId=name, body={"name": name}).execute()["id"]
    return made


def start(drive: Any, **where: Any) -> str:  # noqa: ANN401
    """Return a start page token."""
    token: str = drive.changes().getStartPageToken(**where).execute()["startPageToken"]
    return token


def changes(drive: Any, token: str, **where: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the first page of changes, all fields."""
    page = drive.changes().list(pageToken=token, fields="*", **where).execute()
    found: list[dict[str, Any]] = page["changes"]
    return found


def create(drive: Any, name: str, parent: str) -> str:  # noqa: ANN401
    """Create a file in a drive."""
    body = {"name": name, "parents": [parent]}
    made: str = drive.files().create(body=body, **ALL).execute()["id"]
    return made


def join(drive: Any, drive_id: str, email: str, role: str = "writer") -> str:  # noqa: ANN401
    """Make somebody a member; return the permission's id."""
    body = {"type": "user", "role": role, "emailAddress": email}
    made: str = drive.permissions().create(fileId=drive_id, body=body, **ALL).execute()["id"]
    return made


def reason(error: HttpError) -> tuple[int, str]:
    """Return status and reason."""
    (detail,) = error.error_details
    return error.status_code, detail["reason"]


def test_a_shared_drive_has_a_log_of_its_own(whole_drive_of: DriveOf) -> None:
    """Its items' changes are in the drive's log, whoever made them."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    join(alice, drive, BOB)
    token = start(bob, driveId=drive, **ALL)

    first, second = create(alice, "by alice", drive), create(bob, "by bob", drive)

    seen = changes(alice, token, driveId=drive, **ITEMS)
    assert [(first, "by alice", drive), (second, "by bob", drive)] == [
        (c["fileId"], c["file"]["name"], c["file"]["driveId"]) for c in seen
    ]


def test_user_log_entries_for_drive_items_are_unreliable(whole_drive_of: DriveOf) -> None:
    """A member who did not act finds nothing in the own log: only the drive's is complete."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    join(alice, drive, BOB)
    tokens = start(alice), start(bob)

    file = create(alice, "x", drive)

    assert [file] == [c["fileId"] for c in changes(alice, tokens[0], **ITEMS)]
    assert [] == changes(bob, tokens[1], **ITEMS)


def test_both_flags_must_be_true_for_drive_items(whole_drive_of: DriveOf) -> None:
    """IncludeItemsFromAllDrives and supportsAllDrives; without them the page skips them."""
    alice = whole_drive_of(ALICE)
    drive, token = new_drive(alice), start(alice)
    create(alice, "x", drive)

    def seen(**flags: bool) -> int:
        return len(changes(alice, token, **flags))

    assert (0, 0, 0, 1) == (
        seen(),
        seen(supportsAllDrives=True),
        seen(includeItemsFromAllDrives=True),
        seen(supportsAllDrives=True, includeItemsFromAllDrives=True),
    )


def test_a_drive_item_is_not_found_without_supports_all_drives(whole_drive_of: DriveOf) -> None:
    """404 notFound hides a missing flag."""
    alice = whole_drive_of(ALICE)
    file = create(alice, "x", new_drive(alice))

    with pytest.raises(HttpError) as caught:
        alice.files().get(fileId=file).execute()

    assert (404, "notFound") == reason(caught.value)
    assert file == alice.files().get(fileId=file, **ALL).execute()["id"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"driveId": "D", "supportsAllDrives": True}, (403, "includeTeamDriveItemsRequired")),
        ({"driveId": "D"}, (403, "supportsTeamDrivesRequired")),
        ({"driveId": "D", **ITEMS}, (404, "notFound")),
    ],
)
def test_a_drives_log_asks_for_its_flags_and_for_membership(
    whole_drive_of: DriveOf, flags: dict[str, Any], expected: tuple[int, str]
) -> None:
    """What is wrong with the call is said before who may read."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)

    with pytest.raises(HttpError) as caught:
        bob.changes().list(pageToken="1", **{**flags, "driveId": drive}).execute()

    assert expected == reason(caught.value)


def test_a_token_of_one_log_is_wrong_on_another(whole_drive_of: DriveOf) -> None:
    """It parses, and shows another past: the place of one log means nothing in another."""
    alice = whole_drive_of(ALICE)
    drive = new_drive(alice)
    user, ours = start(alice), start(alice, driveId=drive, **ALL)
    file = create(alice, "x", drive)

    right = [c.get("fileId") for c in changes(alice, ours, driveId=drive, **ITEMS)]
    wrong = [c.get("fileId") for c in changes(alice, user, driveId=drive, **ITEMS)]

    assert user != ours
    assert [file] == right
    assert right != wrong


def test_joining_a_drive_yields_one_drive_change(whole_drive_of: DriveOf) -> None:
    """Not one entry an item."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    for name in "abc":
        create(alice, name, drive)
    token = start(bob)

    join(alice, drive, BOB)

    (change,) = changes(bob, token, **ITEMS)
    assert ("drive", drive, "D", False) == (
        change["changeType"],
        change["driveId"],
        change["drive"]["name"],
        change["removed"],
    )
    assert "fileId" not in change


def test_leaving_a_drive_is_a_removed_drive_change_and_its_log_is_not_found(
    whole_drive_of: DriveOf,
) -> None:
    """Loss of access shows in the user's log alone; drive, items and log are 404."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    permission = join(alice, drive, BOB)
    file = create(alice, "x", drive)
    token, ours = start(bob), start(bob, driveId=drive, **ALL)

    alice.permissions().delete(fileId=drive, permissionId=permission, **ALL).execute()

    (change,) = changes(bob, token, **ITEMS)
    assert (drive, True, False) == (change["driveId"], change["removed"], "drive" in change)
    for call in (
        bob.changes().list(pageToken=ours, driveId=drive, **ITEMS),
        bob.drives().get(driveId=drive),
        bob.files().get(fileId=file, **ALL),
    ):
        with pytest.raises(HttpError) as caught:
            call.execute()
        assert (404, "notFound") == reason(caught.value)


def test_renaming_a_drive_is_in_all_members_logs(whole_drive_of: DriveOf) -> None:
    """A change of the drive itself reaches who is in it, and its own log."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    join(alice, drive, BOB)
    tokens = start(bob), start(bob, driveId=drive, **ALL)

    alice.drives().update(driveId=drive, body={"name": "renamed"}).execute()

    (in_user_log,) = changes(bob, tokens[0], **ITEMS)
    (in_drive_log,) = changes(bob, tokens[1], driveId=drive, **ITEMS)
    assert in_user_log["drive"]["name"] == in_drive_log["drive"]["name"] == "renamed"


def test_what_moves_out_of_a_drive_is_removed_from_its_log(whole_drive_of: DriveOf) -> None:
    """Still readable, so includeCorpusRemovals attaches the file."""
    alice = whole_drive_of(ALICE)
    drive = new_drive(alice)
    file = create(alice, "x", drive)
    token = start(alice, driveId=drive, **ALL)

    alice.files().update(fileId=file, addParents="root", removeParents=drive, **ALL).execute()

    (plain,) = changes(alice, token, driveId=drive, **ITEMS)
    (corpus,) = changes(alice, token, driveId=drive, includeCorpusRemovals=True, **ITEMS)
    assert (True, False) == (plain["removed"], "file" in plain)
    assert (True, "x") == (corpus["removed"], corpus["file"]["name"])
    assert alice.files().get(fileId=file, fields="ownedByMe").execute()["ownedByMe"]


def test_corpora_choose_what_a_listing_searches(whole_drive_of: DriveOf) -> None:
    """The user's own, one drive, or all."""
    alice = whole_drive_of(ALICE)
    first, second = new_drive(alice, "1"), new_drive(alice, "2")
    create(alice, "in 1", first)
    create(alice, "in 2", second)
    create(alice, "mine", "root")

    def names(**where: Any) -> list[str]:  # noqa: ANN401
        return [f["name"] for f in alice.files().list(**where).execute()["files"]]

    assert ["mine"] == names()
    assert ["in 1"] == names(corpora="drive", driveId=first, **ITEMS)
    assert ["in 1", "in 2", "mine"] == names(corpora="allDrives", **ITEMS)
    assert ["in 2"] == names(q=f"'{second}' in parents", **ITEMS)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"corpora": "allDrives"}, (403, "includeTeamDriveItemsRequired")),
        ({"corpora": "drive", **ITEMS}, (403, "teamDriveIdRequiresTeamDriveCorpora")),
        ({"driveId": "x", **ITEMS}, (403, "teamDriveIdRequiresTeamDriveCorpora")),
        ({"corpora": "world"}, (400, "invalid")),
    ],
)
def test_corpora_are_refused_as_google_does(
    whole_drive_of: DriveOf, where: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Reasons still speak of team drives."""
    with pytest.raises(HttpError) as caught:
        whole_drive_of(ALICE).files().list(**where).execute()

    assert expected == reason(caught.value)


def test_permissions_of_drive_items_are_not_on_the_file(whole_drive_of: DriveOf) -> None:
    """files.permissions is empty there; permissions.list tells what is inherited from where."""
    alice = whole_drive_of(ALICE)
    drive = new_drive(alice)
    join(alice, drive, BOB)
    file = create(alice, "x", drive)
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    alice.permissions().create(fileId=file, body=share, **ALL).execute()

    shown = alice.files().get(fileId=file, fields="*", **ALL).execute()
    listed = alice.permissions().list(fileId=file, fields="*", **ALL).execute()["permissions"]

    assert {"permissions", "owners", "ownedByMe", "shared"}.isdisjoint(shown)
    assert shown["hasAugmentedPermissions"]
    by_name = {p["emailAddress"]: p for p in listed}
    assert ("writer", [("reader", False, None), ("writer", True, drive)]) == (
        by_name[BOB]["role"],
        [
            (d["role"], d["inherited"], d.get("inheritedFrom"))
            for d in by_name[BOB]["permissionDetails"]
        ],
    )


def test_an_inherited_permission_of_a_drive_item_cannot_be_deleted(whole_drive_of: DriveOf) -> None:
    """It is the drive's."""
    alice = whole_drive_of(ALICE)
    drive = new_drive(alice)
    permission = join(alice, drive, BOB)
    file = create(alice, "x", drive)

    with pytest.raises(HttpError) as caught:
        alice.permissions().delete(fileId=file, permissionId=permission, **ALL).execute()

    assert (403, "cannotModifyInheritedTeamDrivePermission") == reason(caught.value)


def test_contributors_edit_managers_trash_organizers_delete(whole_drive_of: DriveOf) -> None:
    """Each role of a drive allows what Google says it does."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    drive = new_drive(alice)
    file = create(alice, "x", drive)

    def bobs(role: str) -> list[bool]:
        join(alice, drive, BOB, role)
        able = []
        for call in (
            bob.files().update(fileId=file, body={"name": role}, **ALL),
            bob.files().update(fileId=file, body={"trashed": True}, **ALL),
            bob.files().delete(fileId=file, **ALL),
        ):
            try:
                call.execute()
                able.append(True)
            except HttpError as error:
                assert reason(error) == (403, "insufficientFilePermissions")  # noqa: PT017
                able.append(False)
        return able

    assert [False, False, False] == bobs("commenter")
    assert [True, False, False] == bobs("writer")
    assert [True, True, False] == bobs("fileOrganizer")
    assert [True, True, True] == bobs("organizer")


def test_creating_a_drive_is_idempotent_by_request_id(whole_drive_of: DriveOf) -> None:
    """The second time is 409, no second drive."""
    alice = whole_drive_of(ALICE)
    new_drive(alice, "same")

    with pytest.raises(HttpError) as caught:
        new_drive(alice, "same")

    assert 409 == caught.value.status_code
    assert 1 == len(alice.drives().list().execute()["drives"])


def test_drives_page_hide_search_and_refuse_deletion_while_full(whole_drive_of: DriveOf) -> None:
    """drives.list pages; hidden ones are found by asking; only an empty drive goes."""
    alice = whole_drive_of(ALICE)
    ids = [new_drive(alice, str(n)) for n in range(3)]
    alice.drives().hide(driveId=ids[0]).execute()
    create(alice, "x", ids[1])
    request, pages = alice.drives().list(pageSize=2), []
    while request is not None:
        answer = request.execute()
        pages.append([d["id"] for d in answer["drives"]])
        request = alice.drives().list_next(request, answer)
    with pytest.raises(HttpError) as caught:
        alice.drives().delete(driveId=ids[1]).execute()
    alice.drives().delete(driveId=ids[2]).execute()

    hidden = alice.drives().list(q="hidden = true").execute()["drives"]
    assert [ids[:2], ids[2:]] == pages
    assert [ids[0]] == [d["id"] for d in hidden]
    assert (403, "cannotDeleteTeamDriveWithItems") == reason(caught.value)
    assert ids[:2] == [d["id"] for d in alice.drives().list().execute()["drives"]]
