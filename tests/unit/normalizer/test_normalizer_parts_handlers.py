"""Raws of revisions, comments, shared drives, activity and ACLs, through the whole handler."""

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.ids import partition_of
from drivewake.contracts.raw import LogFact, Source
from drivewake.eventstore.store import ANY, Batch, HeadWrite
from drivewake.normalizer.domain.google_parts import Revision
from drivewake.normalizer.domain.parts import RevisionPart, head_of

if TYPE_CHECKING:
    from tests.unit.normalizer.conftest import Harness

T0 = "2026-01-01T00:00:00Z"
COMMENT = {"id": "k1", "createdTime": T0, "content": "hello", "author": {"displayName": "Ann"}}
DRIVE = {"id": "d1", "name": "Team", "createdTime": T0}
JOINED = {"changeType": "drive", "driveId": "d1", "drive": DRIVE, "time": T0}
LEFT = {"changeType": "drive", "driveId": "d1", "removed": True}
ACTIVITY = {
    "actions": [{"detail": {"edit": {}}}],
    "actors": [{"administrator": {}}],
    "targets": [{"driveItem": {"name": "items/f1"}}],
    "timestamp": "2020-05-05T05:05:05Z",
}
ACL = {"permissions": [{"id": "p1", "type": "anyone", "role": "reader"}]}
RAWS: list[tuple[Source, str, object, list[str]]] = [
    ("revisions", "f1", {"id": "r1", "modifiedTime": T0}, ["revision.added"]),
    ("comments", "f1", COMMENT, ["comment.added"]),
    ("drive", "d1", DRIVE, ["shared_drive.joined"]),
    ("changes", "d1", JOINED, ["shared_drive.joined"]),
    ("activity", "f1", ACTIVITY, ["activity.edited"]),
    ("file", "f1", {"id": "f1", "version": "1", "name": "n", "mimeType": "m"},
     ["sighting.gained", "file.discovered"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "item", "body", "types"), RAWS)
async def test_each_source_becomes_durable_events_once(
    harness: "Harness", source: Source, item: str, body: object, types: list[str]
) -> None:
    """Whatever was read, in one batch or again later, is told once, and settled."""
    for at in (1, 1, 2):
        await harness.raw(at, item, body, source=source)
    await harness.drain()
    await harness.raw(3, item, body, source=source)
    await harness.drain(1)
    events = await harness.events()
    assert types == [event.type for event in events]
    assert {item} == {event.subject for event in events}
    assert ([], 0) == (await harness.dead(), await harness.unsettled())


async def test_google_s_own_time_stands_in_the_event(harness: "Harness") -> None:
    """Activity is dated, and keyed, by Google: a backfill of old days is old."""
    await harness.raw(5, "f1", ACTIVITY, source="activity")
    await harness.drain()
    (event,) = await harness.events()
    then = dt.datetime(2020, 5, 5, 5, 5, 5, tzinfo=dt.UTC)
    assert then == event.occurredat
    assert int(then.timestamp() * 1000) == int(event.id.replace("-", "")[:12], 16)


async def test_the_cursor_of_activity_is_applied(harness: "Harness") -> None:
    """The store knows up to which window a log of activity has come, and so for drives' changes."""
    await harness.raw(5, "f1", ACTIVITY, source="activity", log="a")
    await harness.raw(5, "d1", JOINED, log="b")
    await harness.raw(5, "f1", COMMENT, source="comments", log="c")
    await harness.drain()
    applied = await harness.store.applied("t1", "c1")
    assert {("a", "page-5"), ("b", "page-5")} == {(each.log, each.cursor) for each in applied}


async def test_an_acl_that_was_asked_for_is_that_of_the_file(harness: "Harness") -> None:
    """Of an item of a shared drive the ACL comes by itself; two principals tell it once."""
    await harness.raw(2, "f1", ACL, source="permissions", version=1)
    await harness.change(1, {"driveId": "d1"})
    await harness.raw(3, "f1", ACL, source="permissions", version=1, connection="c2")
    await harness.drain()
    assert [
        "sighting.gained",
        "file.discovered",
        "file.permissions_changed",
        "file.exposure_changed",
    ] == await harness.types()


async def test_leaving_a_drive_ends_what_was_seen_of_it(harness: "Harness") -> None:
    """Its files are seen no more by who left, in every partition; those elsewhere stay."""
    await harness.raw(1, "d1", JOINED)
    for file, drive in (("f1", "d1"), ("f2", "d1"), ("f3", "d2")):
        await harness.change(2, {"driveId": drive}, item=file)
    await harness.change(2, {"driveId": "d1"}, connection="c2")
    await harness.drain()
    before = len(await harness.events())
    for _ in range(2):
        await harness.raw(3, "d1", LEFT)
        await harness.drain()
    told = (await harness.events())[before:]
    assert [
        ("file.removed", "f2"),
        ("shared_drive.left", "d1"),
        ("sighting.lost", "f1"),
        ("sighting.lost", "f2"),
    ] == sorted((event.type, event.subject) for event in told)


def completed(at: float, snapshot: str, drives: int | None) -> LogFact:
    """Return the fact that a snapshot, begun `at` seconds after the start, is complete."""
    started_at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=at)
    return LogFact(
        fact="snapshot_completed", started_at=started_at, snapshot=snapshot, drives=drives
    )


