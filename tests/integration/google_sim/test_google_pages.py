"""A page of changes that is served again is what it would be if it were made anew."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from drivewake.lab.google import Options, start_google
from drivewake.lab.google.profiles import PROFILES

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
TEAM = "team@example.com"
Act = Callable[..., list[dict[str, Any]]]
READER = {"type": "user", "role": "reader", "emailAddress": BOB}
LINK = {"type": "anyone", "role": "reader"}
ORGANIZER = {"type": "user", "role": "organizer", "emailAddress": ALICE}
GROUP = {"type": "group", "role": "writer", "emailAddress": TEAM}
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "rename": [(ALICE, {"op": "update", "file": "f", "name": "g"})],
    "new content": [(ALICE, {"op": "update", "file": "f", "content": "eXk="})],
    "trash of the folder above": [(ALICE, {"op": "trash", "file": "d"})],
    "share with another": [(ALICE, {"op": "set_permissions", "file": "f", "permissions": [GROUP]})],
    "unshare the folder": [(ALICE, {"op": "set_permissions", "file": "d", "permissions": []})],
    "star of another": [(ALICE, {"op": "star", "file": "f"})],
    "comment": [(ALICE, {"op": "comment", "file": "f", "content": "c"})],
    "link, then opened": [
        (ALICE, {"op": "set_permissions", "file": "l", "permissions": [LINK]}),
        (BOB, {"op": "open", "file": "l"}),
        (ALICE, {"op": "update", "file": "l", "name": "m"}),
    ],
    "in the drive": [(ALICE, {"op": "create_file", "name": "n", "parent": "D"})],
    "leaving the drive": [
        (ALICE, {"op": "set_permissions", "file": "D", "permissions": [ORGANIZER]})
    ],
    "transfer": [(ALICE, {"op": "transfer", "file": "f", "emailAddress": CAROL})],
    "limited folder": [(ALICE, {"op": "mark", "file": "d", "limited": True})],
    "shortcut's target": [(ALICE, {"op": "mark", "file": "f", "resourceKey": "k"})],
    "delete": [(ALICE, {"op": "delete", "file": "f"})],
}


@pytest.fixture
def pages(control: httpx.Client, act: Act) -> Callable[[str], list[Any]]:
    """Return pages of all of Bob's changes, all fields, asked for in some other words."""
    control.post("/_sim/users", json={"email": CAROL})
    control.post("/_sim/groups", json={"email": TEAM, "members": [BOB]})
    writer = {"type": "user", "role": "writer", "emailAddress": BOB}
    act(
        ALICE,
        {"op": "create_folder", "name": "d", "ref": "d"},
        {"op": "set_permissions", "file": "d", "permissions": [READER, GROUP]},
        {"op": "create_file", "name": "f", "ref": "f", "parent": "d", "content": "eA=="},
        {"op": "create_file", "name": "l", "ref": "l", "content": "eA=="},
        {"op": "create_drive", "name": "D", "ref": "D"},
        {"op": "set_permissions", "file": "D", "permissions": [ORGANIZER, writer]},
        {"op": "create_file", "name": "x", "ref": "x", "parent": "D", "actor": BOB},
    )
    token = control.post("/_sim/tokens", json={"email": BOB}).json()["access_token"]
    drive = control.get("/_sim/refs").json()["refs"]["D"]
    flags = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true", "pageToken": "1"}

    def read(fields: str) -> list[Any]:
        answers = [
            control.get(
                "/drive/v3/changes",
                params={**flags, **more, "fields": fields},
                headers={"Authorization": f"Bearer {token}"},
            )
            for more in ({}, {"driveId": drive}, {"includeCorpusRemovals": "true"})
        ]
        return [a.json() if a.status_code == 200 else a.status_code for a in answers]

    return read


@pytest.mark.parametrize("case", CASES)
def test_a_page_served_again_is_never_stale(
    pages: Callable[[str], list[Any]], act: Act, case: str
) -> None:
    """Asked twice, changed, asked again: the same as asked for the first time now."""
    assert pages("*") == pages("*")
    for number, (actor, action) in enumerate(CASES[case]):
        act(actor, action)

        assert pages("kind," * (number + 1) + "*") == pages("*")


def test_members_of_a_group_see_their_pages_change(
    pages: Callable[[str], list[Any]], control: httpx.Client
) -> None:
    """Group membership enters no log, and still decides what a page shows."""
    before = pages("*")

    control.post("/_sim/groups", json={"email": TEAM, "members": []})

    assert pages("kind,*") == pages("*")
    assert before != pages("*")


def test_preencoded_pages_stay_until_their_log_moves() -> None:
    """That mode measures clients: what enters no log of the reader does not change a page."""
    kept = msgspec.structs.replace(PROFILES["relaxed"], preencoded_pages=True)
    with (
        start_google(Options(users=(ALICE, BOB), profile=kept)) as google,
        httpx.Client(base_url=google.base_url) as control,
    ):
        token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]

        def page() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token}"}
            shown: dict[str, Any] = control.get(
                "/drive/v3/changes?pageToken=1", headers=headers
            ).json()
            return shown

        def create(actor: str) -> None:
            action = {"op": "create_file", "name": "x", "content": ""}
            control.post("/_sim/actions", json={"actor": actor, "actions": [action]})

        create(ALICE)
        first = page()
        create(BOB)
        assert first == page()
        create(ALICE)
        assert 2 == len(page()["changes"])
        facts = control.get("/_sim/ledger", params={"types": "page"}).json()["facts"]
        assert [1, 1, 2] == [len(f["entries"]) for f in facts]
