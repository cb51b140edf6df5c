"""Activities: every action becomes its event, once, whoever asks and however windows overlap."""

import datetime as dt
import itertools
import random
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.activity import ActivityData, ActivityObject, ActivityOther, Actor
from drivewake.contracts.events import EventData, type_of
from drivewake.lab.google.activity_resources import resource
from drivewake.lab.google.model import FOLDER
from drivewake.lab.google.world import Options, SimulatedGoogle
from drivewake.normalizer.domain.activity import decide_activity
from drivewake.normalizer.domain.activity_details import without_viewer
from drivewake.normalizer.domain.google import InvalidResourceError
from drivewake.normalizer.domain.google_activity import decode_activity
from drivewake.normalizer.domain.told import Told

AT = "2026-01-01T00:00:00.123Z"
ME = {"user": {"knownUser": {"personName": "people/1", "isCurrentUser": True}}}
FILE = {"driveItem": {"name": "items/f1", "title": "a", "mimeType": "text/plain", "driveFile": {}}}
ANN = {"knownUser": {"personName": "people/2"}}


def activity(detail: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a DriveActivity of one action on file f1."""
    whole = {"actors": [ME], "targets": [FILE], "timestamp": AT, "aFieldOfTomorrow": {}}
    return whole | {"actions": [{"detail": detail}] if detail is not None else []} | fields


def decided(body: object, item: str = "f1", connection: str = "c1", ordinal: int = 0) -> list[Told]:
    """Return what an activity tells; its JSON goes through the real decoder."""
    decoded = decode_activity(msgspec.Raw(msgspec.json.encode(body)))
    return list(decide_activity("t1", connection, item, decoded, ordinal))


def only(detail: dict[str, Any], **fields: Any) -> EventData:  # noqa: ANN401
    """Return the one event of one action."""
    (told,) = decided(activity(detail, **fields))
    return told.data


PARENTS = {"addedParents": [FILE], "removedParents": [{"drive": {"name": "drives/d1"}}]}
SHARED = {
    "addedPermissions": [
        {"role": "VIEWER", "user": ANN},
        {"role": "EDITOR", "group": {"email": "g@x.example"}},
        {"role": "VIEWER", "domain": {"name": "x.example"}, "allowDiscovery": True},
        {"role": "VIEWER", "anyone": {}},
        {"role": "OF_TOMORROW", "robot": {}},
    ],
    "removedPermissions": [{"role": "OWNER", "user": {"deletedUser": {}}}],
}
LABEL = {"label": "labels/l@1", "title": "L", "types": ["LABEL_ADDED"], "fieldChanges": [{"a": 1}]}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("created", {"create": {"new": {}}}, {"how": "new"}),
    ("created", {"create": {"upload": {}}}, {"how": "upload"}),
    ("created", {"create": {"grown": {}}}, {"how": "other"}),
    ("created", {"create": {"copy": {}}}, {"how": "copy"}),
    (
        "created",
        {"create": {"copy": {"originalObject": FILE}}},
        {"how": "copy", "original": {"kind": "file", "id": "f1", "title": "a"}},
    ),
    ("edited", {"edit": {}}, {}),
    (
        "moved",
        {"move": PARENTS},
        {"added": [{"id": "f1"}], "removed": [{"kind": "drive", "id": "d1"}]},
    ),
    ("moved", {"move": {"addedParents": [{"galaxy": {}}]}}, {}),
    ("renamed", {"rename": {"oldTitle": "a", "newTitle": "b"}}, {"before": "a", "after": "b"}),
    ("trashed", {"delete": {"type": "TRASH"}}, {}),
    ("purged", {"delete": {"type": "PERMANENT_DELETE"}}, {}),
    ("restored", {"restore": {"type": "UNTRASH"}}, {}),
    (
        "permission_changed",
        {"permissionChange": SHARED},
        {
            "added": [
                {"kind": "user", "role": "VIEWER", "user": {"kind": "user", "person": "people/2"}},
                {"kind": "group", "email": "g@x.example"},
                {"kind": "domain", "domain": "x.example", "discoverable": True},
                {"kind": "anyone", "role": "VIEWER"},
                {"kind": "other", "role": "OF_TOMORROW"},
            ],
            "removed": [{"kind": "user", "user": {"kind": "deleted_user"}}],
        },
    ),
    (
        "commented",
        {"comment": {"post": {"subtype": "ADDED"}, "mentionedUsers": [ANN]}},
        {"kind": "post", "change": "ADDED", "mentioned": [{"person": "people/2"}]},
    ),
    (
        "commented",
        {"comment": {"assignment": {"subtype": "REASSIGNED", "assignedUser": ANN}}},
        {"kind": "assignment", "assigned": {"kind": "user", "person": "people/2"}},
    ),
    ("commented", {"comment": {"suggestion": {"subtype": "ACCEPTED"}}}, {"kind": "suggestion"}),
    ("commented", {"comment": {"song": {}}}, {"kind": "other", "change": ""}),
    ("dlp_changed", {"dlpChange": {"type": "FLAGGED"}}, {"change": "FLAGGED"}),
    ("referenced", {"reference": {"type": "LINK"}}, {"how": "LINK"}),
    (
        "settings_changed",
        {"settingsChange": {"restrictionChanges": [{"feature": "F", "newRestriction": "R"}]}},
        {"changes": [{"feature": "F", "restriction": "R"}]},
    ),
    (
        "label_changed",
        {"appliedLabelChange": {"changes": [LABEL]}},
        {"changes": [{"label": "labels/l@1", "types": ["LABEL_ADDED"], "fields": [{"a": 1}]}]},
    ),
    ("other", {"sing": {"by": ME}}, {}),
    ("other", {"delete": {"type": "INTO_SPACE"}}, {}),
    ("other", {"restore": {"type": "FROM_SPACE"}}, {}),
]


@pytest.mark.parametrize(("verb", "detail", "says"), CASES)
def test_every_action_becomes_its_event(
    verb: str, detail: dict[str, Any], says: dict[str, Any]
) -> None:
    """Each case of ActionDetail has a type of event, with what Google says of it."""
    data = only(detail)
    assert f"activity.{verb}" == type_of(data)
    assert matches(msgspec.to_builtins(data), says)


def matches(value: Any, expected: Any) -> bool:  # noqa: ANN401
    """Say whether JSON holds at least what is expected."""
    if isinstance(expected, dict):
        return all(matches(value.get(key), each) for key, each in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(matches, value, expected))
    return bool(value == expected)


def test_every_event_type_of_activity_has_a_case() -> None:
    """No type of activity that the contracts know is left without an action that makes it."""
    tags = {member.__struct_config__.tag for member in typing.get_args(ActivityData)}
    assert tags == {f"activity.{verb}" for verb, _, _ in CASES}


def test_an_unknown_action_is_kept_whole_but_for_who_asked() -> None:
    """`activity.other` has Google's own detail, without `isCurrentUser` at any depth."""
    data = only({"sing": {"by": [ME], "loud": True}})
    assert isinstance(data, ActivityOther)
    person = {"user": {"knownUser": {"personName": "people/1"}}}
    assert {"sing": {"by": [person], "loud": True}} == data.detail


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (ME, Actor(kind="user", person="people/1")),
        ({"user": {"deletedUser": {}}}, Actor(kind="deleted_user")),
        ({"user": {"unknownUser": {}}}, Actor(kind="unknown_user")),
        ({"user": {}}, Actor(kind="unknown_user")),
        ({"anonymous": {}}, Actor(kind="anonymous")),
        ({"administrator": {}}, Actor(kind="administrator")),
        ({"system": {"type": "TRASH_AUTO_PURGE"}}, Actor(kind="system", system="TRASH_AUTO_PURGE")),
        ({"impersonation": {}}, Actor(kind="impersonation")),
        (
            {"impersonation": {"impersonatedUser": ANN}},
            Actor(kind="impersonation", person="people/2"),
        ),
        ({"robot": {}}, Actor(kind="other")),
    ],
)
def test_actors_are_told_as_google_gives_them(actor: dict[str, Any], expected: Actor) -> None:
    """Who did it, without whether it was the one who asks."""
    (told,) = decided(activity({"edit": {}}, actors=[actor]))
    assert (expected,) == told.data.actors  # type: ignore[union-attr]


