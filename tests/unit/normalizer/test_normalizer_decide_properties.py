"""What holds of deciding, whatever is observed, in whatever order and however often."""

import random
from functools import reduce
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.contracts import canonical
from drivewake.contracts.events import EventData, FileRef, type_of
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.google import decode_file
from drivewake.normalizer.domain.head import EMPTY, Head, decode_head, encode_head, evolve
from drivewake.normalizer.domain.identity import parts_of
from drivewake.normalizer.domain.observation import Gone, Seen, file_state

Look = Seen | Gone
Told = list[tuple[str, EventData]]
CONNECTIONS = ("c1", "c2", "c3")
VIEWER_DEPENDENT: dict[str, Any] = {
    "appProperties": {"mine": "yes"},
    "capabilities": {"canEdit": True},
    "folderColorRgb": "#ff0000",
    "isAppAuthorized": True,
    "labelInfo": {"labels": []},
    "modifiedByMe": True,
    "modifiedByMeTime": "2026-01-01T00:00:00Z",
    "ownedByMe": True,
    "sharedWithMeTime": "2026-01-01T00:00:00Z",
    "sharingUser": {"displayName": "Bob", "me": True},
    "starred": True,
    "viewedByMe": True,
    "viewedByMeTime": "2026-01-01T00:00:00Z",
    "hasThumbnail": True,
    "thumbnailLink": "https://example.org/short-lived",
    "thumbnailVersion": "7",
    "aFieldOfTomorrow": {"deep": [1, 2]},
}

resources = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c"]),
        "mimeType": st.sampled_from(["text/plain", "text/html"]),
        "md5Checksum": st.sampled_from(["m1", "m2", "m3"]),
        "parents": st.sampled_from([["p1"], ["p2"]]),
        "trashed": st.booleans(),
        "description": st.sampled_from(["", "d"]),
        "modifiedTime": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00.5Z"]),
        "permissions": st.lists(
            st.sampled_from(
                [
                    {"id": "p1", "type": "user", "role": "owner"},
                    {"id": "p2", "type": "group", "role": "reader"},
                    {"id": "p3", "type": "domain", "role": "reader", "domain": "example.org"},
                    {"id": "p4", "type": "anyone", "role": "reader"},
                ]
            ),
            unique_by=lambda permission: permission["id"],
            max_size=3,
        ),
    }
)


def look(connection: str, at: int, version: int, resource: dict[str, Any]) -> Seen:
    """Return what a connection saw of the file: its JSON went through the real decoder."""
    body = msgspec.json.encode({"id": "f1", "version": str(version)} | resource)
    state = file_state(decode_file(msgspec.Raw(body)))
    return Seen(connection=connection, log=f"log-{connection}", at=at, file=state)


@st.composite
def worlds(draw: st.DrawFn, *, full_view: bool = False) -> list[Look]:
    """One file's life, and what up to three connections see of it, in the order of time.

    Connections look at moments of their own, may not read parents, permissions or hashes,
    and lose and regain access.
    """
    history = draw(st.lists(resources, min_size=1, max_size=5))
    hidden = {
        connection: set() if full_view else draw(st.sets(st.sampled_from(_HIDEABLE)))
        for connection in CONNECTIONS
    }
    observations: list[Look] = []
    version, at = draw(st.integers(0, 3)), 0
    for resource in history:
        version += draw(st.integers(1, 3))
        looks = draw(st.lists(st.sampled_from(CONNECTIONS), max_size=4))
        for connection in looks:
            at += 1
            if draw(st.integers(0, 3)) == 0:
                observations.append(Gone(connection=connection, log=f"log-{connection}", at=at))
            else:
                view = {k: v for k, v in resource.items() if k not in hidden[connection]}
                observations.append(look(connection, at, version, view))
    return observations


_HIDEABLE = ("parents", "permissions", "md5Checksum")


def run(observations: list[Look], head: Head = EMPTY) -> tuple[Told, Head]:
    """Return all events with their connections, and the head, stored between every two."""
    told: Told = []
    for observation in observations:
        events, head = step(head, observation)
        told += [(observation.connection, data) for data in events]
        head = decode_head(encode_head(head))
    return told, head


def facts(head: Head, *, ordered: bool = True) -> tuple[object, object]:
    """Return what follows from events alone: no freshness, no witnesses.

    Without `ordered` also without what tells the order of arrival: how often an ACL changed,
    and which version the last event happened to carry.
    """
    known = head.known
    if known is not None and not ordered:
        file = msgspec.structs.replace(known.file, version=0)
        known = msgspec.structs.replace(known, file=file, acl_epoch=0, acl=known.acl or None)
    return known, {
        connection: (sighting.epoch, sighting.lasts)
        for connection, sighting in head.sightings.items()
        if sighting.epoch
    }


@given(worlds(), st.data())
def test_prefix_replayed_adds_nothing(world: list[Look], data: st.DataObject) -> None:
    """Any prefix delivered again, before or after the rest, tells nothing new."""
    cut = data.draw(st.integers(0, len(world)))
    told, head = run(world)
    assert (told, head) == run(world[:cut] + world)
    assert ([], head) == run(world[:cut], head)


