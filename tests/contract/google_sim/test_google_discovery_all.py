"""Every method the simulated Drive serves answers with what Google's discovery declares."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest

from drivewake.lab.google import Options, SimulatedGoogle, start_google
from drivewake.lab.google.drive import DriveService

ALICE, BOB = "alice@example.com", "bob@example.com"
DOCUMENT = json.loads(
    (files("googleapiclient.discovery_cache.documents") / "drive.v3.json").read_bytes()
)
SCHEMAS: dict[str, Any] = DOCUMENT["schemas"]
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": float}
FOLDER, SHORTCUT = "application/vnd.google-apps.folder", "application/vnd.google-apps.shortcut"
DOC = "application/vnd.google-apps.document"


def complaints(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:  # noqa: ANN401
    """Yield what in a JSON value contradicts its schema: unknown names, wrong types."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"]]
    kind = schema.get("type")
    if kind == "any":
        return
    if kind == "array":
        for item in value if isinstance(value, list) else [f"{where}: no array"]:
            yield from complaints(item, schema["items"], f"{where}[]")
    elif kind == "object":
        for name, below in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if known is None:
                yield f"{where}.{name}: unknown"
            else:
                yield from complaints(below, known, f"{where}.{name}")
    elif type(value) is not _PYTHON[kind or ""]:
        yield f"{where}: {value!r} is no {kind}"


