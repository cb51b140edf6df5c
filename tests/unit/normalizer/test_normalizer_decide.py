"""What observations of one file make of its head: examples, each a rule of the design."""

from typing import Any

import msgspec
import pytest

from drivewake.contracts.events import (
    Content,
    EventData,
    FileContentChanged,
    FileDiscovered,
    FileExposureChanged,
    FileMetadataChanged,
    FileMoved,
    FilePermissionsChanged,
    FileRef,
    FileRemoved,
    FileRenamed,
    FileRestored,
    FileTrashed,
    SightingGained,
    SightingLost,
    type_of,
)
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.google import decode_file
from drivewake.normalizer.domain.head import (
    EMPTY,
    Head,
    Known,
    Sighting,
    decode_head,
    encode_head,
    evolve,
)
from drivewake.normalizer.domain.observation import (
    Absent,
    Ended,
    Gone,
    Observation,
    Seen,
    file_state,
)

OWNER = {"id": "p1", "type": "user", "role": "owner", "emailAddress": "ada@example.org"}
ANYONE = {"id": "anyoneWithLink", "type": "anyone", "role": "reader"}


def seen(
    version: int,
    at: int,
    *,
    connection: str = "c1",
    log: str = "l1",
    snapshot: str = "",
    **fields: Any,  # noqa: ANN401 - any field of Google's
) -> Seen:
    """Return an observation of file f1 as Google's JSON tells it; None leaves a field out."""
    resource = {
        "id": "f1",
        "version": str(version),
        "name": "a.txt",
        "mimeType": "text/plain",
        "parents": ["root"],
        "md5Checksum": "m1",
        "size": "1",
    } | fields
    body = msgspec.json.encode({k: v for k, v in resource.items() if v is not None})
    state = file_state(decode_file(msgspec.Raw(body)))
    return Seen(connection=connection, log=log, at=at, file=state, snapshot=snapshot)


def gone(at: int, connection: str = "c1") -> Gone:
    """Return what a change with `removed` says."""
    return Gone(connection=connection, log="l1", at=at)


def told(*observations: Observation, head: Head = EMPTY) -> tuple[list[EventData], Head]:
    """Return all events of some observations and the head after them, stored in between."""
    events: list[EventData] = []
    for observation in observations:
        made, head = step(head, observation)
        events += made
        head = decode_head(encode_head(head))
    return events, head


def types(events: list[EventData]) -> list[str]:
    """Return the types of events."""
    return [type_of(data) for data in events]


def known(head: Head) -> Known:
    """Return the facts of a head that has some."""
    assert head.known is not None
    return head.known


def test_first_look_tells_sighting_then_file() -> None:
    """A file never seen is a sighting gained and a file discovered, in this order."""
    events, head = told(seen(3, 10))
    assert ["sighting.gained", "file.discovered"] == types(events)
    assert SightingGained(file="f1", epoch=1) == events[0]
    discovered = events[1]
    assert isinstance(discovered, FileDiscovered)
    assert Content(md5="m1", size_bytes=1, mime_type="text/plain") == discovered.content
    assert head.seen


def test_same_observation_again_tells_nothing() -> None:
    """A redelivered raw makes no event and no other head."""
    _, head = told(seen(3, 10))
    assert ((), head) == step(head, seen(3, 10))


def test_new_version_without_difference_tells_nothing_and_is_remembered() -> None:
    """A version that changed only what is not canonical makes no event, but older ones end."""
    _, head = told(seen(3, 10), seen(7, 20))
    events, _ = told(seen(5, 15, name="late.txt"), head=head)
    assert [] == events


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "b.txt"}, "file.renamed"),
        ({"parents": ["p2"]}, "file.moved"),
        ({"md5Checksum": "m2"}, "file.content_changed"),
        ({"mimeType": "text/html"}, "file.content_changed"),
        ({"headRevisionId": "r2", "md5Checksum": "m2"}, "file.content_changed"),
        ({"description": "d"}, "file.metadata_changed"),
        ({"properties": {"k": "v"}}, "file.metadata_changed"),
        ({"modifiedTime": "2026-01-02T00:00:00.000Z"}, "file.metadata_changed"),
        ({"driveId": "d1"}, "file.metadata_changed"),
        ({"trashed": True}, "file.trashed"),
    ],
)
def test_each_change_has_its_event(fields: dict[str, Any], expected: str) -> None:
    """One changed aspect of a file is one event of its type."""
    _, head = told(seen(1, 10))
    events, _ = told(seen(2, 20, **fields), head=head)
    assert [expected] == types(events)


