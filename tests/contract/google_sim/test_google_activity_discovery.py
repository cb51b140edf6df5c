"""Whatever an organisation did, Drive Activity tells it as Google's discovery declares."""

import json
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest

from drivewake.lab.google import Options, start_google

SCOPES = [
    "https://www.googleapis.com/auth/drive.activity",
    "https://www.googleapis.com/auth/drive",
]
SCHEMAS: dict[str, Any] = json.loads(
    (files("googleapiclient.discovery_cache.documents") / "driveactivity.v2.json").read_bytes()
)["schemas"]
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": float}
_TOLD = {
    "create": "create",
    "content": "edit",
    "rename": "rename",
    "move": "move",
    "trash": "delete",
    "delete": "delete",
    "untrash": "restore",
    "permissions": "permissionChange",
    "comment": "comment",
}


def complaints(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:  # noqa: ANN401
    """Yield what in a JSON value contradicts its schema: unknown names, types, enumerations."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"]]
    kind = schema.get("type")
    if kind == "array":
        for item in value if isinstance(value, list) else [f"{where}: no array"]:
            yield from complaints(item, schema["items"], f"{where}[]")
    elif kind == "object":
        for name, below in value.items():
            known = schema.get("properties", {}).get(name)
            if known is None:
                yield f"{where}.{name}: unknown"
            else:
                yield from complaints(below, known, f"{where}.{name}")
    elif type(value) is not _PYTHON[kind or ""]:
        yield f"{where}: {value!r} is no {kind}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"


class Organisation:
    """A generated organisation behind HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        body = {"seed": 11, "people": 12}
        self.people = [
            p["email"] for p in client.post("/_sim/organisations", json=body).json()["people"]
        ]

    def headers(self, email: str) -> dict[str, str]:
        """Return the credentials of somebody."""
        body = {"email": email, "scopes": SCOPES}
        token = self.client.post("/_sim/tokens", json=body).json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def activities(self, email: str, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
        """Return all pages; each is held to discovery."""
        headers, found, token = self.headers(email), list[dict[str, Any]](), ""
        while True:
            asked = {"pageSize": 40, **body, **({"pageToken": token} if token else {})}
            answer = self.client.post("/v2/activity:query", json=asked, headers=headers)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert [] == list(complaints(page, SCHEMAS["QueryDriveActivityResponse"], "page"))
            found += page.get("activities", [])
            token = page.get("nextPageToken", "")
            if not token:
                return found


@pytest.fixture(scope="module")
def organisation() -> Iterator[Organisation]:
    """Twelve people with a past."""
    with start_google(Options()) as google, httpx.Client(base_url=google.base_url) as client:
        yield Organisation(client)


@pytest.mark.parametrize("strategy", [{"none": {}}, {"legacy": {}}])
def test_all_that_everybody_sees_is_as_discovery_declares(
    organisation: Organisation, strategy: dict[str, Any]
) -> None:
    """Unknown or mistyped fields, and values outside of an enumeration, fail."""
    counts = Counter(
        next(iter(activity["primaryActionDetail"]))
        for email in organisation.people
        for activity in organisation.activities(email, consolidationStrategy=strategy)
    )

    assert {"create", "edit", "move", "rename", "delete", "permissionChange"} <= set(counts)


def test_an_items_activities_are_its_changes(organisation: Organisation) -> None:
    """What the ledger says of a file, Drive Activity tells, in the opposite order."""
    email = organisation.people[0]
    seen = organisation.client.get(f"/_sim/state?principal={email}").json()["files"]
    facts = organisation.client.get("/_sim/ledger?types=change&limit=50000").json()["facts"]
    checked = 0
    for file in seen[:40]:
        kinds = [k for f in facts if f["file_id"] == file["id"] for k in f["kind"].split("+")]
        expected = [_TOLD[k] for k in kinds if k in _TOLD]
        told = organisation.activities(email, itemName=f"items/{file['id']}")
        primary = [next(iter(a["primaryActionDetail"])) for a in told]
        assert expected == primary[::-1], file["name"]
        checked += len(expected)

    assert checked > 60


def test_closed_windows_together_tell_what_the_whole_tells(organisation: Organisation) -> None:
    """Nothing is lost or doubled between `time <= t` and `time > t`."""
    email = organisation.people[0]
    whole = organisation.activities(email)
    middle = whole[len(whole) // 2]["timestamp"]
    newer = organisation.activities(email, filter=f'time > "{middle}"')
    older = organisation.activities(email, filter=f'time <= "{middle}"')

    assert len(whole) > 20
    assert whole == newer + older


def test_a_shared_drive_is_made_renamed_restricted_and_deleted(
    organisation: Organisation,
) -> None:
    """The drive itself is the target; its history can be read when it is gone."""
    email = organisation.people[0]
    headers = organisation.headers(email)
    client = organisation.client
    params = {"requestId": "r"}
    made = client.post("/drive/v3/drives", params=params, json={"name": "D"}, headers=headers)
    path = f"/drive/v3/drives/{made.json()['id']}"
    client.patch(path, json={"name": "E"}, headers=headers)
    limits = {"restrictions": {"domainUsersOnly": True}}
    assert 200 == client.patch(path, json=limits, headers=headers).status_code
    assert 204 == client.delete(path, headers=headers).status_code
    told = organisation.activities(email, itemName=f"items/{made.json()['id']}")

    assert ["delete", "settingsChange", "rename", "create"] == [
        next(iter(a["primaryActionDetail"])) for a in told
    ]
    drives = [a["targets"][0]["drive"] for a in told]
    assert {f"drives/{made.json()['id']}"} == {d["name"] for d in drives}
    assert ["E", "E", "E", "D"] == [d["title"] for d in drives]
    change = told[1]["primaryActionDetail"]["settingsChange"]["restrictionChanges"]
    assert [("SHARING_OUTSIDE_DOMAIN", "FULLY_RESTRICTED")] == [
        (c["feature"], c["newRestriction"]) for c in change
    ]