def folder(id_: str) -> dict[str, Any]:
    """Return a folder of a shared drive, as the former API named it."""
    owner = {"teamDrive": {"name": "teamDrives/d1"}}
    return {"driveItem": {"name": f"items/{id_}", "folder": {}, "owner": owner}}


COMMENT = {"fileComment": {"legacyDiscussionId": "k1", "parent": FILE["driveItem"]}}


@pytest.mark.parametrize(
    ("target", "item", "expected"),
    [
        (folder("f2"), "f2", ActivityObject(kind="folder", id="f2", drive="d1")),
        ({"drive": {"name": "drives/d1"}}, "c1", ActivityObject(kind="drive", id="d1")),
        ({"teamDrive": {"name": "teamDrives/d1"}}, "d1", ActivityObject(kind="drive", id="d1")),
        ({"galaxy": {}}, "c1", ActivityObject(kind="other", id="")),
        ({"fileComment": {}}, "c1", ActivityObject(kind="other", id="")),
        (
            COMMENT,
            "f1",
            ActivityObject(
                kind="comment", id="f1", title="a", mime_type="text/plain", comment="k1"
            ),
        ),
    ],
)
def test_targets_are_told_by_their_ids(
    target: dict[str, Any], item: str, expected: ActivityObject
) -> None:
    """Files, folders, drives and comments, of the current and the former API."""
    (told,) = decided(activity({"edit": {}}, targets=[target]), item)
    assert expected == told.data.target  # type: ignore[union-attr]
    assert (expected.id or "c1") == told.subject


