"""driveactivity.v2 resources as far as they count, with their types.

Source: discovery document of driveactivity.v2, revision 20250816. Deprecated twins (`file`,
`folder`, `teamDrive`) are read only where their successor is missing. `isCurrentUser` depends
on who asks and is not declared: it cannot be considered.
"""

import datetime as dt
from typing import Annotated, Any

import msgspec

from drivewake.normalizer.domain.google import Resource, decode

Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
Empty = dict[str, Any]
"""A message without fields of its own: that it is there says it all."""


class KnownUser(Resource, frozen=True):
    """A user by the name of the People API."""

    person_name: str | None = None


class User(Resource, frozen=True):
    """An end user, as far as the viewer may know."""

    known_user: KnownUser | None = None
    deleted_user: Empty | None = None
    unknown_user: Empty | None = None


class Impersonation(Resource, frozen=True):
    """Somebody acting for a user."""

    impersonated_user: User | None = None


class Typed(Resource, frozen=True):
    """What has a type and nothing else: SystemEvent, Delete, Restore, DLP change, reference."""

    type: str = ""


class Actor(Resource, frozen=True):
    """Who did it: one of these."""

    user: User | None = None
    anonymous: Empty | None = None
    impersonation: Impersonation | None = None
    system: Typed | None = None
    administrator: Empty | None = None


class DriveReference(Resource, frozen=True):
    """A shared drive: `drives/ID`."""

    name: str = ""
    title: str | None = None


class Owner(Resource, frozen=True):
    """Who owns an item, as far as it is a shared drive."""

    drive: DriveReference | None = None
    team_drive: DriveReference | None = None


class DriveItem(Resource, frozen=True):
    """A file or folder: `items/ID`."""

    name: str = ""
    title: str | None = None
    mime_type: str | None = None
    owner: Owner | None = None
    drive_folder: Empty | None = None
    folder: Empty | None = None


class FileComment(Resource, frozen=True):
    """A comment on an item."""

    legacy_comment_id: str | None = None
    legacy_discussion_id: str | None = None
    parent: DriveItem | None = None


class Target(Resource, frozen=True):
    """What an action is about: one of these; of a drive or its reference also the former name."""

    drive_item: DriveItem | None = None
    drive: DriveReference | None = None
    team_drive: DriveReference | None = None
    file_comment: FileComment | None = None


class TimeRange(Resource, frozen=True):
    """From when to when."""

    start_time: Instant
    end_time: Instant | None = None


class Action(Resource, frozen=True):
    """One action. Without actor or target it is of all the activity's; the detail as it is."""

    detail: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    actor: Actor | None = None
    target: Target | None = None
    timestamp: Instant | None = None
    time_range: TimeRange | None = None


class DriveActivity(Resource, frozen=True):
    """What somebody did to something."""

    primary_action_detail: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    actors: tuple[Actor, ...] = ()
    actions: tuple[Action, ...] = ()
    targets: tuple[Target, ...] = ()
    timestamp: Instant | None = None
    time_range: TimeRange | None = None


# -- Details of actions ----------------------------------------------------------------------


class Copy(Resource, frozen=True):
    """What was copied."""

    original_object: Target | None = None


class Create(Resource, frozen=True):
    """How something came to be: one of these."""

    new: Empty | None = None
    upload: Empty | None = None
    copy: Copy | None = None


class Move(Resource, frozen=True):
    """Between which folders, as far as the viewer may know."""

    added_parents: tuple[Target, ...] = ()
    removed_parents: tuple[Target, ...] = ()


class Rename(Resource, frozen=True):
    """From which title to which."""

    old_title: str = ""
    new_title: str = ""


class Group(Resource, frozen=True):
    """A group."""

    email: str | None = None


class Domain(Resource, frozen=True):
    """A domain."""

    name: str | None = None


class Permission(Resource, frozen=True):
    """A role and who has it: one of user, group, domain, anyone."""

    role: str = ""
    allow_discovery: bool = False
    user: User | None = None
    group: Group | None = None
    domain: Domain | None = None
    anyone: Empty | None = None


class PermissionChange(Resource, frozen=True):
    """Who got or lost what."""

    added_permissions: tuple[Permission, ...] = ()
    removed_permissions: tuple[Permission, ...] = ()


class Remark(Resource, frozen=True):
    """A post, assignment or suggestion, and what happened to it."""

    subtype: str = ""
    assigned_user: User | None = None


class Comment(Resource, frozen=True):
    """What happened in the comments: one of post, assignment, suggestion."""

    post: Remark | None = None
    assignment: Remark | None = None
    suggestion: Remark | None = None
    mentioned_users: tuple[User, ...] = ()


class Restriction(Resource, frozen=True):
    """What a feature is restricted to now."""

    feature: str = ""
    new_restriction: str = ""


class SettingsChange(Resource, frozen=True):
    """Which restrictions changed."""

    restriction_changes: tuple[Restriction, ...] = ()


class Label(Resource, frozen=True):
    """What changed about a label."""

    label: str = ""
    title: str | None = None
    types: tuple[str, ...] = ()
    field_changes: tuple[dict[str, Any], ...] = ()


class AppliedLabelChange(Resource, frozen=True):
    """Which labels changed."""

    changes: tuple[Label, ...] = ()


_activity = msgspec.json.Decoder(DriveActivity, strict=False)


def decode_activity(body: msgspec.Raw) -> DriveActivity:
    """Return the DriveActivity in `body`; raise InvalidResourceError."""
    return decode(_activity, body)
