"""ACLs that were asked for by themselves count like those that came with the file."""

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.events import EventData, FilePermissionsChanged, Permission, type_of
from drivewake.normalizer.domain.audience import Acl, acl_of
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.google import decode_file, decode_permissions
from drivewake.normalizer.domain.head import EMPTY, Head, decode_head, encode_head
from drivewake.normalizer.domain.observation import (
    Gone,
    Left,
    Observation,
    Seen,
    Shared,
    file_state,
)

ENTRIES: list[dict[str, Any]] = [
    {"id": "p1", "type": "user", "role": "organizer", "permissionDetails": [
        {"inherited": True, "inheritedFrom": "d1", "role": "organizer"}]},
    {"id": "p2", "type": "user", "role": "writer", "permissionDetails": [
        {"inherited": True, "inheritedFrom": "d1"}, {"inherited": False}]},
    {"id": "p3", "type": "anyone", "role": "reader", "aFieldOfTomorrow": {"x": 1}},
]  # fmt: skip


def shared(at: int, version: int, entries: list[dict[str, Any]], connection: str = "c1") -> Shared:
    """Return an ACL as a connection was given it; its JSON went through the real decoder."""
    body = msgspec.Raw(msgspec.json.encode({"permissions": entries}))
    acl = acl_of(decode_permissions(body))
    return Shared(connection=connection, log="l", at=at, version=version, acl=acl)


def seen(at: int, version: int, entries: list[dict[str, Any]] | None, connection: str) -> Seen:
    """Return a file as a connection saw it, with or without its ACL."""
    file = {"id": "f1", "version": str(version), "name": "n", "mimeType": "t", "driveId": "d1"}
    told = {} if entries is None else {"permissions": entries}
    state = file_state(decode_file(msgspec.Raw(msgspec.json.encode(file | told))))
    return Seen(connection=connection, log=f"log-{connection}", at=at, file=state)


@st.composite
def worlds(draw: st.DrawFn) -> list[Observation]:
    """A file whose ACL changes; who looks may be told it, or asks for it, or neither."""
    world: list[Observation] = []
    at = 0
    for version in range(1, draw(st.integers(2, 7))):
        entries = draw(st.lists(st.sampled_from(ENTRIES), unique_by=lambda e: e["id"], min_size=1))
        for look in draw(
            st.lists(st.sampled_from(["told", "hidden", "asked", "gone"]), max_size=4)
        ):
            at += 1
            connection = draw(st.sampled_from(["c1", "c2"]))
            match look:
                case "told" | "hidden":
                    acl = entries if look == "told" else None
                    world.append(seen(at, version, acl, connection))
                case "asked":
                    world.append(shared(at, version, entries, connection))
                case _:
                    world.append(Gone(connection=connection, log=f"log-{connection}", at=at))
    return world


def run(world: list[Observation], head: Head = EMPTY) -> tuple[list[EventData], Head]:
    """Return all events, and the head, stored between every two."""
    told: list[EventData] = []
    for observation in world:
        events, head = step(head, observation)
        told += events
        head = decode_head(encode_head(head))
    return told, head


@given(worlds(), st.data())
def test_prefix_replayed_adds_nothing(world: list[Observation], data: st.DataObject) -> None:
    """Any prefix delivered again, before or after the rest, tells nothing new."""
    cut = data.draw(st.integers(0, len(world)))
    told, head = run(world)
    assert (told, head) == run(world[:cut] + world)
    assert ([], head) == run(world[:cut], head)


