"""Files written and read through Google's own client: uploads, copies, downloads, batches."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest, MediaInMemoryUpload, MediaIoBaseDownload

from drivewake.lab.google import RunningGoogle

ALICE, BOB = "alice@example.com", "bob@example.com"
FOLDER = "application/vnd.google-apps.folder"
DOCUMENT = "application/vnd.google-apps.document"
DriveOf = Callable[[str], Any]
Act = Callable[..., list[dict[str, Any]]]


class Made(NamedTuple):
    """The files service, a file and a folder."""

    files: Any
    file: str
    folder: str


def upload(drive: Any, name: str, data: bytes, **media: Any) -> str:  # noqa: ANN401
    """Create a file with content; return its id."""
    body = MediaInMemoryUpload(data, mimetype="text/plain", **media)
    made: str = drive.files().create(body={"name": name}, media_body=body).execute()["id"]
    return made


def download(request: Any, chunk: int = 1 << 20) -> bytes:  # noqa: ANN401
    """Download as Google's client does."""
    held = io.BytesIO()
    downloader = MediaIoBaseDownload(held, request, chunksize=chunk)
    done = False
    while not done:
        _, done = downloader.next_chunk()
    return held.getvalue()


def reason(error: HttpError) -> tuple[int, str]:
    """Return status and reason."""
    (detail,) = error.error_details
    return error.status_code, detail["reason"]


def bearer(control: httpx.Client, email: str = ALICE, **scopes: list[str]) -> dict[str, str]:
    """Return an Authorization header."""
    token = control.post("/_sim/tokens", json={"email": email, **scopes}).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 700_001])
@pytest.mark.parametrize("resumable", [False, True])
def test_what_was_uploaded_is_downloaded(
    whole_drive_of: DriveOf, size: int, *, resumable: bool
) -> None:
    """Multipart and resumable, in one chunk and in many, empty files too (416 in ranges)."""
    drive = whole_drive_of(ALICE)
    data = bytes(n * 7 % 251 for n in range(size)).replace(b"a", b"\r\n--")[:size]

    file = upload(drive, "a.txt", data, resumable=resumable, chunksize=256 * 1024)

    shown = drive.files().get(fileId=file, fields="size,mimeType,name").execute()
    assert {"size": str(len(data)), "mimeType": "text/plain", "name": "a.txt"} == shown
    assert data == download(drive.files().get_media(fileId=file), chunk=300_000)


def test_an_interrupted_resumable_upload_goes_on_where_it_was(control: httpx.Client) -> None:
    """308 says how much there is; the missing part completes it; a finished session is gone."""
    headers = bearer(control)
    opened = control.post(
        "/upload/drive/v3/files",
        params={"uploadType": "resumable"},
        json={"name": "x"},
        headers={**headers, "X-Upload-Content-Type": "text/plain"},
    )
    session, chunk = opened.headers["location"], b"a" * 262_144
    total = len(chunk) + 3

    def put(span: str, data: bytes = b"") -> httpx.Response:
        return control.put(session, content=data, headers={"Content-Range": f"bytes {span}"})

    assert (308, None) == (put(f"*/{total}").status_code, put("*/*").headers.get("range"))
    assert "bytes=0-262143" == put(f"0-262143/{total}", chunk).headers["range"]
    assert "bytes=0-262143" == put(f"*/{total}").headers["range"]
    assert 400 == put(f"0-2/{total}", b"bbb").status_code
    done = put(f"262144-{total - 1}/{total}", b"bbb")
    shown = control.get(f"/drive/v3/files/{done.json()['id']}?alt=media", headers=headers)
    assert (200, chunk + b"bbb") == (done.status_code, shown.content)
    assert 404 == put(f"*/{total}").status_code


