"""Rules of changes and files that no other suite has as its subject."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from googleapiclient.errors import HttpError

from drivewake.lab.google import RunningGoogle

ALICE, BOB = "alice@example.com", "bob@example.com"
BLOB_ONLY = {"headRevisionId", "md5Checksum", "sha1Checksum", "sha256Checksum", "size"}
ITEMS: dict[str, Any] = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}
DriveOf = Callable[[str], Any]
Act = Callable[..., list[dict[str, Any]]]


def start(drive: Any) -> str:  # noqa: ANN401 - Google's client has no types
    """Return a start page token."""
    token: str = drive.changes().getStartPageToken().execute()["startPageToken"]
    return token


def test_a_page_may_be_empty_and_still_carry_a_next_page_token(
    whole_drive_of: DriveOf, act: Act
) -> None:
    """What the caller did not ask for leaves holes: only newStartPageToken ends a log."""
    drive = whole_drive_of(ALICE)
    token = start(drive)
    act(
        ALICE,
        {"op": "create_drive", "name": "D", "ref": "D"},
        *({"op": "create_file", "name": str(n), "parent": "D"} for n in range(5)),
        {"op": "create_file", "name": "mine"},
    )

    request, pages = drive.changes().list(pageToken=token, pageSize=2), []
    while request is not None:
        page = request.execute()
        pages.append((len(page["changes"]), "nextPageToken" in page))
        request = drive.changes().list_next(request, page)

    assert [(0, True), (0, True), (0, True), (1, False)] == pages


def test_a_page_token_does_not_expire(whole_drive_of: DriveOf, act: Act) -> None:
    """A start token of long ago replays every file once, however often it changed."""
    drive = whole_drive_of(ALICE)
    token = start(drive)
    act(ALICE, {"op": "create_file", "name": "a", "ref": "a", "content": "eA=="})
    for number in range(20):
        renames = [{"op": "update", "file": "a", "name": f"{number}.{n}"} for n in range(100)]
        act(ALICE, *renames)

    page = drive.changes().list(pageToken=token).execute()

    assert ["19.99"] == [c["file"]["name"] for c in page["changes"]]


def test_an_entry_is_the_current_state_and_no_delta(whole_drive_of: DriveOf, act: Act) -> None:
    """Read late, an old entry shows what the file is now; a change has no id in v3."""
    drive = whole_drive_of(ALICE)
    token = start(drive)
    act(ALICE, {"op": "create_file", "name": "a", "ref": "a", "description": "old"})
    act(ALICE, {"op": "update", "file": "a", "description": "new"})

    (change,) = drive.changes().list(pageToken=token, fields="*").execute()["changes"]

    assert "new" == change["file"]["description"]
    assert {"kind", "type", "changeType", "time", "removed", "fileId", "file"} == set(change)


def test_the_app_data_space_has_changes_of_its_own(whole_drive_of: DriveOf, act: Act) -> None:
    """spaces=appDataFolder leaves out what is in the drive space; others are refused."""
    drive = whole_drive_of(ALICE)
    token = start(drive)
    act(ALICE, {"op": "create_file", "name": "a"})

    listed = drive.changes().list(pageToken=token, spaces="appDataFolder").execute()
    with pytest.raises(HttpError) as caught:
        drive.changes().list(pageToken=token, spaces="attic").execute()

    assert [] == listed["changes"]
    assert 400 == caught.value.status_code


def test_hashes_and_head_revision_are_for_blobs_only(whole_drive_of: DriveOf) -> None:
    """Folders and Google documents have none."""
    drive = whole_drive_of(ALICE)

    def fields_of(mime_type: str) -> set[str]:
        body = {"name": "x", "mimeType": mime_type}
        return set(drive.files().create(body=body, fields="*").execute())

    native = "application/vnd.google-apps"
    assert BLOB_ONLY <= fields_of("text/plain")
    assert BLOB_ONLY.isdisjoint(fields_of(f"{native}.folder") | fields_of(f"{native}.document"))


def test_can_download_says_what_download_allows(whole_drive_of: DriveOf, act: Act) -> None:
    """CopyRequiresWriterPermission takes content from readers; capabilities say so before."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    (made,) = act(ALICE, {"op": "create_file", "name": "a", "content": "eA=="})
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    act(
        ALICE,
        {"op": "set_permissions", "file": made["id"], "permissions": [share]},
        {"op": "mark", "file": made["id"], "copyRestricted": True},
    )

    def can(drive: Any) -> bool:  # noqa: ANN401
        fields = "capabilities/canDownload"
        shown = drive.files().get(fileId=made["id"], fields=fields).execute()
        said: bool = shown["capabilities"]["canDownload"]
        return said

    assert (True, False) == (can(alice), can(bob))
    assert b"x" == alice.files().get_media(fileId=made["id"]).execute()
    with pytest.raises(HttpError) as caught:
        bob.files().get_media(fileId=made["id"]).execute()
    assert 403 == caught.value.status_code


