"""Revisions, comments and channels on a file, through Google's own client."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload

from drivewake.lab.google import RunningGoogle

ALICE, BOB = "alice@example.com", "bob@example.com"
FOLDER = "application/vnd.google-apps.folder"
DriveOf = Callable[[str], Any]
_MONTH_NS = 31 * 86_400 * 10**9


def content(data: bytes) -> MediaInMemoryUpload:
    """Return an upload body."""
    return MediaInMemoryUpload(data, mimetype="text/plain")


def written(drive: Any, *versions: bytes) -> str:  # noqa: ANN401 - Google's client has no types
    """Create a file and give it content again and again; return its id."""
    first, *later = versions
    file: str = drive.files().create(body={"name": "a"}, media_body=content(first)).execute()["id"]
    for data in later:
        drive.files().update(fileId=file, media_body=content(data)).execute()
    return file


def reason(error: HttpError) -> tuple[int, str]:
    """Return status and reason."""
    (detail,) = error.error_details
    return error.status_code, detail["reason"]


def revisions(drive: Any, file: str) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return all revisions, oldest first."""
    found: list[dict[str, Any]] = (
        drive.revisions().list(fileId=file, fields="*").execute()["revisions"]
    )
    return found


def test_every_content_is_a_revision_and_the_head_is_last(whole_drive_of: DriveOf) -> None:
    """Ids and hashes are those the file had."""
    drive = whole_drive_of(ALICE)
    file = written(drive, b"1", b"22", b"333")

    found = revisions(drive, file)

    head = drive.files().get(fileId=file, fields="headRevisionId").execute()
    assert ["1", "2", "3"] == [r["size"] for r in found]
    assert head["headRevisionId"] == found[-1]["id"]


def test_only_revisions_kept_forever_can_be_downloaded(whole_drive_of: DriveOf) -> None:
    """403 download_restricted_for_revision otherwise."""
    drive = whole_drive_of(ALICE)
    file = written(drive, b"1", b"2")
    where = {"fileId": file, "revisionId": revisions(drive, file)[0]["id"]}

    with pytest.raises(HttpError) as caught:
        drive.revisions().get_media(**where).execute()
    drive.revisions().update(body={"keepForever": True}, **where).execute()

    assert (403, "download_restricted_for_revision") == reason(caught.value)
    assert b"1" == drive.revisions().get_media(**where).execute()


def test_at_most_200_revisions_are_kept_forever(whole_drive_of: DriveOf) -> None:
    """The 201st is refused."""
    drive = whole_drive_of(ALICE)
    file = written(drive, b"0")
    for number in range(1, 201):
        media = content(str(number).encode())
        drive.files().update(fileId=file, media_body=media, keepRevisionForever=True).execute()
    first = revisions(drive, file)[0]["id"]

    with pytest.raises(HttpError) as caught:
        drive.revisions().update(
            fileId=file, revisionId=first, body={"keepForever": True}
        ).execute()

    assert 403 == caught.value.status_code
    assert "200" in caught.value.reason


def test_replaced_revisions_are_purged_after_thirty_days(
    whole_drive_of: DriveOf, google: RunningGoogle
) -> None:
    """Those kept for ever, and the head, stay."""
    file = written(whole_drive_of(ALICE), b"1", b"22", b"333")
    old = whole_drive_of(ALICE)
    kept = revisions(old, file)[0]["id"]
    old.revisions().update(fileId=file, revisionId=kept, body={"keepForever": True}).execute()

    now_ns = google.world.now_ns
    google.world.now_ns = lambda: now_ns() + _MONTH_NS

    assert ["1", "3"] == [r["size"] for r in revisions(whole_drive_of(ALICE), file)]


def test_a_revision_can_be_deleted_unless_it_is_the_only_one(whole_drive_of: DriveOf) -> None:
    """Deleting the head makes the one before it the head."""
    drive = whole_drive_of(ALICE)
    file = written(drive, b"1", b"22")
    head = revisions(drive, file)[1]["id"]

    drive.revisions().delete(fileId=file, revisionId=head).execute()

    assert b"1" == drive.files().get_media(fileId=file).execute()
    with pytest.raises(HttpError):
        drive.revisions().delete(fileId=file, revisionId="head").execute()


def test_comments_require_fields(whole_drive_of: DriveOf) -> None:
    """400 required, location fields, for list, get, create and update."""
    drive = whole_drive_of(ALICE)
    file, comments = written(drive, b"x"), drive.comments()

    for call in (
        comments.list(fileId=file),
        comments.get(fileId=file, commentId="c"),
        comments.create(fileId=file, body={"content": "c"}),
        comments.update(fileId=file, commentId="c", body={"content": "c"}),
    ):
        with pytest.raises(HttpError) as caught:
            call.execute()
        assert (400, "required") == reason(caught.value)
        assert "fields" == caught.value.error_details[0]["location"]


