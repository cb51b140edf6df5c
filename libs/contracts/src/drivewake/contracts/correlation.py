"""Which activity goes with which change of state: correlated, never merged.

Google shares no id between its change log and Drive Activity, and an entry of the change log
is the sum of all that happened since the last look. So one change of state may go with
several activities, and one activity with several changes. Either may be told first, and
events never change: the relation is not stored, but follows from two events alone, whoever
reads them, in whatever order.

The rule, `target-action-time/1`: the same tenant and subject (of comments also the same
comment, where both say which), an action that makes such a change (`MAKES`), and a time of
the activity at most `BEFORE` before and `AFTER` behind the change's. The change's time is
Google's, where it gives one, else when it was observed: then it may be late by as long as
nobody looked, and what is older than `BEFORE` is missed.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from drivewake.contracts.events import Event

RULE: Final = "target-action-time/1"
BEFORE: Final = dt.timedelta(minutes=10)
"""An entry of the change log bears the time of the last of the changes that it stands for."""
AFTER: Final = dt.timedelta(seconds=30)
"""The two APIs do not stamp the same act alike."""

_REMARKS: Final = frozenset(
    {
        "comment.added",
        "comment.edited",
        "comment.resolved",
        "comment.reopened",
        "comment.deleted",
    }
)
MAKES: Final[Mapping[str, frozenset[str]]] = {
    "activity.created": frozenset({"file.discovered", "shared_drive.joined"}),
    "activity.edited": frozenset({"file.content_changed", "revision.added"}),
    "activity.moved": frozenset({"file.moved"}),
    "activity.renamed": frozenset({"file.renamed", "shared_drive.changed"}),
    "activity.trashed": frozenset({"file.trashed"}),
    "activity.purged": frozenset({"file.removed", "sighting.lost", "shared_drive.left"}),
    "activity.restored": frozenset({"file.restored"}),
    "activity.permission_changed": frozenset(
        {
            "file.permissions_changed",
            "file.exposure_changed",
            "sighting.gained",
            "sighting.lost",
            "shared_drive.joined",
            "shared_drive.left",
        }
    ),
    "activity.commented": _REMARKS,
    "activity.settings_changed": frozenset({"file.metadata_changed", "shared_drive.changed"}),
}
"""Which changes an action makes. Labels, leaks and references change no state that is told."""


def correlates(activity: Event, change: Event) -> bool:
    """Say whether an activity goes with a change of state, by the rule above."""
    if change.type not in MAKES.get(activity.type, ()):
        return False
    if (activity.tenant, activity.subject) != (change.tenant, change.subject):
        return False
    if not _same_comment(activity.data, change.data):
        return False
    return -BEFORE <= _time(activity) - _time(change) <= AFTER


def correlated(events: Iterable[Event]) -> dict[str, tuple[str, ...]]:
    """Return what each event correlates with: ids by id, in order of time, both ways.

    Events of many files at once are fine; an event that correlates with nothing is left out.
    """
    activities: dict[tuple[str, str], list[Event]] = defaultdict(list)
    changes: list[Event] = []
    for event in sorted(events, key=lambda event: (_time(event), event.id)):
        if event.type in MAKES:
            activities[event.tenant, event.subject].append(event)
        else:
            changes.append(event)
    found: dict[str, list[str]] = defaultdict(list)
    for change in changes:
        near = activities.get((change.tenant, change.subject), [])
        first = bisect_left(near, _time(change) - BEFORE, key=_time)
        last = bisect_right(near, _time(change) + AFTER, key=_time)
        for activity in near[first:last]:
            if correlates(activity, change):
                found[change.id].append(activity.id)
                found[activity.id].append(change.id)
    return {id_: tuple(dict.fromkeys(others)) for id_, others in found.items()}


def _time(event: Event) -> dt.datetime:
    return event.occurredat or event.time


def _same_comment(activity: Any, change: Any) -> bool:  # noqa: ANN401 - any two data
    mine, its = getattr(activity.target, "comment", None), getattr(change, "comment", None)
    return mine is None or its is None or mine == its
