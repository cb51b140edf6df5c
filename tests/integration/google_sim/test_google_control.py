"""The control API does what is asked and tells what happened."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from drivewake.lab.google import RunningGoogle, seen_by
from drivewake.lab.google.resources import rfc3339

ALICE, BOB = "alice@example.com", "bob@example.com"
Act = Callable[..., list[dict[str, Any]]]


def test_a_batch_is_applied_in_order_and_answered_in_order(control: httpx.Client, act: Act) -> None:
    """Refs name what earlier actions made; state shows the outcome exactly."""
    results = act(
        ALICE,
        {"op": "create_folder", "ref": "src", "name": "src"},
        {
            "op": "create_file",
            "ref": "a",
            "name": "a\n\"'",
            "parent": "src",
            "content": base64.b64encode(b"hello").decode(),
            "createdTime": "1969-12-31T23:59:59Z",
            "modifiedTime": "2030-01-01T00:00:00+02:00",
        },
        {"op": "update", "file": "a", "name": "b", "parent": "root", "modifiedTime": 1000},
        {"op": "delete", "file": "src"},
    )

    (file,) = control.get("/_sim/state", params={"principal": ALICE}).json()["files"]
    assert [1, 1, 2, 2] == [r["version"] for r in results]
    assert [1, 2, 3, 4] == [r["seq"] for r in results]
    assert {
        "id": results[1]["id"],
        "ref": "a",
        "path": ["b"],
        "version": 2,
        "createdTime": "1969-12-31T23:59:59.000Z",
        "modifiedTime": "1970-01-01T00:00:01.000Z",
        "size": 5,
        "md5Checksum": "5d41402abc4b2a76b9719d911017c592",
    }.items() <= file.items()


def test_the_past_is_told_by_instant_and_by_change(control: httpx.Client, act: Act) -> None:
    """In nanoseconds, in RFC 3339, by number; what was not and what is no time is refused."""
    act(ALICE, {"op": "create_file", "ref": "a", "name": "first"})
    then = control.get("/_sim/state", params={"principal": ALICE}).json()
    act(ALICE, {"op": "update", "file": "a", "name": "second"})
    facts = control.get("/_sim/ledger", params={"types": "change"}).json()["facts"]
    created, renamed = (fact["at_ns"] for fact in facts)
    before_ms = rfc3339(renamed // 1_000_000 - 1)

    def asked(**past: str | int) -> httpx.Response:
        return control.get("/_sim/state", params={"principal": ALICE, **past})

    assert then == asked(at=created).json() == asked(seq=then["seq"]).json()
    assert then == asked(at=renamed - 1).json()
    assert [] == asked(at=created - 1).json()["files"]
    assert asked(at=before_ms).json()["seq"] <= then["seq"]
    assert ["second"] == [file["name"] for file in asked(at=renamed).json()["files"]]
    refused = (asked(at="soon"), asked(at=2**62), asked(seq=99), asked(at=created, seq=1))
    assert [400] * 4 == [answer.status_code for answer in refused]


def test_msgpack_carries_bytes_as_they_are(control: httpx.Client) -> None:
    """No base64 for whoever has much to say."""
    action = {"op": "create_file", "ref": "a", "name": "a", "content": bytes(range(256))}
    body = msgspec.msgpack.encode({"actor": ALICE, "actions": [action]})

    answer = control.post(
        "/_sim/actions", content=body, headers={"content-type": "application/msgpack"}
    )

    assert answer.status_code == 200
    (file,) = control.get("/_sim/state", params={"principal": ALICE}).json()["files"]
    assert file["sha256Checksum"].startswith("40aff2e9")


def test_a_batch_stops_at_the_first_refusal_and_says_where(control: httpx.Client) -> None:
    """What came before is done and reported; what comes after is not."""
    actions = [
        {"op": "create_folder", "ref": "one", "name": "one"},
        {"op": "trash", "file": "missing"},
        {"op": "create_folder", "ref": "two", "name": "two"},
    ]

    answer = control.post("/_sim/actions", json={"actor": ALICE, "actions": actions})

    assert 422 == answer.status_code
    assert (1, "one", "Action 1: File not found: missing.") == (
        answer.json()["index"],
        answer.json()["results"][0]["ref"],
        answer.json()["error"],
    )
    assert ["one"] == list(control.get("/_sim/refs").json()["refs"])


def test_nonsense_is_refused_in_one_line(control: httpx.Client) -> None:
    """A wrong body is 400 with what is wrong."""
    answer = control.post("/_sim/actions", json={"actor": ALICE, "actions": [{"op": "explode"}]})

    assert 400 == answer.status_code
    assert "explode" in answer.json()["error"]


def test_the_ledger_tells_every_change_and_who_can_learn_of_it(
    control: httpx.Client, act: Act
) -> None:
    """One fact a version, with the logs that carry it; `after` continues."""
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    first, _ = act(
        ALICE,
        {"op": "create_folder", "ref": "f", "name": "f"},
        {"op": "set_permissions", "file": "f", "permissions": [share]},
    )

    ledger = control.get("/_sim/ledger", params={"types": "change"}).json()
    rest = control.get("/_sim/ledger", params={"after": 1, "types": "change"}).json()

    told = [(f["kind"], f["version"], f["file_id"], set(f["logs"])) for f in ledger["facts"]]
    assert [
        ("create", 1, first["id"], {ALICE}),
        ("permissions", 2, first["id"], {ALICE, BOB}),
    ] == told
    assert ledger["facts"][1:] == rest["facts"]
    assert not ledger["more"]


def test_pages_of_changes_are_in_the_ledger_as_their_reader_saw_them(
    control: httpx.Client, act: Act
) -> None:
    """A removal is version 0, whether the file is gone or only out of sight."""
    token = control.post("/_sim/tokens", json={"email": BOB}).json()["access_token"]
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    folder, *_ = act(
        ALICE,
        {"op": "create_folder", "ref": "f", "name": "f"},
        {"op": "set_permissions", "file": "f", "permissions": [share]},
        {"op": "set_permissions", "file": "f", "permissions": []},
    )

    bearer = {"Authorization": f"Bearer {token}"}
    page = control.get("/drive/v3/changes", params={"pageToken": "1"}, headers=bearer).json()

    (fact,) = control.get("/_sim/ledger", params={"types": "page"}).json()["facts"]
    assert [[folder["id"], 0]] == fact["entries"]
    assert (BOB, 1, page["newStartPageToken"]) == (fact["log"], fact["start"], str(fact["next"]))


def test_requests_and_refusals_are_in_the_ledger(control: httpx.Client) -> None:
    """Every API call with its status and Google's reason."""
    control.get("/drive/v3/files")

    (fact,) = control.get("/_sim/ledger", params={"types": "request"}).json()["facts"]

    assert ("drive.files.list", 403, "forbidden") == (
        fact["method"],
        fact["status"],
        fact["reason"],
    )


