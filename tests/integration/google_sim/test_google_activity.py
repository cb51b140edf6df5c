"""Drive Activity v2 over HTTP, through Google's own client where it can be."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from drivewake.lab.google import RunningGoogle

ALICE, BOB = "alice@example.com", "bob@example.com"
SCOPE = "https://www.googleapis.com/auth/drive.activity.readonly"
SCHEMAS: dict[str, Any] = json.loads(
    (files("googleapiclient.discovery_cache.documents") / "driveactivity.v2.json").read_bytes()
)["schemas"]
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": float}
Query = Callable[..., list[dict[str, Any]]]
Act = Callable[..., list[dict[str, Any]]]


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


@pytest.fixture
def api(google: RunningGoogle, control: httpx.Client) -> Iterator[Callable[[str], Any]]:
    """Google's client of Drive Activity, as a user."""
    opened: list[Any] = []

    def make(email: str) -> Any:  # noqa: ANN401 - Google's client has no types
        body = {"email": email, "scopes": [SCOPE]}
        token = control.post("/_sim/tokens", json=body).json()["access_token"]
        service = build(
            "driveactivity",
            "v2",
            credentials=Credentials(token),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": google.base_url},
            static_discovery=True,
        )
        opened.append(service)
        return service

    yield make
    for service in opened:
        service.close()


@pytest.fixture
def query(api: Callable[[str], Any]) -> Query:
    """Query as a user, all pages; every answer is held to Google's discovery document."""

    def run(email: str, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
        found: list[dict[str, Any]] = []
        service, token = api(email), ""
        for _ in range(100):
            asked = {**body, "pageToken": token} if token else body
            answer = service.activity().query(body=asked).execute()
            assert [] == list(complaints(answer, SCHEMAS["QueryDriveActivityResponse"], "answer"))
            found += answer.get("activities", [])
            token = answer.get("nextPageToken", "")
            if not token:
                return found
        raise AssertionError("the pages do not end")

    return run


def cases(activities: list[dict[str, Any]]) -> list[str]:
    """Return the primary case of each activity."""
    return [next(iter(a["primaryActionDetail"])) for a in activities]


def share(file: str, *emails: str) -> dict[str, Any]:
    """Return an action that shares a file with exactly these."""
    permissions = [{"type": "user", "role": "reader", "emailAddress": e} for e in emails]
    return {"op": "set_permissions", "file": file, "permissions": permissions}


def refusal(service: Any, **body: Any) -> tuple[int, str, str]:  # noqa: ANN401
    """Return status, google.rpc status and message of a refused query."""
    with pytest.raises(HttpError) as caught:
        service.activity().query(body=body).execute()
    error = json.loads(caught.value.content)["error"]
    return caught.value.resp.status, error["status"], error["message"]


def test_every_kind_of_change_has_its_action_newest_first(act: Act, query: Query) -> None:
    """Drive Activity: ActionDetail's cases, and newest-first order."""
    ids = act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "create_file", "name": "f", "ref": "f", "content": "eA==", "parent": "d"},
        {"op": "update", "file": "f", "content": "eHg="},
        {"op": "update", "file": "f", "name": "g"},
        share("f", BOB),
        {"op": "comment", "file": "f", "content": "why?"},
        {"op": "update", "file": "f", "parent": "root"},
        {"op": "trash", "file": "f"},
        {"op": "untrash", "file": "f"},
        {"op": "star", "file": "f"},
        {"op": "delete", "file": "f"},
    )
    found = query(ALICE, itemName=f"items/{ids[1]['id']}")

    details = [a["primaryActionDetail"] for a in found]
    assert [
        "delete",
        "restore",
        "delete",
        "move",
        "comment",
        "permissionChange",
        "rename",
        "edit",
        "create",
    ] == cases(found)
    assert [{"type": "PERMANENT_DELETE"}, {"type": "TRASH"}] == [
        d["delete"] for d in details if "delete" in d
    ]
    assert {"oldTitle": "f", "newTitle": "g"} == details[6]["rename"]
    assert {"upload": {}} == details[8]["create"]
    assert {"type": "UNTRASH"} == details[1]["restore"]
    assert {"post": {"subtype": "ADDED"}} == details[4]["comment"]
    added = details[5]["permissionChange"]["addedPermissions"]
    assert ["VIEWER"] == [p["role"] for p in added]
    parents = details[3]["move"]["removedParents"]
    assert [f"items/{ids[0]['id']}"] == [p["driveItem"]["name"] for p in parents]