def test_ranges_are_served_without_etag(control: httpx.Client, whole_drive_of: DriveOf) -> None:
    """206 with Content-Range, 416 behind the end, the whole file for what cannot be read."""
    file = upload(whole_drive_of(ALICE), "a", b"0123456789")
    headers = bearer(control)

    def get(span: str) -> tuple[int, bytes, str | None]:
        answer = control.get(
            f"/drive/v3/files/{file}?alt=media", headers={**headers, "Range": span}
        )
        assert "etag" not in answer.headers
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert (206, b"234", "bytes 2-4/10") == get("bytes=2-4")
    assert (206, b"89", "bytes 8-9/10") == get("bytes=8-99")
    assert (206, b"89", "bytes 8-9/10") == get("bytes=-2")
    assert (416, b"", "bytes */10") == get("bytes=10-")
    assert (200, b"0123456789", None) == get("lines=1-2")


def test_new_content_is_a_new_revision_and_a_change(whole_drive_of: DriveOf) -> None:
    """PATCH with media keeps the id, advances version and headRevisionId."""
    drive = whole_drive_of(ALICE)
    file = upload(drive, "a", b"one")
    fields = "version,headRevisionId,md5Checksum"
    before = drive.files().get(fileId=file, fields=fields).execute()

    media = MediaInMemoryUpload(b"two", mimetype="text/plain")
    after = drive.files().update(fileId=file, media_body=media, fields=fields).execute()

    assert ("1", "2") == (before["version"], after["version"])
    assert before["headRevisionId"] != after["headRevisionId"]
    assert b"two" == download(drive.files().get_media(fileId=file))


def test_metadata_moves_and_trash_are_versions_of_their_own(whole_drive_of: DriveOf) -> None:
    """Rename and move in one call are one version; the trash is another."""
    drive = whole_drive_of(ALICE)
    folder = drive.files().create(body={"name": "f", "mimeType": FOLDER}).execute()["id"]
    file = upload(drive, "a", b"x")
    root = drive.files().get(fileId="root").execute()["id"]

    moved = drive.files().update(
        fileId=file,
        body={"name": "b", "trashed": True},
        addParents=folder,
        removeParents=root,
        fields="name,parents,trashed,version",
    )

    expected = {"name": "b", "parents": [folder], "trashed": True, "version": "3"}
    assert expected == moved.execute()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda m: m.files.update(fileId=m.file, body={"parents": []}),
            (403, "fieldNotWritable"),
        ),
        (lambda m: m.files.update(fileId=m.file, body={"version": "9"}), (403, "fieldNotWritable")),
        (lambda m: m.files.update(fileId=m.file, addParents=m.folder), (403, "cannotAddParent")),
        (lambda m: m.files.create(body={"parents": ["root", m.folder]}), (403, "cannotAddParent")),
        (lambda m: m.files.create(body={"id": "mine"}), (400, "invalid")),
        (lambda m: m.files.copy(fileId=m.folder), (403, "cannotCopyFile")),
        (
            lambda m: m.files.export(fileId=m.file, mimeType="text/css"),
            (403, "fileNotExportable"),
        ),
        (lambda m: m.files.get_media(fileId=m.folder), (403, "fileNotDownloadable")),
        (lambda m: m.files.delete(fileId="root"), (400, "invalid")),
    ],
)
def test_writes_are_refused_with_googles_reasons(
    whole_drive_of: DriveOf, call: Callable[[Made], Any], expected: tuple[int, str]
) -> None:
    """Of a file and of a folder."""
    drive = whole_drive_of(ALICE)
    file = upload(drive, "a", b"x")
    folder = drive.files().create(body={"mimeType": FOLDER}).execute()["id"]

    with pytest.raises(HttpError) as caught:
        call(Made(drive.files(), file, folder)).execute()

    assert expected == reason(caught.value)