def methods(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all methods below a resource."""
    yield from resource.get("methods", {}).values()
    for child in resource.get("resources", {}).values():
        yield from methods(child)


METHODS = {method["id"]: method for method in methods(DOCUMENT)}


class Api:
    """Calls methods by id as discovery describes them; judges each answer against its schema."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.called: set[str] = set()
        self.complaints: list[str] = []

    def __call__(
        self,
        method_id: str,
        body: Any = None,  # noqa: ANN401 - JSON
        *,
        fields: str | None = "*",
        **params: Any,  # noqa: ANN401 - as discovery says
    ) -> Any:  # noqa: ANN401 - JSON
        """Call with all fields; return the answer."""
        method = METHODS[method_id]
        path = method["path"]
        for name in [n for n in params if f"{{{n}}}" in path]:
            path = path.replace(f"{{{name}}}", str(params.pop(name)))
        query = {k: str(v).lower() if isinstance(v, bool) else v for k, v in params.items()}
        if fields is not None and "response" in method:
            query["fields"] = fields
        answer = self._http.request(
            method["httpMethod"], f"/drive/v3/{path}", params=query, json=body
        )
        assert answer.is_success, f"{method_id}: {answer.text}"
        self.called.add(method_id)
        if "response" not in method or "json" not in answer.headers.get("content-type", ""):
            return answer.content
        schema = method["response"]["$ref"]
        self.complaints += complaints(answer.json(), SCHEMAS[schema], f"{method_id} {schema}")
        return answer.json()


@pytest.fixture
def api() -> Iterator[Api]:
    """The API as Alice."""
    with (
        start_google(Options(users=(ALICE, BOB))) as google,
        httpx.Client(base_url=google.base_url) as http,
    ):
        token = http.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield Api(http)


def in_my_drive(api: Api) -> None:
    """Use all that a My Drive has."""
    api("drive.about.get")
    (new_id,) = api("drive.files.generateIds", count=1)["ids"]
    start = api("drive.changes.getStartPageToken")["startPageToken"]
    folder = api("drive.files.create", {"name": "f", "mimeType": FOLDER})["id"]
    file = api(
        "drive.files.create",
        {"name": "a.txt", "id": new_id, "parents": [folder], "properties": {"k": "v"}},
    )["id"]
    api("drive.files.create", {"mimeType": SHORTCUT, "shortcutDetails": {"targetId": file}})
    doc = api("drive.files.create", {"name": "d", "mimeType": DOC})["id"]
    api("drive.files.update", {"name": "b.txt", "starred": True}, fileId=file)
    copied = api("drive.files.copy", {}, fileId=file)["id"]
    api("drive.files.get", fileId=file)
    api("drive.files.list")
    assert api("drive.files.export", fields=None, fileId=doc, mimeType="text/plain")
    operation = api("drive.files.download", fileId=doc, mimeType="application/pdf")
    api("drive.operations.get", name=operation["name"])
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    made = api("drive.permissions.create", share, fileId=file)["id"]
    api("drive.permissions.create", {"type": "anyone", "role": "reader"}, fileId=file)
    domain = {"type": "domain", "role": "reader", "domain": "example.com"}
    api("drive.permissions.create", domain, fileId=file)
    api("drive.permissions.list", fileId=file)
    api("drive.permissions.get", fileId=file, permissionId=made)
    api("drive.permissions.update", {"role": "writer"}, fileId=file, permissionId=made)
    api("drive.permissions.delete", fileId=file, permissionId=made)
    (head,) = api("drive.revisions.list", fileId=file)["revisions"]
    api("drive.revisions.get", fileId=doc, revisionId="head")
    api("drive.revisions.update", {"keepForever": True}, fileId=file, revisionId=head["id"])
    for method, where in (("changes", {"pageToken": start}), ("files", {"fileId": file})):
        channel = {"id": method, "type": "web_hook", "address": "http://127.0.0.1:9/"}
        opened = api(f"drive.{method}.watch", channel, **where)
        api("drive.channels.stop", opened)
    api("drive.files.delete", fileId=copied)
    api("drive.files.update", {"trashed": True}, fileId=doc)
    api("drive.files.emptyTrash")
    assert len(api("drive.changes.list", pageToken=start)["changes"]) == 5
    talk_about(api, file)


def talk_about(api: Api, file: str) -> None:
    """Use comments and replies."""
    comment = api("drive.comments.create", {"content": "why?", "anchor": "a"}, fileId=file)["id"]
    where: dict[str, Any] = {"fileId": file, "commentId": comment}
    reply = api("drive.replies.create", {"content": "so"}, **where)["id"]
    api("drive.replies.create", {"action": "resolve"}, **where)
    api("drive.replies.update", {"content": "thus"}, replyId=reply, **where)
    api("drive.replies.get", replyId=reply, **where)
    api("drive.replies.list", **where)
    api("drive.replies.delete", replyId=reply, **where)
    api("drive.comments.update", {"content": "why not?"}, **where)
    api("drive.comments.get", **where)
    api("drive.comments.delete", **where)
    assert api("drive.comments.list", fileId=file, includeDeleted=True)["comments"]


def in_a_shared_drive(api: Api) -> None:
    """Use all that a shared drive has."""
    drive = api("drive.drives.create", {"name": "D"}, requestId="r")["id"]
    all_drives: dict[str, Any] = {"supportsAllDrives": True}
    lists: dict[str, Any] = {**all_drives, "includeItemsFromAllDrives": True, "driveId": drive}
    start = api("drive.changes.getStartPageToken", driveId=drive, **all_drives)["startPageToken"]
    api("drive.drives.update", {"name": "E"}, driveId=drive)
    api("drive.drives.get", driveId=drive)
    api("drive.drives.list")
    api("drive.drives.hide", driveId=drive)
    api("drive.drives.unhide", driveId=drive)
    body = {"name": "x", "parents": [drive]}
    file = api("drive.files.create", body, **all_drives)["id"]
    member = {"type": "user", "role": "writer", "emailAddress": BOB}
    api("drive.permissions.create", member, fileId=drive, **all_drives)
    api("drive.permissions.list", fileId=file, **all_drives)
    api("drive.files.list", corpora="drive", **lists)
    assert len(api("drive.changes.list", pageToken=start, **lists)["changes"]) == 2
    api("drive.files.update", {"trashed": True}, fileId=file, **all_drives)
    api("drive.files.get", fileId=file, **all_drives)
    api("drive.files.emptyTrash", driveId=drive)
    api("drive.drives.delete", driveId=drive)


def test_every_served_method_answers_as_discovery_declares(api: Api) -> None:
    """No unknown field, no wrong type, in any method; and no method is left out."""
    in_my_drive(api)
    in_a_shared_drive(api)
    file = api("drive.files.create", {"name": "last"})["id"]
    for content in (b"1", b"2"):
        upload = f"/upload/drive/v3/files/{file}?uploadType=media"
        assert api._http.patch(upload, content=content).is_success
    first = api("drive.revisions.list", fileId=file)["revisions"][0]["id"]
    api("drive.revisions.delete", fileId=file, revisionId=first)

    assert [] == api.complaints
    assert set(DriveService(SimulatedGoogle()).endpoints()) == api.called


def test_the_judge_sees_unknown_and_mistyped_fields() -> None:
    """The comparison itself can fail."""
    wrong = {"drives": [{"id": 5, "bogus": 1}]}

    assert ["L.drives[].id: 5 is no string", "L.drives[].bogus: unknown"] == list(
        complaints(wrong, SCHEMAS["DriveList"], "L")
    )