@given(worlds(), st.randoms(use_true_random=False))
def test_duplicates_tell_nothing(world: list[Look], rng: random.Random) -> None:
    """Every observation may be delivered again at any later moment."""
    noisy = list(world)
    for observation in world:
        at = rng.randint(noisy.index(observation) + 1, len(noisy))
        noisy.insert(at, observation)
    assert run(world) == run(noisy)


@given(worlds(), st.randoms(use_true_random=False))
def test_order_between_connections_does_not_matter(world: list[Look], rng: random.Random) -> None:
    """However connections are interleaved, the file ends the same, seen by the same."""
    queues = {name: [each for each in world if each.connection == name] for name in CONNECTIONS}
    other: list[Look] = []
    while any(queues.values()):
        name = rng.choice([name for name, queue in queues.items() if queue])
        other.append(queues[name].pop(0))
    _, head = run(world)
    _, again = run(other)
    assert facts(head, ordered=False) == facts(again, ordered=False)
    assert head.core == again.core


@given(st.lists(resources, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_two_who_see_all_tell_it_once(history: list[dict[str, Any]], rng: random.Random) -> None:
    """Two connections that see every version, interleaved anyhow, tell what one alone tells."""
    alone = [look("c1", 10 * i, i, resource) for i, resource in enumerate(history, 1)]
    queues = [list(alone), [look("c2", 10 * i, i, r) for i, r in enumerate(history, 1)]]
    both: list[Look] = []
    while any(queues):
        queue = rng.choice([queue for queue in queues if queue])
        both.append(queue.pop(0))
    state = [data for _, data in run(list(alone))[0] if not type_of(data).startswith("sighting")]
    told = [data for _, data in run(both)[0] if not type_of(data).startswith("sighting")]
    assert state == told


@given(worlds(), st.randoms(use_true_random=False))
def test_any_order_ends_at_the_freshest(world: list[Look], rng: random.Random) -> None:
    """Even out of order, the head ends with the freshest core, and removed means unseen."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    _, head = run(shuffled)
    looks = [each for each in world if isinstance(each, Seen)]
    if looks:
        freshest = max(looks, key=lambda each: (each.file.version, each.at)).file
        assert head.known is not None
        assert (freshest.name, freshest.trashed, freshest.metadata) == (
            head.known.file.name,
            head.known.trashed,
            head.known.metadata,
        )
        assert head.known.removed is not head.seen
    last = {each.connection: each for each in world}
    assert {name for name, each in last.items() if isinstance(each, Seen)} == {
        name for name, sighting in head.sightings.items() if sighting.lasts
    }


@given(worlds())
def test_events_alone_rebuild_the_facts(world: list[Look]) -> None:
    """Evolving the events gives every fact of the head, without the observations."""
    told, head = run(world)
    rebuilt = reduce(lambda before, one: evolve(before, *one), told, EMPTY)
    assert facts(head) == facts(rebuilt)


@given(worlds(), st.randoms(use_true_random=False))
def test_every_event_has_its_own_name_and_versions_rise(
    world: list[Look], rng: random.Random
) -> None:
    """No two events of a file share a key, in any order; their versions never fall."""
    shuffled = list(world)
    rng.shuffle(shuffled)
    names: list[object] = []
    versions: list[int] = []
    head = EMPTY
    for observation in shuffled:
        events, after = step(head, observation)
        for data in events:
            names.append(parts_of("t1", observation.connection, observation.at, head, after, data))
            file = getattr(data, "file", None)
            versions += [file.version] if isinstance(file, FileRef) else []
        head = after
    assert len(names) == len(set(names))
    assert sorted(versions) == versions


@given(worlds(full_view=True), st.sets(st.sampled_from(sorted(VIEWER_DEPENDENT))))
@settings(max_examples=50)
def test_viewer_relative_fields_never_matter(world: list[Look], fields: set[str]) -> None:
    """Fields that depend on the viewer, live for minutes or are unknown change nothing."""
    extra = {name: VIEWER_DEPENDENT[name] for name in fields}
    body = {"id": "f1", "version": "5", "name": "n", "mimeType": "text/plain"}
    plain = file_state(decode_file(msgspec.Raw(msgspec.json.encode(body))))
    relative = file_state(decode_file(msgspec.Raw(msgspec.json.encode(body | extra))))
    assert plain == relative
    one = Seen(connection="c1", log="l", at=1000, file=plain)
    other = Seen(connection="c1", log="l", at=1000, file=relative)
    _, head = run(world)
    assert step(head, one) == step(head, other)


def test_every_field_that_is_not_canonical_is_tried() -> None:
    """The property above leaves out no field whose value depends on who looks."""
    never = canonical.VIEWER_RELATIVE | canonical.SHORT_LIVED
    assert never | {"aFieldOfTomorrow"} == VIEWER_DEPENDENT.keys()