def test_an_activity_is_told_for_its_item_alone() -> None:
    """Of several targets only the raw's own is told; together the raws tell each once."""
    both = activity({"edit": {}}, targets=[FILE, FILE, folder("f2")])
    assert ["f1", "f2"] == [
        told.data.target.id  # type: ignore[union-attr]
        for item in ("f1", "f2")
        for told in decided(both, item)
    ]


def test_an_action_has_its_own_actor_target_and_time_if_it_says_so() -> None:
    """What an action leaves out is that of the whole activity."""
    own = {
        "detail": {"edit": {}},
        "actor": {"administrator": {}},
        "target": folder("f2"),
        "timeRange": {"startTime": AT, "endTime": "2026-01-01T00:00:09Z"},
    }
    body = activity(None, actions=[own, {"detail": {"edit": {}}}])
    (first,) = decided(body, "f2")
    (second,) = decided(body, "f1")
    data: Any = first.data
    assert ((Actor(kind="administrator"),), 9) == (data.actors, data.until.second)
    assert ((Actor(kind="user", person="people/1"),), None) == (
        second.data.actors,  # type: ignore[union-attr]
        second.data.until,  # type: ignore[union-attr]
    )


def test_the_primary_action_stands_for_an_activity_without_actions() -> None:
    """Nothing is lost if Google gives only the gist."""
    gist = {"primaryActionDetail": {"rename": {"oldTitle": "a", "newTitle": "b"}}}
    (told,) = decided(activity(None, **gist))
    assert "activity.renamed" == type_of(told.data)


@pytest.mark.parametrize(
    "broken",
    [
        activity({"edit": {}}) | {"timestamp": None},
        activity({}),
        activity({"edit": {}}, targets=[]),
        activity({"edit": {}}, targets=[folder("f2")]),
        activity({"rename": {"oldTitle": 1}}),
        activity({"edit": {}}) | {"timestamp": "2026-01-01T00:00:00"},
    ],
    ids=["no time", "no detail", "no target", "another target", "wrong type", "no zone"],
)
def test_what_cannot_be_an_event_is_refused(broken: dict[str, Any]) -> None:
    """An activity that says not when, what, or on what, is undecidable: one kind of error."""
    with pytest.raises(InvalidResourceError):
        decided(broken)


def test_what_is_the_same_to_the_byte_is_counted() -> None:
    """Identical actions of one activity, and identical activities of a window, stay several."""
    twice = activity(None, actions=[{"detail": {"edit": {}}}] * 2)
    names = [told.parts for told in (*decided(twice), *decided(twice, ordinal=1))]
    assert 4 == len(set(names))


OTHER_VIEW = {
    "actors": [{"user": {"unknownUser": {}}}],
    "actions": [{"detail": {"move": {"addedParents": []}}}],
}


def test_what_a_viewer_may_not_know_is_not_in_the_name() -> None:
    """A principal who sees neither actor nor parents tells the same fact."""
    (full,) = decided(activity({"move": PARENTS}))
    (less,) = decided(activity({"move": PARENTS}) | OTHER_VIEW, connection="c2")
    assert full.parts == less.parts
    assert full.identity_at == less.identity_at


@given(st.recursive(st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(
    st.sampled_from(["a", "isCurrentUser"]), s)))  # fmt: skip
