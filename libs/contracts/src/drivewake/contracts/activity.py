"""Events of what people did, as Drive Activity v2 tells it: one a target and action.

Google gives activities no id and shares none with the change log: state and activity are
correlated (`correlation.py`), never merged. What depends on who asks (`isCurrentUser`) is
never kept. Texts in capitals are Google's own enumerations, open for newer ones.
"""

import datetime as dt
from typing import Any, Literal

import msgspec

from drivewake.contracts.event_base import EventStruct


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it. `person` is `people/ID` of the People API: Google gives no address here.

    Of an `impersonation` it is the impersonated user; `system` names what Drive itself did.
    """

    kind: Literal[
        "user", "deleted_user", "unknown_user", "anonymous", "impersonation", "system",
        "administrator", "other",
    ]  # fmt: skip
    person: str | None = None
    system: str | None = None


class ActivityObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file, folder, shared drive or comment as an activity names it.

    `id` is that of the Drive API: of a comment it is its file's, and `comment` the comment's;
    of what this version does not know (`other`) it is empty.
    `title` is right after the action; `drive` is the shared drive that it is in.
    """

    kind: Literal["file", "folder", "drive", "comment", "other"]
    id: str
    title: str | None = None
    mime_type: str | None = None
    drive: str | None = None
    comment: str | None = None


class ActivityPermission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who got or lost which role; for `user` see `actor`, others carry address or domain."""

    kind: Literal["user", "group", "domain", "anyone", "other"]
    role: str
    user: Actor | None = None
    email: str | None = None
    domain: str | None = None
    discoverable: bool = False


class _Activity(EventStruct, frozen=True, kw_only=True):
    """What all have: to what, by whom, when (`until` set: it happened over a range)."""

    target: ActivityObject
    actors: tuple[Actor, ...] = ()
    at: dt.datetime
    until: dt.datetime | None = None


class ActivityCreated(_Activity, frozen=True, kw_only=True, tag="activity.created"):
    """It was made from nothing, uploaded, or copied from `original`."""

    how: Literal["new", "upload", "copy", "other"]
    original: ActivityObject | None = None


class ActivityEdited(_Activity, frozen=True, kw_only=True, tag="activity.edited"):
    """Its content was edited."""


class ActivityMoved(_Activity, frozen=True, kw_only=True, tag="activity.moved"):
    """It was moved; parents that the viewer may not know are left out."""

    added: tuple[ActivityObject, ...] = ()
    removed: tuple[ActivityObject, ...] = ()


class ActivityRenamed(_Activity, frozen=True, kw_only=True, tag="activity.renamed"):
    """It got another title."""

    before: str
    after: str


class ActivityTrashed(_Activity, frozen=True, kw_only=True, tag="activity.trashed"):
    """It was put into the trash."""


class ActivityPurged(_Activity, frozen=True, kw_only=True, tag="activity.purged"):
    """It was deleted for good."""


class ActivityRestored(_Activity, frozen=True, kw_only=True, tag="activity.restored"):
    """It was taken out of the trash."""


class ActivityPermissionChanged(
    _Activity, frozen=True, kw_only=True, tag="activity.permission_changed"
):
    """Its sharing was changed."""

    added: tuple[ActivityPermission, ...] = ()
    removed: tuple[ActivityPermission, ...] = ()


class ActivityCommented(_Activity, frozen=True, kw_only=True, tag="activity.commented"):
    """Something happened in its comments; `change` is Google's subtype, such as REPLY_ADDED."""

    kind: Literal["post", "assignment", "suggestion", "other"]
    change: str
    mentioned: tuple[Actor, ...] = ()
    assigned: Actor | None = None


class ActivityDlpChanged(_Activity, frozen=True, kw_only=True, tag="activity.dlp_changed"):
    """Data-leak prevention flagged or cleared it: `change` FLAGGED, CLEARED."""

    change: str


class ActivityReferenced(_Activity, frozen=True, kw_only=True, tag="activity.referenced"):
    """It was referred to outside of Drive: `how` LINK, DISCUSS."""

    how: str


class RestrictionChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a feature is restricted to now, such as DIRECT_SHARING, FULLY_RESTRICTED."""

    feature: str
    restriction: str


class ActivitySettingsChanged(
    _Activity, frozen=True, kw_only=True, tag="activity.settings_changed"
):
    """Restrictions of it were changed."""

    changes: tuple[RestrictionChange, ...] = ()


class LabelChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A label was added, removed, or fields of it got other values (as Google gives them)."""

    label: str
    types: tuple[str, ...] = ()
    title: str | None = None
    fields: tuple[dict[str, Any], ...] = ()


class ActivityLabelChanged(_Activity, frozen=True, kw_only=True, tag="activity.label_changed"):
    """Labels of it were changed."""

    changes: tuple[LabelChange, ...] = ()


class ActivityOther(_Activity, frozen=True, kw_only=True, tag="activity.other"):
    """An action that this version does not know: `detail` is Google's ActionDetail, whole."""

    detail: dict[str, Any]


ActivityData = (
    ActivityCreated | ActivityEdited | ActivityMoved | ActivityRenamed | ActivityTrashed
    | ActivityPurged | ActivityRestored | ActivityPermissionChanged | ActivityCommented
    | ActivityDlpChanged | ActivityReferenced | ActivitySettingsChanged | ActivityLabelChanged
    | ActivityOther
)  # fmt: skip
