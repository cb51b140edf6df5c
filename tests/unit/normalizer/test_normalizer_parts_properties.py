"""What holds of comments, revisions and shared drives, in whatever order and however often."""

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.events import type_of
from drivewake.normalizer.domain import comments
from drivewake.normalizer.domain.google_parts import decode_comment, decode_drive, decode_revision
from drivewake.normalizer.domain.parts import (
    CommentPart,
    DrivePart,
    Part,
    RevisionPart,
    head_of,
    step,
)
from drivewake.normalizer.domain.shared_drives import (
    DriveLost,
    DriveObservation,
    DriveSeen,
    DriveUnlisted,
    Membership,
    decode_drive_head,
)
from drivewake.normalizer.domain.told import Told

Look = tuple[str, Part]
"""Connection, and what it saw."""
CONNECTIONS = ("c1", "c2")
RELATIVE: dict[str, Any] = {"kind": "drive#x", "aFieldOfTomorrow": [1]}


def body(value: object) -> msgspec.Raw:
    """Return JSON as Google sent it."""
    return msgspec.Raw(msgspec.json.encode(value))


def run(
    looks: list[Look], states: dict[object, bytes] | None = None
) -> tuple[list[Told], dict[object, bytes]]:
    """Return all that is told, and the heads' states."""
    told: list[Told] = []
    known = dict(states or {})
    for connection, part in looks:
        key = head_of(part)
        done = step(part, "t1", connection, known.get(key))
        told += done.told
        known[key] = done.head
    return told, known


def minute(number: int) -> str:
    """Return an instant as Google writes it."""
    return f"2026-01-01T{number // 60:02}:{number % 60:02}:00.000Z"


@st.composite
def threads(draw: st.DrawFn) -> list[Look]:
    """A comment's life, looked at in between: replies, edits, deletions, in rising time."""
    remarks: list[dict[str, Any]] = [_remark("k1", 0, "first")]
    looks: list[Look] = []
    for now in range(1, draw(st.integers(1, 10))):
        target = draw(st.sampled_from(remarks))
        match draw(st.sampled_from(["reply", "resolve", "reopen", "edit", "delete", "nothing"])):
            case "edit" if not target.get("deleted"):
                target |= {"content": draw(st.sampled_from("ABC")), "modifiedTime": minute(now)}
            case "delete" if not target.get("deleted"):
                target |= {"deleted": True, "content": "", "modifiedTime": minute(now)}
            case "reply" | "resolve" | "reopen" as action:
                remarks.append(_remark(f"r{now}", now, "said"))
                if action != "reply":
                    remarks[-1]["action"] = action
            case _:
                pass
        newest = max(remark["modifiedTime"] for remark in remarks)
        me = {"author": {"displayName": "Ann", "me": draw(st.booleans())}}
        comment = remarks[0] | me | RELATIVE
        comment |= {"modifiedTime": newest, "replies": [dict(each) for each in remarks[1:]]}
        if draw(st.booleans()):
            seen = CommentPart("f1", decode_comment(body(comment)), at=now)
            looks.append((draw(st.sampled_from(CONNECTIONS)), seen))
    return looks


def _remark(id_: str, now: int, content: str) -> dict[str, Any]:
    return {
        "id": id_,
        "createdTime": minute(now),
        "modifiedTime": minute(now),
        "content": content,
    }


@st.composite
def memberships(draw: st.DrawFn) -> list[Look]:
    """A shared drive renamed and restricted, and two connections that come and go."""
    looks: list[Look] = []
    for at in range(1, draw(st.integers(1, 10))):
        lost = draw(st.integers(0, 2)) == 0
        name = draw(st.sampled_from(["A", "B"]))
        drive = RELATIVE | {"id": "d1", "name": name, "hidden": draw(st.booleans())}
        drive["restrictions"] = {"newOfTomorrow": draw(st.booleans())}
        seen = DriveSeen(at=at, drive=decode_drive(body(drive)))
        observation = DriveLost(at=at, cause="removed") if lost else seen
        looks.append((draw(st.sampled_from(CONNECTIONS)), DrivePart("d1", observation)))
    return looks