@pytest.mark.parametrize(
    ("listing", "maximum"),
    [("files", 1000), ("permissions", 100), ("revisions", 1000), ("comments", 100)],
)
def test_page_sizes_beyond_the_maximum_are_coerced(
    whole_drive_of: DriveOf, act: Act, listing: str, maximum: int
) -> None:
    """Where discovery says so, the greatest number of all is taken for the maximum."""
    drive = whole_drive_of(ALICE)
    (made,) = act(ALICE, {"op": "create_file", "name": "a"})
    where = {} if listing == "files" else {"fileId": made["id"]}

    page = getattr(drive, listing)().list(pageSize=maximum * 5, fields="*", **where).execute()

    assert page["kind"].startswith("drive#")


def test_comment_pages_are_of_20_and_at_most_of_100(whole_drive_of: DriveOf, act: Act) -> None:
    """Discovery: default 20, maximum 100."""
    (made,) = act(ALICE, {"op": "create_file", "name": "a", "ref": "a"})
    act(ALICE, *({"op": "comment", "file": "a", "content": str(n)} for n in range(101)))
    comments = whole_drive_of(ALICE).comments()

    def sizes(**more: Any) -> list[int]:  # noqa: ANN401
        fields = "nextPageToken,comments(id)"
        request, found = comments.list(fileId=made["id"], fields=fields, **more), []
        while request is not None:
            page = request.execute()
            found.append(len(page["comments"]))
            request = comments.list_next(request, page)
        return found

    assert [20, 20, 20, 20, 20, 1] == sizes()
    assert [100, 1] == sizes(pageSize=100)


def test_emptied_trash_and_deleted_folders_are_removed_one_by_one(
    whole_drive_of: DriveOf, act: Act
) -> None:
    """Deletion, unlike trash, is an entry for each file."""
    drive = whole_drive_of(ALICE)
    act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "create_file", "name": "a", "parent": "d"},
        {"op": "create_file", "name": "b", "parent": "d"},
    )
    token = start(drive)

    act(ALICE, {"op": "trash", "file": "d"})
    trashed = drive.changes().list(pageToken=token).execute()["changes"]
    drive.files().emptyTrash().execute()
    removed = drive.changes().list(pageToken=token).execute()["changes"]

    assert [False] == [c["removed"] for c in trashed]
    assert [True, True, True] == [c["removed"] for c in removed]


def test_a_quota_unit_cost_belongs_to_each_kind_of_call(
    whole_drive_of: DriveOf, google: RunningGoogle, control: httpx.Client
) -> None:
    """Read 5, list 100, download 200, edit 50, other 5 units."""
    drive = whole_drive_of(ALICE)
    file = drive.files().create(body={"name": "a"}).execute()["id"]
    native = "application/vnd.google-apps.document"
    document = drive.files().create(body={"mimeType": native}).execute()["id"]

    def units(call: Any) -> int:  # noqa: ANN401
        before = sum(google.call(lambda: dict(google.world.quota.spent)).values())
        call.execute()
        return sum(google.call(lambda: dict(google.world.quota.spent)).values()) - before

    assert 5 == units(drive.files().get(fileId=file))
    assert 100 == units(drive.changes().list(pageToken="1"))
    assert 200 == units(drive.files().get_media(fileId=file))
    assert 200 == units(drive.files().export(fileId=document, mimeType="text/plain"))
    assert 50 == units(drive.files().update(fileId=file, body={"name": "b"}))
    assert 5 == units(drive.files().generateIds())