def test_a_title_is_the_one_right_after_the_action(act: Act, query: Query) -> None:
    """Drive Activity: target.title is the state right after the action."""
    made = act(
        ALICE,
        {"op": "create_file", "name": "before", "ref": "f"},
        {"op": "update", "file": "f", "name": "after"},
        {"op": "delete", "file": "f"},
    )
    found = query(ALICE, itemName=f"items/{made[0]['id']}")

    assert ["after", "after", "before"] == [a["targets"][0]["driveItem"]["title"] for a in found]


def test_an_actor_is_a_person_name_relative_to_the_viewer(
    act: Act, query: Query, control: httpx.Client
) -> None:
    """Drive Activity: knownUser with people/ID, isCurrentUser depends on who looks, no e-mail."""
    made = act(ALICE, {"op": "create_file", "name": "f", "ref": "f"}, share("f", BOB))
    name = f"items/{made[0]['id']}"
    mine, theirs = query(ALICE, itemName=name)[-1], query(BOB, itemName=name)[-1]

    user_id = control.get("/v1/userinfo", headers=_bearer(control)).json()["sub"]
    known = {"personName": f"people/{user_id}"}
    assert [{"user": {"knownUser": {**known, "isCurrentUser": True}}}] == mine["actors"]
    assert [{"user": {"knownUser": known}}] == theirs["actors"]
    assert ALICE not in json.dumps([mine, theirs])


def _bearer(control: httpx.Client) -> dict[str, str]:
    token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_item_and_ancestor_exclude_each_other_and_the_default_is_root(
    act: Act, query: Query, api: Callable[[str], Any]
) -> None:
    """Drive Activity: key is itemName XOR ancestorName, default ancestorName=items/root."""
    ids = act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "create_file", "name": "f", "ref": "f", "parent": "d"},
        {"op": "create_file", "name": "beside", "ref": "b"},
    )
    folder = f"items/{ids[0]['id']}"
    both = refusal(api(ALICE), itemName=folder, ancestorName="items/root")

    assert (400, "INVALID_ARGUMENT") == both[:2]
    assert 3 == len(query(ALICE))
    assert query(ALICE) == query(ALICE, ancestorName="items/root")
    assert 2 == len(query(ALICE, ancestorName=folder))


def test_the_item_name_of_a_folder_is_only_the_folder_itself(act: Act, query: Query) -> None:
    """Drive Activity: itemName on a folder = only the folder itself."""
    ids = act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "create_file", "name": "f", "ref": "f", "parent": "d"},
    )

    assert ["create"] == cases(query(ALICE, itemName=f"items/{ids[0]['id']}"))


def test_after_access_is_removed_the_restriction_is_seen_and_nothing_more(
    act: Act, query: Query
) -> None:
    """Drive Activity: visibility follows the ACL at the time."""
    made = act(
        ALICE,
        {"op": "create_file", "name": "f", "ref": "f", "content": "eA=="},
        share("f", BOB),
        {"op": "update", "file": "f", "content": "eHg="},
        share("f"),
        {"op": "update", "file": "f", "name": "secret"},
    )
    name = f"items/{made[0]['id']}"

    assert ["permissionChange", "edit", "permissionChange"] == cases(query(BOB, itemName=name))
    assert 5 == len(query(ALICE, itemName=name))
    assert "secret" not in json.dumps(query(BOB, itemName=name))


def test_what_one_never_saw_is_not_found(act: Act, api: Callable[[str], Any]) -> None:
    """Drive Activity: only what the authenticated user may see."""
    made = act(ALICE, {"op": "create_file", "name": "f", "ref": "f"})
    refused = refusal(api(BOB), itemName=f"items/{made[0]['id']}")

    assert (404, "NOT_FOUND") == refused[:2]


def test_a_move_into_a_shared_folder_is_one_activity_with_the_permission_change(
    act: Act, query: Query
) -> None:
    """Drive Activity: even with NoConsolidation spontaneous groupings occur."""
    made = act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        share("d", BOB),
        {"op": "create_file", "name": "f", "ref": "f"},
        {"op": "update", "file": "f", "parent": "d"},
    )
    body = {"consolidationStrategy": {"none": {}}, "itemName": f"items/{made[2]['id']}"}
    newest = query(ALICE, **body)[0]

    assert ["move", "permissionChange"] == [next(iter(a["detail"])) for a in newest["actions"]]
    assert "move" in newest["primaryActionDetail"]
    assert ["actor" in a or "target" in a for a in newest["actions"]] == [False, False]


