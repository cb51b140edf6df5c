"""Which events an activity is, for one of its targets.

Google gives an activity no id. An action is named by its target, when it (or its range)
began, what it is, and what of its detail no viewer sees otherwise; several that are still the
same are counted. There is no head: the key alone removes repeats, so that windows may
overlap and several principals may tell the same.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from drivewake.contracts.activity import ActivityObject
from drivewake.contracts.events import type_of
from drivewake.contracts.keys import activity_parts, digest_of
from drivewake.normalizer.domain.activity_details import actor_of, detailed, object_of
from drivewake.normalizer.domain.google import InvalidResourceError
from drivewake.normalizer.domain.google_activity import Action, DriveActivity
from drivewake.normalizer.domain.observation import microseconds
from drivewake.normalizer.domain.told import Told

_UNKNOWN = ActivityObject(kind="other", id="")
"""A target of a kind that this version does not know."""


def decide_activity(
    tenant: str, connection: str, item: str, activity: DriveActivity, ordinal: int = 0
) -> tuple[Told, ...]:
    """Return the events of an activity about the file `item`.

    If `item` is the connection: about its targets that are no files. `ordinal` counts
    activities that are the same to the byte. Raises InvalidResourceError if none of its
    actions is about the item, or one says not when or not what.
    """
    told: list[Told] = []
    same: Counter[tuple[object, ...]] = Counter()
    for action in activity.actions or (Action(detail=activity.primary_action_detail),):
        for target in _targets(action, activity, item, connection):
            data, canonical = detailed(_common(action, activity, target), action.detail)
            place = target.id if target.comment is None else f"{target.id} {target.comment}"
            name = (place, microseconds(data.at), type_of(data), digest_of(*canonical))
            parts = activity_parts(tenant, *name, ordinal, same[name])
            same[name] += 1
            told.append(Told(data, target.id or connection, parts, data.at, data.at))
    if not told:
        raise InvalidResourceError("the activity has no action on its item")
    return tuple(told)


def _common(action: Action, activity: DriveActivity, target: ActivityObject) -> dict[str, object]:
    if not action.detail:
        raise InvalidResourceError("an action says not what was done")
    at, until = _when(action, activity)
    actors = activity.actors if action.actor is None else (action.actor,)
    return {
        "target": target,
        "actors": tuple(map(actor_of, actors)),
        "at": at,
        "until": until,
    }


def _when(action: Action, activity: DriveActivity) -> tuple[dt.datetime, dt.datetime | None]:
    """Return since when, and until when if it took a while; the action's own word counts first."""
    for one in (action, activity):
        if one.timestamp is not None:
            return one.timestamp, None
        if one.time_range is not None:
            return one.time_range.start_time, one.time_range.end_time
    raise InvalidResourceError("an action says not when")


def _targets(
    action: Action, activity: DriveActivity, item: str, connection: str
) -> Iterator[ActivityObject]:
    """Yield what an action is about, as far as it belongs to the item; each once."""
    found: dict[tuple[str, str | None], ActivityObject] = {}
    for target in activity.targets if action.target is None else (action.target,):
        named = object_of(target) or _UNKNOWN
        is_file = named.kind not in {"drive", "other"}
        if named.id == item or (item == connection and not is_file):
            found.setdefault((named.id, named.comment), named)
    yield from found.values()
