"""Activity and changes of state are correlated by a rule of two events, in any order."""

import datetime as dt
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts import activity as act
from drivewake.contracts import events as ev
from drivewake.contracts import remarks as rem
from drivewake.contracts.correlation import AFTER, BEFORE, MAKES, correlated, correlates
from drivewake.contracts.events import Event, EventData

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FILE = ev.FileRef(id="f1", name="a", mime_type="t", version=3)
TARGET = act.ActivityObject(kind="file", id="f1")
RENAMED = ev.FileRenamed(file=FILE, before="a", after="b")
RENAMING = act.ActivityRenamed(target=TARGET, at=NOON, before="a", after="b")


def event(data: EventData, seconds: float, *, number: int = 0, **more: Any) -> Event:  # noqa: ANN401
    """Return an event about f1, so many seconds after noon by Google's clock."""
    attributes: dict[str, Any] = {
        "id": f"{ev.type_of(data)} {number}",
        "source": "/test",
        "type": ev.type_of(data),
        "subject": "f1",
        "time": NOON + dt.timedelta(days=1),
        "occurredat": NOON + dt.timedelta(seconds=seconds),
        "tenant": "t",
        "connection": "c",
        "data": data,
    }
    return Event(**attributes | more)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, True),
        (BEFORE.total_seconds(), True),
        (BEFORE.total_seconds() + 0.001, False),
        (-AFTER.total_seconds(), True),
        (-AFTER.total_seconds() - 0.001, False),
    ],
)
def test_times_may_differ_within_the_bound(seconds: float, expected: bool) -> None:
    """The change may be stamped late by what was summed up, and early by the APIs' difference."""
    assert expected is correlates(event(RENAMING, 0), event(RENAMED, seconds))


def test_without_google_s_time_the_observation_counts() -> None:
    """A change that Google does not date is as old as our look at it."""
    undated = event(RENAMED, 0, occurredat=None, time=NOON + dt.timedelta(seconds=5))
    assert correlates(event(RENAMING, 0), undated)


@pytest.mark.parametrize(
    "change",
    [
        event(RENAMED, 0, subject="f2"),
        event(RENAMED, 0, tenant="u"),
        event(ev.FileTrashed(file=FILE), 0),
        event(RENAMING, 0),
    ],
    ids=["another file", "another tenant", "another kind", "no change"],
)
def test_what_differs_in_file_tenant_or_kind_does_not_go_together(change: Event) -> None:
    """Nearness in time alone is no relation."""
    assert not correlates(event(RENAMING, 0), change)


@pytest.mark.parametrize(("mine", "expected"), [("k1", True), ("k2", False), (None, True)])
def test_comments_must_be_the_same_if_both_say_which(mine: str | None, expected: bool) -> None:
    """An activity that names its comment goes with that one alone."""
    target = act.ActivityObject(kind="comment", id="f1", comment=mine)
    commented = act.ActivityCommented(target=target, at=NOON, kind="post", change="ADDED")
    added = rem.CommentAdded(file="f1", comment="k1", modified_at=NOON, created_at=NOON)
    assert expected is correlates(event(commented, 0), event(added, 0))


def test_the_rule_speaks_of_types_that_exist() -> None:
    """No type in the table is misspelt, and every action but three kinds is in it."""
    types = {ev.type_of(data) for data in _members()}
    told = {*MAKES, *(name for names in MAKES.values() for name in names)}
    assert told <= types
    silent = {name for name in types if name.startswith("activity.")} - MAKES.keys()
    assert {
        f"activity.{each}" for each in ("dlp_changed", "label_changed", "referenced", "other")
    } == (silent)


def _members() -> Any:  # noqa: ANN401 - classes; their tag is all that is asked
    return ev.EventData.__args__


def test_one_change_may_stand_for_several_activities() -> None:
    """Google's change log sums up what happened since the last look: all of it goes with it."""
    edits = [event(act.ActivityEdited(target=TARGET, at=NOON), n, number=n) for n in (0, 60)]
    content = ev.FileContentChanged(file=FILE, before=ev.Content(), after=ev.Content(md5="m"))
    change = event(content, 61)
    found = correlated([change, *edits])
    assert (edits[0].id, edits[1].id) == found[change.id]
    assert {(change.id,)} == {found[edit.id] for edit in edits}


stories = st.lists(
    st.tuples(
        st.sampled_from([RENAMED, RENAMING, ev.FileTrashed(file=FILE),
                         act.ActivityTrashed(target=TARGET, at=NOON)]),
        st.integers(-1000, 1000),
        st.sampled_from(["f1", "f2"]),
    ),
    max_size=12,
)  # fmt: skip


@given(stories, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_relation(
    story: list[tuple[EventData, int, str]], rng: random.Random
) -> None:
    """It is that of every pair by itself, in both directions, however events arrive."""
    events = [event(d, s, number=n, subject=f) for n, (d, s, f) in enumerate(story)]
    pairs = {(a.id, c.id) for a in events for c in events if correlates(a, c)}
    shuffled = list(events)
    rng.shuffle(shuffled)
    found = correlated(shuffled)
    assert correlated(events) == found
    assert pairs | {(c, a) for a, c in pairs} == {
        (id_, other) for id_, others in found.items() for other in others
    }