def test_legacy_consolidation_tells_the_same_done_to_many_as_one(act: Act, query: Query) -> None:
    """Drive Activity: consolidationStrategy; several targets have a range of time."""
    act(ALICE, *[{"op": "create_file", "name": f"f{n}", "ref": f"f{n}"} for n in range(3)])
    grouped = query(ALICE, consolidationStrategy={"legacy": {}})

    assert 3 == len(query(ALICE))
    assert 1 == len(grouped)
    assert 3 == len(grouped[0]["targets"]) == len(grouped[0]["actions"])
    assert 1 == len(grouped[0]["actors"])


def test_pages_hold_at_least_what_was_asked_and_together_everything_once(
    google: RunningGoogle, act: Act, api: Callable[[str], Any], query: Query
) -> None:
    """Drive Activity: pageSize is approximate; the token goes on where the page ended."""
    act(ALICE, *[{"op": "create_file", "name": f"f{n}", "ref": f"f{n}"} for n in range(25)])
    first = api(ALICE).activity().query(body={"pageSize": 4}).execute()
    act(ALICE, {"op": "create_file", "name": "later", "ref": "later"})
    service, found, token = api(ALICE), first["activities"], first["nextPageToken"]
    while token:
        page = service.activity().query(body={"pageSize": 4, "pageToken": token}).execute()
        found, token = found + page["activities"], page.get("nextPageToken")

    names = [a["targets"][0]["driveItem"]["title"] for a in found]
    assert len(first["activities"]) >= 4
    assert [f"f{n}" for n in reversed(range(25))] == names
    assert 26 == len(query(ALICE, pageSize=7))


def test_a_page_may_hold_fewer_than_asked_for_or_none(
    act: Act, api: Callable[[str], Any], control: httpx.Client
) -> None:
    """Drive Activity: a page may have fewer on a time-out; the token says whether all was read."""
    act(ALICE, *[{"op": "create_file", "name": f"f{n}", "ref": f"f{n}"} for n in range(9)])
    for keep in (0, 0.5):
        rule = {"effect": "activity_short_page", "keep": keep, "times": 1}
        control.post("/_sim/faults", json=rule).raise_for_status()
    service, sizes, names, token = api(ALICE), list[int](), list[str](), ""
    while token is not None:
        body = {"pageSize": 6, "pageToken": token} if token else {"pageSize": 6}
        page = service.activity().query(body=body).execute()
        found, token = page.get("activities", []), page.get("nextPageToken")
        sizes.append(len(found))
        names += [a["targets"][0]["driveItem"]["title"] for a in found]

    assert 0 == sizes[0]
    assert 0 < sizes[1] < 6
    assert [f"f{n}" for n in reversed(range(9))] == names


def test_a_page_token_belongs_to_its_request(act: Act, api: Callable[[str], Any]) -> None:
    """Drive Activity: repeat the identical request with the token."""
    act(ALICE, *[{"op": "create_file", "name": f"f{n}", "ref": f"f{n}"} for n in range(25)])
    answer = api(ALICE).activity().query(body={"pageSize": 2}).execute()
    token = answer["nextPageToken"]
    other = refusal(api(ALICE), pageSize=2, pageToken=token, filter="time > 0")
    bogus = refusal(api(ALICE), pageSize=2, pageToken="bogus")

    assert (400, "INVALID_ARGUMENT") == other[:2] == bogus[:2]


def test_a_filter_selects_by_time_and_case(act: Act, query: Query) -> None:
    """Drive Activity: closed windows can be polled; timestamps have milliseconds."""
    act(
        ALICE,
        {"op": "create_file", "name": "f", "ref": "f"},
        {"op": "update", "file": "f", "name": "g"},
    )
    newest = query(ALICE)[0]["timestamp"]

    assert "rename" == cases(query(ALICE, filter=f'time >= "{newest}"'))[0]
    assert [] == query(ALICE, filter=f'time > "{newest}"')
    assert len(query(ALICE)) == len(query(ALICE, filter=f'time <= "{newest}"'))
    assert ["rename"] == cases(query(ALICE, filter="detail.action_detail_case:RENAME"))
    assert ["create"] == cases(query(ALICE, filter="-detail.action_detail_case:RENAME"))


@pytest.mark.parametrize(
    "body",
    [
        {"filter": "tim > 5"},
        {"bogus": 1},
        {"pageSize": -1},
        {"itemName": "files/x"},
        {"consolidationStrategy": {"some": {}}},
    ],
)
def test_what_cannot_be_meant_is_an_invalid_argument(
    control: httpx.Client, body: dict[str, Any]
) -> None:
    """Drive Activity answers with a google.rpc status."""
    token = control.post("/_sim/tokens", json={"email": ALICE, "scopes": [SCOPE]}).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    answer = control.post("/v2/activity:query", json=body, headers=headers)

    assert (400, "INVALID_ARGUMENT") == (answer.status_code, answer.json()["error"]["status"])