@st.composite
def revisions(draw: st.DrawFn) -> list[Look]:
    """Revisions, listed again and again."""
    names = draw(st.lists(st.sampled_from(["r1", "r2", "r3"]), max_size=6))
    return [
        (
            draw(st.sampled_from(CONNECTIONS)),
            RevisionPart("f1", decode_revision(body({"id": name, "modifiedTime": minute(n)}))),
        )
        for n, name in enumerate(names)
    ]


worlds = st.one_of(threads(), memberships(), revisions())


@given(worlds, st.data())
def test_prefix_replayed_adds_nothing(world: list[Look], data: st.DataObject) -> None:
    """Any prefix delivered again, before or after the rest, tells nothing new."""
    cut = data.draw(st.integers(0, len(world)))
    told, states = run(world)
    assert (told, states) == run(world[:cut] + world)
    assert ([], states) == run(world[:cut], states)


@given(worlds, st.randoms(use_true_random=False))
def test_names_differ_in_any_order(world: list[Look], rng: random.Random) -> None:
    """No two facts share a name, in any order of arrival, but for one that is the same fact."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    names = [each.parts for each in run(shuffled)[0]]
    assert len(names) == len(set(names))


@given(worlds, st.randoms(use_true_random=False))
def test_any_order_ends_the_same(world: list[Look], rng: random.Random) -> None:
    """Out of order, a drive's fields and members, and a comment's texts, end the same."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    assert summary(world) == summary(shuffled)


def summary(world: list[Look]) -> object:
    """Return what is known at the end, without how it came to be known."""
    found: list[object] = []
    for key, state in sorted(run(world)[1].items(), key=str):
        match key:
            case ("shared_drive", _):
                head = decode_drive_head(state)
                lasting = {name for name, member in head.members.items() if member.lasts}
                found.append((head.fields, head.at, lasting))
            case ("comment", _):
                thread = comments.decode_thread(state)
                found.append({id_: (each.content, each.deleted) for id_, each in thread.items()})
            case _:
                found.append((key, state))
    return found


@given(threads())
def test_a_comment_observed_in_order_tells_what_was_seen(world: list[Look]) -> None:
    """Each remark is told first once; its last text and its end are those of the last look."""
    told, states = run(world)
    firsts = [each.data for each in told if type_of(each.data) in _FIRST]
    assert len({(data.comment, data.reply) for data in firsts}) == len(firsts)  # type: ignore[union-attr]
    texts: dict[str, object] = {}
    for each in told:
        data: Any = each.data
        texts[data.reply or ""] = data.content if type_of(data) != "comment.deleted" else None
    for state in states.values():
        assert texts == {k: v.content for k, v in comments.decode_thread(state).items()}


_FIRST = {"comment.added", "comment.resolved", "comment.reopened"}


@given(memberships())
def test_a_membership_follows_the_latest_word(world: list[Look]) -> None:
    """Joined and left alternate, and count up; the last word of a connection holds."""
    told, states = run(world)
    for name in CONNECTIONS:
        mine = [part for connection, part in world if connection == name]
        last = mine[-1] if mine else None
        member = Membership(0, lasts=False, at=0)
        for state in states.values():
            member = decode_drive_head(state).members.get(name, member)
        seen = isinstance(last, DrivePart) and isinstance(last.observation, DriveSeen)
        assert seen is member.lasts
        turns = [each.parts[4:] for each in told if each.parts[1:3] == ("membership", name)]
        whole = [(epoch, verb) for epoch in range(1, 11) for verb in ("joined", "left")]
        assert whole[: len(turns)] == turns