def test_a_comment_is_a_change_that_does_not_say_which(whole_drive_of: DriveOf) -> None:
    """The file's version advances, its modifiedTime does not; authors have no e-mail."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = written(alice, b"x")
    share = {"type": "user", "role": "commenter", "emailAddress": BOB}
    alice.permissions().create(fileId=file, body=share).execute()
    fields = "modifiedTime,version"
    before = alice.files().get(fileId=file, fields=fields).execute()
    token = alice.changes().getStartPageToken().execute()["startPageToken"]

    made = bob.comments().create(fileId=file, body={"content": "<why>"}, fields="*").execute()

    (change,) = alice.changes().list(pageToken=token, fields="*").execute()["changes"]
    after = alice.files().get(fileId=file, fields=fields).execute()
    assert (file, int(before["version"]) + 1) == (change["fileId"], int(after["version"]))
    assert before["modifiedTime"] == after["modifiedTime"]
    assert "&lt;why&gt;" == made["htmlContent"]
    assert {"kind", "displayName", "me"} == set(made["author"])
    assert made["id"] not in str(change)


def test_deleted_comments_are_blank_and_listed_on_demand(whole_drive_of: DriveOf) -> None:
    """includeDeleted; replies resolve and reopen; startModifiedTime cuts."""
    drive = whole_drive_of(ALICE)
    file = written(drive, b"x")
    ids = [
        drive.comments().create(fileId=file, body={"content": c}, fields="id").execute()["id"]
        for c in "ab"
    ]
    reply = {"content": "done", "action": "resolve"}
    drive.replies().create(fileId=file, commentId=ids[1], body=reply, fields="id").execute()
    drive.comments().delete(fileId=file, commentId=ids[0]).execute()

    def listed(**more: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
        page = drive.comments().list(fileId=file, fields="*", **more).execute()
        return {c["id"]: c for c in page["comments"]}

    everything = listed(includeDeleted=True)
    assert {ids[1]} == set(listed())
    assert (True, False) == (everything[ids[0]]["deleted"], "content" in everything[ids[0]])
    assert (True, "done") == (
        everything[ids[1]]["resolved"],
        everything[ids[1]]["replies"][0]["content"],
    )
    assert {} == listed(startModifiedTime="2999-01-01T00:00:00Z", includeDeleted=True)


class Receiver:
    """Remembers the headers of every notification."""

    def __init__(self) -> None:
        self._headers: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
            lines = (line.partition(": ") for line in head.decode().splitlines()[1:])
            self._headers.put_nowait({name.lower(): value for name, _, value in lines})
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
            break
        writer.close()

    async def wait(self, count: int) -> list[tuple[str, str | None]]:
        """Wait until so many came; return state and what changed."""
        name, changed = "x-goog-resource-state", "x-goog-changed"
        async with asyncio.timeout(20):
            came = [await self._headers.get() for _ in range(count)]
        return [(headers[name], headers.get(changed)) for headers in came]


async def test_a_file_channel_tells_states_and_what_changed(whole_drive_of: DriveOf) -> None:
    """sync, update with X-Goog-Changed, trash, untrash, remove; at most a day."""
    drive = whole_drive_of(ALICE)
    file = await asyncio.to_thread(written, drive, b"1")
    week = {"params": {"ttl": "604800"}}

    def work(url: str) -> int:
        channel = {"id": "c", "type": "web_hook", "address": url, **week}
        opened = drive.files().watch(fileId=file, body=channel).execute()
        drive.files().update(fileId=file, media_body=content(b"2")).execute()
        drive.files().update(fileId=file, body={"name": "b"}).execute()
        share = {"type": "anyone", "role": "reader"}
        drive.permissions().create(fileId=file, body=share).execute()
        drive.files().update(fileId=file, body={"trashed": True}).execute()
        drive.files().update(fileId=file, body={"trashed": False}).execute()
        drive.files().delete(fileId=file).execute()
        return int(opened["expiration"])

    async with Receiver() as receiver:
        expires_ms = await asyncio.to_thread(work, receiver.url)
        told = await receiver.wait(7)

    now_ms = time.time_ns() // 1_000_000
    assert 86_000 * 1000 < expires_ms - now_ms <= 86_400 * 1000
    assert [
        ("sync", None),
        ("update", "content,properties"),
        ("update", "properties"),
        ("update", "permissions"),
        ("trash", None),
        ("untrash", None),
        ("remove", None),
    ] == told


async def test_a_folder_channel_tells_of_its_children(whole_drive_of: DriveOf) -> None:
    """X-Goog-Changed: children."""
    drive = whole_drive_of(ALICE)

    def work(url: str) -> None:
        folder = drive.files().create(body={"mimeType": FOLDER}).execute()["id"]
        channel = {"id": "c", "type": "web_hook", "address": url}
        drive.files().watch(fileId=folder, body=channel).execute()
        drive.files().create(body={"name": "x", "parents": [folder]}).execute()

    async with Receiver() as receiver:
        await asyncio.to_thread(work, receiver.url)
        assert [("sync", None), ("update", "children")] == await receiver.wait(2)