@given(worlds(), st.randoms(use_true_random=False))
def test_any_order_ends_at_the_freshest_acl(world: list[Observation], rng: random.Random) -> None:
    """However it arrives, the ACL is that of the highest version, and within it of the latest."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    _, head = run(shuffled)
    tellers = [each for each in world if _acl(each) is not None]
    looks = [each for each in world if isinstance(each, Seen)]
    if looks and tellers:
        freshest = max(tellers, key=_freshness)
        assert head.known is not None
        assert _acl(freshest) == head.known.acl
        assert head.early_acl is None
    elif tellers:
        assert head.known is None
        assert _acl(max(tellers, key=_freshness)) == head.early_acl


def _acl(each: Observation) -> Acl | None:
    if isinstance(each, Shared):
        return each.acl
    return each.file.acl if isinstance(each, Seen) else None


def _freshness(each: Observation) -> tuple[int, int]:
    assert isinstance(each, Shared | Seen)
    return each.version if isinstance(each, Shared) else each.file.version, each.at


@given(worlds())
def test_asking_tells_what_being_told_tells(world: list[Observation]) -> None:
    """If every ACL that came with a known file is asked for instead, the same is told."""
    apart: list[Observation] = []
    for each in world:
        if isinstance(each, Seen) and each.file.acl is not None:
            bare = msgspec.structs.replace(each.file, acl=None)
            apart.append(msgspec.structs.replace(each, file=bare))
            apart.append(
                Shared(
                    connection=each.connection,
                    log=each.log,
                    at=each.at,
                    version=each.file.version,
                    acl=each.file.acl,
                )
            )
        else:
            apart.append(each)
    known = seen(0, 0, None, "c1")
    told, head = run([known, *world])
    again, other = run([known, *apart])
    assert told == again
    assert head == other


def test_inheritance_is_told_as_google_tells_it() -> None:
    """Whether and from where an entry is inherited stands in the event; a direct one is not."""
    told, _ = run([seen(1, 1, None, "c1"), shared(2, 1, ENTRIES)])
    changed = told[-2]
    assert isinstance(changed, FilePermissionsChanged)
    expected = (
        Permission(id="p1", kind="user", role="organizer", inherited=True, inherited_from=("d1",)),
        Permission(id="p2", kind="user", role="writer", inherited_from=("d1",)),
        Permission(id="p3", kind="anyone", role="reader"),
    )
    assert expected == changed.added
    assert "file.exposure_changed" == type_of(told[-1])


def test_inherited_from_elsewhere_is_a_change() -> None:
    """The same role from another folder is another ACL."""
    moved = [ENTRIES[0] | {"permissionDetails": [{"inherited": True, "inheritedFrom": "d2"}]}]
    told, head = run([seen(1, 1, None, "c1"), shared(2, 1, ENTRIES[:1]), shared(3, 2, moved)])
    assert ["file.permissions_changed", "file.permissions_changed"] == [
        name for data in told if (name := type_of(data)).startswith("file.p")
    ]
    assert head.known is not None
    assert 2 == head.known.acl_epoch


def test_without_a_version_an_acl_gives_way_to_any_with_one() -> None:
    """What says no version changes nothing that is known at one."""
    told, _ = run([seen(1, 3, ENTRIES[:1], "c1"), shared(2, 0, ENTRIES[1:])])
    assert 1 == [type_of(data) for data in told].count("file.permissions_changed")


def test_leaving_a_drive_ends_the_sightings_of_its_files_alone() -> None:
    """Who left sees nothing of that drive; what was seen since, and other drives, stay."""
    known = [seen(5, 1, None, "c1"), seen(5, 1, None, "c2")]

    def after(left: Left) -> list[str]:
        return [type_of(data) for data in run([*known, left])[0][3:]]

    assert ["sighting.lost"] == after(Left(connection="c1", drive="d1", at=6))
    assert [] == after(Left(connection="c1", drive="d2", at=6))
    assert [] == after(Left(connection="c1", drive="d1", at=4))
    assert [] == after(Left(connection="c3", drive="d1", at=6))
    told, _ = run([*known, *(Left(connection=c, drive="d1", at=6) for c in ("c1", "c2"))])
    assert ["sighting.lost", "sighting.lost", "file.removed"] == [type_of(d) for d in told[3:]]