def test_users_can_be_made_while_it_runs(control: httpx.Client) -> None:
    """A new user has an empty Drive and can act; the same address twice is refused."""
    made = control.post("/_sim/users", json={"email": "new@example.com", "name": "New"})
    again = control.post("/_sim/users", json={"email": "new@example.com"})

    assert (200, 400) == (made.status_code, again.status_code)
    state = control.get("/_sim/state", params={"principal": "new@example.com"}).json()
    assert (made.json()["rootId"], []) == (state["rootId"], state["files"])


def test_the_visible_state_tells_place_hashes_permissions_and_the_change_it_is_at(
    control: httpx.Client, act: Act, google: RunningGoogle
) -> None:
    """Inherited permissions too; the same in process; what expired is not in it."""
    share = {"type": "user", "role": "reader", "emailAddress": BOB}
    file = {"op": "create_file", "name": "a", "parent": "f", "content": "aGVsbG8="}
    results = act(
        ALICE,
        {"op": "create_folder", "ref": "f", "name": "f"},
        file,
        {"op": "set_permissions", "file": "f", "permissions": [share]},
    )

    state = control.get("/_sim/state", params={"principal": BOB}).json()
    inside = google.call(seen_by, google.world, BOB)
    now_ns = google.world.now_ns
    expiring = {**share, "expirationTime": now_ns() // 1_000_000 + 60_000}
    act(ALICE, {"op": "set_permissions", "file": "f", "permissions": [expiring]})
    google.world.now_ns = lambda: now_ns() + 61 * 10**9
    later = control.get("/_sim/state", params={"principal": BOB}).json()

    seen = state["files"][1]
    held = {(p["emailAddress"], p["role"]) for p in seen["permissions"]}
    assert state == inside
    assert (results[-1]["seq"], ["f", "a"]) == (state["seq"], seen["path"])
    assert hashlib.sha256(b"hello").hexdigest() == seen["sha256Checksum"]
    assert {(ALICE, "owner"), (BOB, "reader")} == held
    assert ([], state["seq"] + 2) == (later["files"], later["seq"])