def test_a_drive_token_is_not_enough(control: httpx.Client) -> None:
    """Drive Activity: the scopes are drive.activity(.readonly)."""
    answer = control.post("/v2/activity:query", json={}, headers=_bearer(control))

    assert (403, "PERMISSION_DENIED") == (answer.status_code, answer.json()["error"]["status"])


def test_activities_that_no_change_tells_can_be_commanded(
    act: Act, query: Query, control: httpx.Client
) -> None:
    """Drive Activity: dlpChange, reference, labels; all kinds of actors."""
    made = act(ALICE, {"op": "create_file", "name": "f", "ref": "f"})
    for case, detail, actor in (
        ("dlpChange", {"type": "FLAGGED"}, {"administrator": {}}),
        ("reference", {"type": "LINK"}, {"anonymous": {}}),
        ("delete", {"type": "TRASH"}, {"system": {"type": "TRASH_AUTO_PURGE"}}),
        ("edit", {}, {"user": {"unknownUser": {}}}),
        ("edit", {}, {"impersonation": BOB}),
        ("edit", {}, "gone@example.com"),
    ):
        body = {"file": "f", "case": case, "detail": detail, "actor": actor}
        assert 200 == control.post("/_sim/activities", json=body).status_code
    found = query(ALICE, itemName=f"items/{made[0]['id']}")
    facts = control.get("/_sim/ledger", params={"types": "activity"}).json()["facts"]

    told = [(fact["file_id"], fact["case"], fact["actor"]) for fact in facts]
    assert 6 == len(told)
    assert [(made[0]["id"], "dlpChange", "administrator")] == told[:1]
    assert [(made[0]["id"], "edit", "gone@example.com")] == told[-1:]
    assert ["edit"] * 3 + ["delete", "reference", "dlpChange", "create"] == cases(found)
    assert [{"user": {"deletedUser": {}}}] == found[0]["actors"]
    assert [{"user": {"unknownUser": {}}}] == found[2]["actors"]
    assert "impersonatedUser" in found[1]["actors"][0]["impersonation"]


def test_internal_errors_by_window_are_escaped_by_halving_the_window(
    act: Act, api: Callable[[str], Any], query: Query, control: httpx.Client
) -> None:
    """Drive Activity: the 500 of a poisoned window; the windows beside it can be read."""
    act(ALICE, {"op": "create_file", "name": "f", "ref": "f"})
    rule = {"effect": "activity_internal", "fromMs": 5_000, "untilMs": 6_000}
    control.post("/_sim/faults", json=rule)

    assert (500, "INTERNAL", "Internal error encountered.") == refusal(api(ALICE))
    assert 500 == refusal(api(ALICE), filter="time > 5500 AND time <= 9000")[0]
    assert ["create"] == cases(query(ALICE, filter="time > 6000"))
    assert [] == query(ALICE, filter="time < 5000")


def test_internal_errors_by_folder_are_escaped_by_asking_for_items(
    act: Act, api: Callable[[str], Any], query: Query, control: httpx.Client
) -> None:
    """Drive Activity: fall back from ancestorName to itemName per child."""
    ids = act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "create_file", "name": "f", "ref": "f", "parent": "d"},
        {"op": "create_folder", "name": "beside", "ref": "b"},
    )
    control.post("/_sim/faults", json={"effect": "activity_internal", "folder": ids[0]["id"]})

    assert 500 == refusal(api(ALICE))[0]
    assert 500 == refusal(api(ALICE), ancestorName=f"items/{ids[0]['id']}")[0]
    assert ["create"] == cases(query(ALICE, itemName=f"items/{ids[1]['id']}"))
    assert ["create"] == cases(query(ALICE, ancestorName=f"items/{ids[2]['id']}"))


def test_internal_errors_come_to_a_share_of_calls(
    api: Callable[[str], Any], control: httpx.Client
) -> None:
    """Drive Activity: intermittent in production; here seeded and in the ledger."""
    control.post("/_sim/faults", json={"effect": "activity_internal", "share": 0.5})
    service, failed = api(ALICE), 0
    for _ in range(40):
        try:
            service.activity().query(body={}).execute()
        except HttpError as error:
            failed += error.resp.status == 500
    facts = control.get("/_sim/ledger?types=fault").json()["facts"]

    assert 8 < failed < 32
    assert failed == len(facts)
    assert {"activity_internal"} == {f["effect"] for f in facts}