def test_generated_ids_name_files_once(whole_drive_of: DriveOf) -> None:
    """An id made beforehand makes creation idempotent: the second time is 409."""
    drive = whole_drive_of(ALICE)
    (file,) = drive.files().generateIds(count=1).execute()["ids"]
    made = drive.files().create(body={"id": file, "name": "x"}).execute()

    with pytest.raises(HttpError) as caught:
        drive.files().create(body={"id": file, "name": "y"}).execute()

    assert (file, 409) == (made["id"], caught.value.status_code)


def test_a_copy_is_a_new_file_beside_the_old(whole_drive_of: DriveOf) -> None:
    """Same bytes, own id, own history."""
    drive = whole_drive_of(ALICE)
    file = upload(drive, "a", b"x")

    copied = drive.files().copy(fileId=file, fields="id,name,version,md5Checksum").execute()

    assert ("Copy of a", "1") == (copied["name"], copied["version"])
    assert file != copied["id"]
    assert b"x" == download(drive.files().get_media(fileId=copied["id"]))


def test_deleting_a_folder_deletes_what_is_below(whole_drive_of: DriveOf) -> None:
    """And emptyTrash deletes what was trashed."""
    drive = whole_drive_of(ALICE)
    folder = drive.files().create(body={"mimeType": FOLDER}).execute()["id"]
    drive.files().create(body={"name": "below", "parents": [folder]}).execute()
    trashed = upload(drive, "gone", b"x")
    drive.files().update(fileId=trashed, body={"trashed": True}).execute()

    drive.files().delete(fileId=folder).execute()
    drive.files().emptyTrash().execute()

    assert [] == drive.files().list().execute()["files"]


def test_documents_are_exported_and_not_beyond_ten_megabytes(whole_drive_of: DriveOf) -> None:
    """403 exportSizeLimitExceeded; files.download has no limit."""
    drive = whole_drive_of(ALICE)
    body = {"name": "d", "mimeType": DOCUMENT}

    def document(text: bytes) -> str:
        media = MediaInMemoryUpload(text, mimetype="text/plain")
        made: str = drive.files().create(body=body, media_body=media).execute()["id"]
        return made

    small, large = document(b"hello"), document(b"x" * (10 * 2**20 + 1))
    with pytest.raises(HttpError) as unknown:
        drive.files().export(fileId=small, mimeType="image/png").execute()
    with pytest.raises(HttpError) as caught:
        drive.files().export(fileId=large, mimeType="text/plain").execute()
    operation = drive.files().download(fileId=large, mimeType="text/plain").execute()
    status, whole = drive._http.request(operation["response"]["downloadUri"])

    assert b"hello" in drive.files().export(fileId=small, mimeType="text/plain").execute()
    assert (400, "badRequest") == reason(unknown.value)
    assert (403, "exportSizeLimitExceeded") == reason(caught.value)
    assert (200, 10 * 2**20 + 4) == (status.status, len(whole))


def test_acknowledge_abuse_is_for_owners(whole_drive_of: DriveOf, act: Act) -> None:
    """403 cannotDownloadAbusiveFile without it, and for others with it."""
    alice, bob = whole_drive_of(ALICE), whole_drive_of(BOB)
    file = upload(alice, "virus", b"x")
    share = {"type": "user", "role": "writer", "emailAddress": BOB}
    act(
        ALICE,
        {"op": "set_permissions", "file": file, "permissions": [share]},
        {"op": "mark", "file": file, "abusive": True},
    )

    for drive, acknowledge in ((alice, False), (bob, False), (bob, True)):
        with pytest.raises(HttpError) as caught:
            drive.files().get_media(fileId=file, acknowledgeAbuse=acknowledge).execute()
        assert (403, "cannotDownloadAbusiveFile") == reason(caught.value)
    assert b"x" == alice.files().get_media(fileId=file, acknowledgeAbuse=True).execute()