def test_several_changes_keep_a_fixed_order_and_one_version() -> None:
    """All that one observation changed is told in one order, with the file as it is after it."""
    _, head = told(seen(1, 10, permissions=[OWNER]))
    events, _ = told(
        seen(
            2,
            20,
            name="b.txt",
            parents=["p2"],
            md5Checksum="m2",
            description="d",
            trashed=True,
            permissions=[OWNER, ANYONE],
        ),
        head=head,
    )
    assert [
        "file.content_changed",
        "file.renamed",
        "file.moved",
        "file.metadata_changed",
        "file.trashed",
        "file.permissions_changed",
        "file.exposure_changed",
    ] == types(events)
    refs = {getattr(data, "file") for data in events}  # noqa: B009 - all have one
    assert 1 == len(refs)
    assert (2, "b.txt", ("p2",)) == (ref := refs.pop(), (ref.version, ref.name, ref.parents))[1]


def test_content_change_tells_modification_time_once() -> None:
    """The time of modification travels with the content, not as metadata of its own."""
    first, second = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
    _, head = told(seen(1, 10, modifiedTime=first))
    events, head = told(seen(2, 20, md5Checksum="m2", modifiedTime=second), head=head)
    assert ["file.content_changed"] == types(events)
    assert isinstance(events[0], FileContentChanged)
    assert known(head).modified_at == events[0].modified_at
    assert [] == told(seen(3, 30, md5Checksum="m2", modifiedTime=second), head=head)[0]


def test_back_to_an_earlier_state_is_told_if_the_other_was_seen() -> None:
    """A → B → A is two changes."""
    events, _ = told(seen(1, 10, name="A"), seen(2, 20, name="B"), seen(3, 30, name="A"))
    renames = [(data.before, data.after) for data in events if isinstance(data, FileRenamed)]
    assert [("A", "B"), ("B", "A")] == renames


def test_older_version_tells_no_state_but_a_sighting() -> None:
    """What another connection saw earlier only adds that it can see the file."""
    _, head = told(seen(5, 50, name="new"))
    events, head = told(seen(4, 40, name="old", connection="c2"), head=head)
    assert [SightingGained(file="f1", epoch=1)] == events
    assert "new" == known(head).file.name


def test_two_connections_make_one_state_event_and_two_sightings() -> None:
    """Two principals of one tenant that see the same change tell it once."""
    events, _ = told(
        seen(1, 10),
        seen(1, 11, connection="c2"),
        seen(2, 20, name="b"),
        seen(2, 21, name="b", connection="c2"),
    )
    assert ["sighting.gained", "file.discovered", "sighting.gained", "file.renamed"] == types(
        events
    )


def test_last_sighting_ends_the_file() -> None:
    """`removed` ends one connection's sighting; the last one's end removes the file."""
    _, head = told(seen(1, 10), seen(1, 11, connection="c2"))
    events, head = told(gone(20), head=head)
    assert [SightingLost(file="f1", epoch=1, cause="removed")] == events
    events, head = told(gone(21, "c2"), head=head)
    assert ["sighting.lost", "file.removed"] == types(events)
    removed = events[1]
    assert isinstance(removed, FileRemoved)
    assert ("last_sighting_ended", 1) == (removed.cause, removed.file.version)
    assert not head.seen


def test_removed_file_seen_again_is_restored() -> None:
    """A file that comes back begins a new sighting and is told as restored, then its changes."""
    _, head = told(seen(1, 10), gone(20))
    events, head = told(seen(4, 30, name="b"), head=head)
    assert ["sighting.gained", "file.restored", "file.renamed"] == types(events)
    assert SightingGained(file="f1", epoch=2) == events[0]
    assert not known(head).removed


def test_removed_file_seen_again_in_the_trash_is_trashed_again() -> None:
    """Restored means present and not in the trash, so a trashed file is told as trashed after."""
    _, head = told(seen(1, 10, trashed=True), gone(20))
    events, head = told(seen(1, 30, trashed=True), head=head)
    assert ["sighting.gained", "file.restored", "file.trashed"] == types(events)
    assert known(head).trashed
    events, head = told(gone(40), seen(2, 50), head=head)
    assert ["sighting.lost", "file.removed", "sighting.gained", "file.restored"] == types(events)
    assert not known(head).trashed


def test_out_of_the_trash_is_restored() -> None:
    """Leaving the trash is told as restored."""
    events, _ = told(seen(1, 10, trashed=True), seen(2, 20))
    assert isinstance(events[-1], FileRestored)


def test_removed_before_it_was_ever_seen_is_told_whole_when_it_arrives_late() -> None:
    """A creation that arrives after its deletion is not lost, and does not bring the file back."""
    events, head = told(gone(20), seen(1, 10))
    assert [
        "sighting.gained",
        "file.discovered",
        "sighting.lost",
        "file.removed",
    ] == types(events)
    assert not head.seen
    assert [] == told(gone(20), seen(1, 10), head=head)[0]


