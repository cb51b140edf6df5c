"""Every answer of the simulated Drive is one that Google's discovery document allows."""

import base64
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest

from drivewake.lab.google import Options, start_google

ALICE, BOB = "alice@example.com", "bob@example.com"
DOCUMENT = json.loads(
    (files("googleapiclient.discovery_cache.documents") / "drive.v3.json").read_bytes()
)
SCHEMAS: dict[str, Any] = DOCUMENT["schemas"]
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": float}


def complaints(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:  # noqa: ANN401
    """Yield what in a JSON value contradicts its schema: unknown names, wrong types."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"]]
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            yield f"{where}: {value!r} is no array"
            return
        for item in value:
            yield from complaints(item, schema["items"], f"{where}[]")
    elif kind == "object":
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
            return
        for name, below in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if known is None:
                yield f"{where}.{name}: unknown"
            else:
                yield from complaints(below, known, f"{where}.{name}")
    elif type(value) is not _PYTHON[kind or ""]:
        yield f"{where}: {value!r} is no {kind}"


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    """A Drive with a folder, a shared file, a native document and something trashed."""
    share = [
        {"type": "user", "role": "writer", "emailAddress": BOB},
        {"type": "domain", "role": "reader", "domain": "example.com"},
        {"type": "anyone", "role": "reader"},
    ]
    content = base64.b64encode(b"hello").decode()
    native = "application/vnd.google-apps.document"
    actions = [
        {"op": "create_folder", "ref": "d", "name": "d"},
        {"op": "create_file", "ref": "f", "name": "f.txt", "parent": "d", "content": content},
        {"op": "create_file", "ref": "doc", "name": "doc", "mimeType": native, "description": "x"},
        {"op": "create_file", "ref": "gone", "name": "gone", "content": content},
        {"op": "create_file", "ref": "dead", "name": "dead", "content": content},
        {"op": "set_permissions", "file": "f", "permissions": share},
        {"op": "trash", "file": "gone"},
        {"op": "delete", "file": "dead"},
    ]
    with (
        start_google(Options(users=(ALICE, BOB))) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        client.post("/_sim/actions", json={"actor": ALICE, "actions": actions})
        token = client.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("About", "/drive/v3/about?fields=*"),
        ("StartPageToken", "/drive/v3/changes/startPageToken"),
        ("ChangeList", "/drive/v3/changes?pageToken=1&fields=*"),
        ("ChangeList", "/drive/v3/changes?pageToken=1&pageSize=1"),
        ("FileList", "/drive/v3/files?fields=*"),
        ("FileList", "/drive/v3/files?pageSize=1"),
        ("File", "/drive/v3/files/root?fields=*"),
    ],
)
def test_an_answer_has_only_what_discovery_declares(
    api: httpx.Client, schema: str, path: str
) -> None:
    """No unknown field, no wrong type, and it is not empty."""
    answer = api.get(path)

    assert 200 == answer.status_code
    assert len(answer.json()) >= 2
    assert [] == list(complaints(answer.json(), SCHEMAS[schema], schema))


def test_a_channel_has_only_what_discovery_declares(api: httpx.Client) -> None:
    """What watch answers."""
    answer = api.post(
        "/drive/v3/changes/watch?pageToken=1",
        json={"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/", "token": "t"},
    )

    assert {"kind", "id", "resourceId", "resourceUri", "token", "expiration"} == set(answer.json())
    assert [] == list(complaints(answer.json(), SCHEMAS["Channel"], "Channel"))


def test_the_judge_sees_unknown_and_mistyped_fields() -> None:
    """The comparison itself can fail."""
    wrong = {"files": [{"id": 5, "bogus": 1}], "incompleteSearch": "no"}

    assert [
        "FileList.files[].id: 5 is no string",
        "FileList.files[].bogus: unknown",
        "FileList.incompleteSearch: 'no' is no boolean",
    ] == list(complaints(wrong, SCHEMAS["FileList"], "FileList"))