async def test_a_snapshot_that_lists_drives_ends_the_memberships_of_others(
    harness: "Harness",
) -> None:
    """Who is not in it, nor seen since it began, has left, and its files go with it."""
    for drive in ("d1", "d2", "d3"):
        body = DRIVE | {"id": drive}
        await harness.raw(1, drive, body, source="drive")
        await harness.change(1, {"driveId": drive}, item=f"file-{drive}", log=f"log-{drive}")
    await harness.raw(1, "d3", DRIVE | {"id": "d3"}, source="drive", connection="c2")
    await harness.raw(4, "d1", DRIVE, source="drive", snapshot="s1")
    await harness.raw(6, "d2", DRIVE | {"id": "d2"}, source="drive")
    await harness.drain()
    before = len(await harness.events())
    for _ in range(2):
        await harness.fact(7, completed(5, "s1", drives=1))
        await harness.drain()
    told = (await harness.events())[before:]
    assert [
        ("file.removed", "file-d3"),
        ("ingest.snapshot_completed", "log-c1"),
        ("shared_drive.left", "d3"),
        ("sighting.lost", "file-d3"),
    ] == sorted((event.type, event.subject) for event in told)
    assert {"absent_in_snapshot", "shared_drive_left", "last_sighting_ended"} == {
        event.data.cause for event in told if hasattr(event.data, "cause")
    }


async def test_a_snapshot_that_lists_no_drives_says_nothing_of_them(harness: "Harness") -> None:
    """Absence is evidence only in a listing that would have shown it."""
    await harness.raw(1, "d1", DRIVE, source="drive")
    await harness.fact(7, completed(5, "s1", drives=None))
    await harness.drain()
    assert ["shared_drive.joined", "ingest.snapshot_completed"] == await harness.types()


async def test_a_drive_whose_head_cannot_be_read_buries_the_fact(harness: "Harness") -> None:
    """Whether it was left cannot be told: an operator is."""
    await harness.raw(1, "d1", DRIVE, source="drive")
    await harness.drain()
    broken = HeadWrite(tenant="t1", kind="shared_drive", id="d1", expected=ANY, state=b"\xc1")
    await harness.store.append(Batch(heads=[broken]))
    await harness.fact(7, completed(5, "s1", drives=1))
    await harness.drain()
    assert ["the stored head is unreadable" in one.reason for one in await harness.dead()] == [True]


async def test_a_revoked_connection_takes_its_memberships_with_it(harness: "Harness") -> None:
    """They end with it, and so does what it still tells afterwards."""
    await harness.connection(0, "active", 1)
    await harness.raw(1, "d1", JOINED)
    await harness.drain()
    await harness.connection(2, "revoked", 2)
    await harness.drain()
    await harness.raw(3, "d1", JOINED)
    await harness.raw(4, "d2", LEFT | {"driveId": "d2"})
    await harness.raw(5, "f1", COMMENT, source="comments")
    await harness.drain()
    types = [each for each in await harness.types() if each.startswith("shared_drive")]
    assert ["shared_drive.joined", "shared_drive.left"] * 2 == types


POISON: list[tuple[Source, str, object, str]] = [
    ("revisions", "f1", {"modifiedTime": T0}, "missing required field `id`"),
    ("comments", "f1", {"id": "k1"}, "missing required field `createdTime`"),
    ("drive", "d1", {"id": "d2", "name": "x"}, "another shared drive"),
    ("comments", "no id", COMMENT, "the item is no id"),
    ("file", "f1", {"id": "f2", "version": "1", "name": "n", "mimeType": "m"}, "is another"),
    ("changes", "d1", {"changeType": "drive", "driveId": "d1"}, "carries no shared drive"),
    ("changes", "d1", {"changeType": "galaxy"}, "neither of a file nor of a shared drive"),
    ("activity", "f2", ACTIVITY, "no action on its item"),
    ("permissions", "f1", {}, "missing required field `permissions`"),
    ("permissions", "no id", ACL, "the item is no id"),
    ("activity", "f1", b'{"actions":' + b"[" * 9000 + b"]" * 9000 + b"}", "recursion"),
    ("comments", "f1", b'{"id":"\xff"}', "utf-8"),
    ("comments", "f1", COMMENT | {"content": "x" * 700_000}, "the event has"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "item", "body", "reason"), POISON)
async def test_poison_of_each_source_is_buried_and_its_neighbours_flow(
    harness: "Harness", source: Source, item: str, body: object, reason: str
) -> None:
    """The letter says why, holds the bytes, and what stands around it is told."""
    await harness.change(1, {})
    await harness.raw(2, item, body, source=source)
    await harness.change(3, {"version": "2", "name": "b"})
    await harness.drain()
    assert ["sighting.gained", "file.discovered", "file.renamed"] == await harness.types()
    (letter,) = await harness.dead()
    assert reason in letter.reason
    subject = subjects.raw(partition_of("t1", item), "t1", "c1")
    assert (subject, 0) == (letter.subject, await harness.unsettled())


async def test_an_unreadable_head_buries_its_item_alone(harness: "Harness") -> None:
    """A stored head that nobody can read is no reason to stop."""
    heads = [
        HeadWrite(tenant="t1", kind=kind, id=id_, expected=ANY, state=b"\xc1")
        for kind, id_ in (("comment", "f1 k1"), ("shared_drive", "d1"), ("file", "f1"))
    ]
    await harness.store.append(Batch(heads=heads))
    await harness.raw(1, "f1", COMMENT, source="comments")
    await harness.raw(1, "d1", JOINED)
    await harness.change(1, {})
    await harness.raw(1, "f1", {"id": "r1"}, source="revisions")
    await harness.drain()
    assert ["revision.added"] == await harness.types()
    assert 3 == len([one for one in await harness.dead() if "unreadable" in one.reason])


def test_heads_of_parts_cannot_be_mistaken() -> None:
    """No id of Google's holds what stands between the two ids in a head's."""
    assert ("revision", "f1 r1") == head_of(RevisionPart("f1", Revision(id="r1")))