def test_what_left_the_trash_before_it_was_lost_from_sight_stays_removed() -> None:
    """A late look tells the trash, and the removal again: nobody can see the file."""
    _, head = told(seen(3, 10, trashed=True), gone(30))
    events, head = told(seen(4, 20), head=head)
    assert ["file.restored", "file.removed"] == types(events)
    assert (False, True) == (known(head).trashed, known(head).removed)


def test_late_look_does_not_revive_a_sighting() -> None:
    """What was seen before the sighting ended updates the file, which stays removed."""
    _, head = told(seen(1, 10), gone(30))
    events, head = told(seen(2, 20, name="b"), head=head)
    assert ["file.renamed"] == types(events)
    assert not head.seen
    assert known(head).removed


def test_removal_older_than_the_last_look_ends_nothing() -> None:
    """A removal that is older than the latest look is superseded."""
    _, head = told(seen(1, 10), seen(1, 30))
    assert [] == told(gone(20), head=head)[0]


@pytest.mark.parametrize("field", ["parents", "permissions"])
def test_absent_is_unknown_never_empty(field: str) -> None:
    """A viewer who may not read parents or permissions neither empties nor changes them."""
    full: dict[str, Any] = {"parents": ["p1"], "permissions": [OWNER]}
    _, head = told(seen(1, 10, **full))
    events, after = told(seen(2, 20, connection="c2", **(full | {field: None})), head=head)
    assert ["sighting.gained"] == types(events)
    assert (known(head).file.parents, known(head).acl) == (
        known(after).file.parents,
        known(after).acl,
    )


def test_parents_learned_are_not_a_move() -> None:
    """Parents that nobody could read so far are learned as metadata without a before."""
    events, head = told(seen(1, 10, parents=None), seen(1, 20, connection="c2", parents=["p1"]))
    assert [
        "sighting.gained",
        "file.discovered",
        "sighting.gained",
        "file.metadata_changed",
    ] == types(events)
    learned = events[-1]
    assert isinstance(learned, FileMetadataChanged)
    assert ({}, {"parents": ["p1"]}) == (learned.before, learned.after)
    events, _ = told(seen(2, 30, parents=["p2"]), head=head)
    assert [("p1",), ("p2",)] == [
        value
        for data in events
        if isinstance(data, FileMoved)
        for value in (data.before, data.after)
    ]


def test_parents_of_an_older_version_are_learned_late() -> None:
    """What only an older look tells is better than nothing, and carries the newest version."""
    _, head = told(seen(5, 50, parents=None))
    events, head = told(seen(4, 40, connection="c2", name="old", parents=["p1"]), head=head)
    assert ["sighting.gained", "file.metadata_changed"] == types(events)
    assert (5, "a.txt", ("p1",)) == (
        known(head).file.version,
        known(head).file.name,
        known(head).file.parents,
    )


def test_content_hidden_from_a_viewer_is_kept() -> None:
    """A viewer who gets no hashes does not change the content; one who gets more teaches them."""
    _, head = told(seen(1, 10))
    events, head = told(seen(2, 20, md5Checksum=None, size=None), head=head)
    assert [] == events
    events, head = told(seen(2, 30, sha256Checksum="s1"), head=head)
    assert ["file.metadata_changed"] == types(events)
    assert (
        Content(md5="m1", sha256="s1", size_bytes=1, mime_type="text/plain") == known(head).content
    )


def test_same_person_shown_differently_is_no_change() -> None:
    """People are compared by their permission id: who may see an address depends on the viewer."""
    ada = {"permissionId": "9", "displayName": "Ada", "emailAddress": "ada@example.org"}
    _, head = told(seen(1, 10, lastModifyingUser=ada, owners=[ada]))
    hidden = {"permissionId": "9", "displayName": "A."}
    assert [] == told(seen(2, 20, lastModifyingUser=hidden, owners=[hidden]), head=head)[0]
    other = {"permissionId": "8", "displayName": "Ada"}
    events, _ = told(seen(3, 30, lastModifyingUser=other, owners=[hidden]), head=head)
    assert ["file.metadata_changed"] == types(events)


def test_permissions_tell_who_came_went_and_changed() -> None:
    """An ACL's difference is told by entry, and the widest audience when it changes."""
    reader = {"id": "p2", "type": "user", "role": "reader", "emailAddress": "bob@example.org"}
    _, head = told(seen(1, 10, permissions=[OWNER, reader]))
    events, head = told(seen(2, 20, permissions=[OWNER | {"role": "writer"}, ANYONE]), head=head)
    permissions, exposure = events
    assert isinstance(permissions, FilePermissionsChanged)
    assert isinstance(exposure, FileExposureChanged)
    assert ["anyoneWithLink"] == [entry.id for entry in permissions.added]
    assert ["p2"] == [entry.id for entry in permissions.removed]
    assert [("p1", "writer")] == [(entry.id, entry.role) for entry in permissions.changed]
    assert ("named", "link") == (exposure.before, exposure.after)
    assert 2 == known(head).acl_epoch