def test_who_asked_is_nowhere_left(value: Any) -> None:  # noqa: ANN401
    """At no depth of any JSON."""
    assert b'"isCurrentUser":' not in msgspec.json.encode(without_viewer(value))


# -- Against the simulated Google ------------------------------------------------------------

PEOPLE = ("a@x.example", "b@x.example")
OPS = st.lists(
    st.sampled_from(["create", "edit", "rename", "move", "share", "trash", "untrash", "comment"]),
    min_size=1,
    max_size=12,
)


class World:
    """A simulated Google with two people who see one folder and a file in it."""

    def __init__(self) -> None:
        self.now_ns = 1_767_225_600_000_000_000
        self.google = SimulatedGoogle(Options(users=PEOPLE), now_ns=lambda: self.now_ns)
        self.state = self.google.state
        self.ann, self.bob = map(self.state.user, PEOPLE)
        self.names = itertools.count()
        self.folder = self.make("folder", FOLDER)
        writer = self.state.permission("user", "writer", PEOPLE[1], None)
        self.record(self.state.share(self.ann, self.folder, writer, self.tick()))
        self.file = self.make("file", "text/plain")

    def tick(self) -> int:
        """Let a millisecond pass: Google's resolution."""
        self.now_ns += 1_000_000
        return self.now_ns

    def record(self, *changes: Any) -> None:  # noqa: ANN401
        """Note changes, as the simulator's own front does."""
        for change in changes:
            self.google.record(change if isinstance(change, list) else filter(None, [change]))

    def make(self, name: str, kind: str) -> str:
        """Create a file in Ann's Drive, or in the folder once there is one."""
        parent = getattr(self, "folder", self.ann.root.id)
        change = self.state.create(self.ann, name, parent, self.tick(), mime_type=kind)
        self.record(change)
        return change.file_id

    def do(self, op: str) -> None:
        """Let Ann do something; what Google refuses changes nothing."""
        now, name, state = self.tick(), f"n{next(self.names)}", self.state
        match op:
            case "create":
                self.file = self.make(name, "text/plain")
            case "edit":
                self.record(state.edit(self.ann, self.file, now, data=name.encode()))
            case "rename":
                self.record(state.edit(self.ann, self.file, now, name=name))
            case "move":
                self.folder = self.make(name, FOLDER)
                self.record(state.edit(self.ann, self.file, now, parent_id=self.folder))
            case "share":
                reader = state.permission("anyone", "reader", None, None)
                self.record(state.share(self.ann, self.file, reader, now))
            case "comment":
                self.record(state.add_comment(self.ann, self.file, name, now)[1])
            case _:
                self.record(state.trash(self.ann, self.file, now, trashed=op == "trash"))

    def told_to(self, email: str) -> list[dict[str, Any]]:
        """Return all activities that somebody may see, in order."""
        user = self.state.user(email)
        records = [
            r for r in self.google.activities.records if self.google.activities.sees(user, r)
        ]
        return [resource(self.google.activities, self.state, [record], user) for record in records]


@given(OPS, st.randoms(use_true_random=False))
def test_overlapping_windows_and_principals_tell_each_action_once(
    ops: list[str], rng: random.Random
) -> None:
    """However often and by whomever an activity is read, its facts are those of the simulator."""
    world = World()
    for op in ops:
        world.do(op)
    book = world.google.activities.records
    truth = sum(len(record.details) for record in book)
    raws = [(email, each) for email in PEOPLE for each in world.told_to(email)]
    raws += rng.choices(raws, k=len(raws))
    rng.shuffle(raws)
    names: dict[object, str] = {}
    for email, each in raws:
        for told in decided(each, item_of(each), email):
            names.setdefault((told.identity_at, told.parts), type_of(told.data))
    assert truth == len(names)
    assert "activity.other" not in names.values()


def item_of(shown: dict[str, Any]) -> str:
    """Return the file of an activity of the simulator."""
    target = shown["targets"][0]
    item = target.get("driveItem") or target["fileComment"]["parent"]
    return str(item["name"].removeprefix("items/"))


def test_google_writes_time_with_more_digits_than_we_keep() -> None:
    """Nanoseconds are rounded alike everywhere: the same text is the same instant."""
    (told,) = decided(activity({"edit": {}}, timestamp="2026-01-01T00:00:00.123456789Z"))
    assert told.identity_at is not None
    assert dt.timedelta(0) == told.identity_at.utcoffset()