def test_metadata_scopes_do_not_open_content(control: httpx.Client, act: Act) -> None:
    """403 insufficientPermissions for alt=media; the metadata can be had."""
    (made,) = act(ALICE, {"op": "create_file", "name": "a", "content": "eA=="})
    scope = "https://www.googleapis.com/auth/drive.metadata.readonly"
    headers = bearer(control, scopes=[scope])
    path = f"/drive/v3/files/{made['id']}"

    assert 200 == control.get(path, headers=headers).status_code
    refused = control.get(path, params={"alt": "media"}, headers=headers)
    assert "insufficientPermissions" == refused.json()["error"]["errors"][0]["reason"]


def test_shortcuts_lead_to_their_target(whole_drive_of: DriveOf) -> None:
    """ShortcutDetails names it; a change of the target is no change of the shortcut."""
    drive = whole_drive_of(ALICE)
    target = upload(drive, "t", b"x")
    kind = "application/vnd.google-apps.shortcut"
    body = {"name": "s", "mimeType": kind, "shortcutDetails": {"targetId": target}}
    made = drive.files().create(body=body, fields="id,shortcutDetails").execute()
    token = drive.changes().getStartPageToken().execute()["startPageToken"]

    drive.files().update(fileId=target, body={"name": "u"}).execute()

    page = drive.changes().list(pageToken=token).execute()
    details = {"targetId": target, "targetMimeType": "text/plain"}
    assert details == made["shortcutDetails"]
    assert [target] == [c["fileId"] for c in page["changes"]]


def test_a_batch_answers_each_call_on_its_own(
    whole_drive_of: DriveOf, google: RunningGoogle
) -> None:
    """Google's BatchHttpRequest: successes and refusals side by side, each paid for."""
    drive = whole_drive_of(ALICE)
    files = [upload(drive, str(n), b"x") for n in range(3)]
    spent = dict(google.call(lambda: google.world.quota.spent))
    answers: dict[str, Any] = {}
    batch = BatchHttpRequest(
        callback=lambda number, answer, error: answers.update({number: error or answer["name"]}),
        batch_uri=f"{google.base_url}/batch/drive/v3",
    )
    for file in (*files, "missing"):
        batch.add(drive.files().get(fileId=file))
    batch.add(drive.files().update(fileId=files[0], body={"name": "renamed"}))

    batch.execute(http=drive._http)

    assert ["0", "1", "2"] == [answers[str(n)] for n in (1, 2, 3)]
    assert (404, "notFound") == reason(answers["4"])
    assert "renamed" == answers["5"]
    now = google.call(lambda: google.world.quota.spent)
    assert (20, 50) == (now["read"] - spent["read"], now["edit"] - spent["edit"])


def test_the_clients_own_batch_goes_where_its_document_says(whole_drive_of: DriveOf) -> None:
    """new_batch_http_request follows rootUrl."""
    drive = whole_drive_of(ALICE)
    seen: list[Any] = []
    batch = drive.new_batch_http_request(callback=lambda *answer: seen.append(answer))
    for _ in range(100):
        batch.add(drive.files().get(fileId="root"))

    batch.execute()

    assert ["My Drive"] * 100 == [answer["name"] for _, answer, _ in seen]


@pytest.mark.parametrize(
    ("calls", "path", "expected"),
    [
        (101, "/drive/v3/files/root", 400),
        (1, "/drive/v3/files/root?alt=media", 200),
        (1, "/drive/v3/files/root?fields=" + "x" * 8000, 200),
    ],
)
def test_a_batch_has_limits(control: httpx.Client, calls: int, path: str, expected: int) -> None:
    """At most 100 calls, URLs of 8000 characters, no media: the whole or the one is 400."""
    part = f"--b\r\nContent-Type: application/http\r\n\r\nGET {path} HTTP/1.1\r\n\r\n\r\n"
    kind = {"Content-Type": "multipart/mixed; boundary=b", **bearer(control)}

    answer = control.post("/batch/drive/v3", content=part * calls + "--b--", headers=kind)

    assert expected == answer.status_code
    assert "400" in (answer.text if expected == 200 else str(answer.status_code))