def test_permissions_read_later_at_the_same_version_count() -> None:
    """An ACL can change without a new version of the file: the later look is believed."""
    _, head = told(seen(1, 10, permissions=[OWNER]))
    events, head = told(seen(1, 20, permissions=[OWNER, ANYONE]), head=head)
    assert ["file.permissions_changed", "file.exposure_changed"] == types(events)
    assert [] == told(seen(1, 15, permissions=[OWNER]), head=head)[0]


def test_snapshot_without_the_file_ends_what_it_saw_before() -> None:
    """Absence in a complete listing ends the sighting of that log, and with it the file."""
    _, head = told(seen(1, 10))
    events, head = told(Absent(connection="c1", log="l1", started=20, snapshot="s1"), head=head)
    assert ["sighting.lost", "file.removed"] == types(events)
    assert SightingLost(file="f1", epoch=1, cause="absent_in_snapshot") == events[0]
    assert [] == told(Absent(connection="c1", log="l1", started=20, snapshot="s1"), head=head)[0]
    assert [] == told(seen(1, 15), head=head)[0]


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"at": 25}, "a change observed after the snapshot began"),
        ({"at": 25, "snapshot": "s1"}, "listed"),
        ({"at": 15, "snapshot": "s1"}, "listed by a machine whose clock is behind"),
    ],
)
def test_snapshot_spares_who_was_seen_since(look: dict[str, Any], why: str) -> None:
    """What the snapshot listed, or a change showed after it began, stays."""
    _, head = told(seen(1, 10), seen(1, **look))
    events, _ = told(Absent(connection="c1", log="l1", started=20, snapshot="s1"), head=head)
    assert [] == events, why


def test_snapshot_of_one_log_leaves_what_another_shows() -> None:
    """A sighting lasts as long as any log of its connection shows the file."""
    _, head = told(seen(1, 10), seen(1, 11, log="l2"))
    events, head = told(Absent(connection="c1", log="l1", started=20, snapshot="s1"), head=head)
    assert [] == events
    events, head = told(Absent(connection="c1", log="l2", started=30, snapshot="s2"), head=head)
    assert ["sighting.lost", "file.removed"] == types(events)


def test_snapshot_leaves_other_connections_alone() -> None:
    """A snapshot says nothing of what others see."""
    _, head = told(seen(1, 10), seen(1, 11, connection="c2"))
    events, head = told(Absent(connection="c1", log="l1", started=20, snapshot="s1"), head=head)
    assert ["sighting.lost"] == types(events)
    assert head.seen


def test_ended_connection_sees_nothing() -> None:
    """A revoked connection's sightings end with a cause of their own."""
    _, head = told(seen(1, 10))
    events, _ = told(Ended(connection="c1", at=20), head=head)
    assert [SightingLost(file="f1", epoch=1, cause="connection_ended")] == events[:1]
    assert isinstance(events[1], FileRemoved)


def test_ended_connection_sees_nothing_whatever_its_clock_says() -> None:
    """A revocation stamped before the last sighting, by a clock behind, ends it all the same."""
    _, head = told(seen(1, 10))
    events, head = told(Ended(connection="c1", at=5), head=head)
    assert [SightingLost(file="f1", epoch=1, cause="connection_ended")] == events[:1]
    assert not head.sightings["c1"].lasts
    assert ([], head) == told(Ended(connection="c1", at=5), head=head)


def test_trashed_at_discovery_is_part_of_it() -> None:
    """A file first seen in the trash is discovered there; no second event says so."""
    events, _ = told(seen(1, 10, trashed=True))
    assert not any(isinstance(data, FileTrashed) for data in events)
    assert isinstance(events[1], FileDiscovered)
    assert events[1].trashed


def test_a_snapshot_of_who_never_saw_the_file_says_nothing() -> None:
    """Absence ends a sighting; where there was none, nothing changes."""
    _, head = step(EMPTY, seen(1, 1))
    absent = Absent(connection="c9", log="l9", started=5, snapshot="s")
    assert ((), head) == step(head, absent)


def test_a_change_of_a_file_that_is_not_known_is_not_believed() -> None:
    """Only a discovery makes a file known: events without it rebuild nothing."""
    file = FileRef(id="f1", name="b", mime_type="t", version=2)
    assert EMPTY == evolve(EMPTY, "c1", FileRenamed(file=file, before="a", after="b"))


def test_a_head_that_contradicts_itself_is_refused() -> None:
    """A sighting of a file that was never discovered can only be a corrupt head."""
    broken = Head(sightings={"c1": Sighting(1, lasts=True)})
    with pytest.raises(ValueError, match="never discovered"):
        step(broken, Gone(connection="c1", log="l", at=1))