def test_a_text_that_was_observed_twice_with_another_between_is_kept() -> None:
    """A→B→A is told as two edits."""
    looks: list[Look] = []
    for now, text in enumerate("ABA"):
        comment = _remark("k1", 0, text) | {"modifiedTime": minute(now)}
        looks.append(("c1", CommentPart("f1", decode_comment(body(comment)), at=now)))
    types = [type_of(each.data) for each in run(looks)[0]]
    assert ["comment.added", "comment.edited", "comment.edited"] == types


def test_a_drive_that_was_renamed_there_and_back_is_told_twice() -> None:
    """A→B→A of a drive's name is two changes with different names."""
    looks: list[Look] = [
        ("c1", DrivePart("d1", DriveSeen(at=at, drive=decode_drive(body({"id": "d1", "name": n})))))
        for at, n in enumerate("ABA", 1)
    ]
    told, _ = run(looks)
    assert ["shared_drive.joined", "shared_drive.changed", "shared_drive.changed"] == [
        type_of(each.data) for each in told
    ]
    assert 3 == len({each.parts for each in told})


def test_a_membership_first_heard_of_after_its_end_is_told_whole() -> None:
    """What was seen before the end, but arrives after it, tells that there was a membership."""
    drive = decode_drive(body({"id": "d1", "name": "A"}))
    looks: list[Look] = [
        ("c1", DrivePart("d1", DriveLost(at=5, cause="removed"))),
        ("c1", DrivePart("d1", DriveSeen(at=4, drive=drive))),
        ("c1", DrivePart("d1", DriveSeen(at=3, drive=drive))),
    ]
    told, _ = run(looks)
    assert ["shared_drive.joined", "shared_drive.left"] == [type_of(each.data) for each in told]


def test_a_snapshot_without_the_drive_settles_what_was_shown_before_it_began() -> None:
    """Not who was never a member, is in the snapshot, or was seen since."""
    drive = decode_drive(body({"id": "d1", "name": "A"}))

    def told(*looks: DriveObservation) -> list[str]:
        done, _ = run([("c1", DrivePart("d1", look)) for look in looks])
        return [type_of(each.data) for each in done]

    absent = DriveUnlisted(started=5, snapshot="s")
    joined, left = "shared_drive.joined", "shared_drive.left"
    assert [] == told(absent)
    assert [joined, left] == told(DriveSeen(at=4, drive=drive), absent, absent)
    assert [joined] == told(DriveSeen(at=5, drive=drive), absent)
    assert [joined] == told(DriveSeen(at=4, drive=drive, snapshot="s"), absent)
    listed, again = DriveSeen(at=3, drive=drive, snapshot="s"), DriveSeen(at=4, drive=drive)
    assert [joined] == told(listed, again, absent)


def test_the_end_of_a_connection_counts_whatever_its_clock_says() -> None:
    """A membership ends with its connection, even if it was seen later by another clock."""
    drive = decode_drive(body({"id": "d1", "name": "A"}))
    looks: list[Look] = [
        ("c1", DrivePart("d1", DriveSeen(at=9, drive=drive))),
        ("c1", DrivePart("d1", DriveLost(at=5, cause="removed"))),
        ("c1", DrivePart("d1", DriveLost(at=5, cause="connection_ended"))),
        ("c1", DrivePart("d1", DriveLost(at=10, cause="removed"))),
    ]
    told, _ = run(looks)
    assert ["shared_drive.joined", "shared_drive.left"] == [type_of(each.data) for each in told]


def test_events_are_about_what_they_hang_on() -> None:
    """The subject of a revision or comment is its file, that of a membership its drive."""
    comment = CommentPart("f1", decode_comment(body(_remark("k1", 0, "x"))), at=1)
    revision = RevisionPart("f2", decode_revision(body({"id": "r1"})))
    seen = DrivePart("d1", DriveSeen(at=1, drive=decode_drive(body({"id": "d1", "name": "A"}))))
    told, _ = run([("c1", part) for part in (comment, revision, seen)])
    assert ["f1", "f2", "d1"] == [each.subject for each in told]
