"""ActionDetail, case by case: which event it is, and what of it no viewer sees otherwise.

What of a detail may look different to another viewer (people, parents, titles of what was
copied) stands in the event and not in its key, so that several principals tell an action once.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from drivewake.contracts import activity as told
from drivewake.contracts.activity import ActivityData, ActivityObject, ActivityPermission, Actor
from drivewake.contracts.keys import Part
from drivewake.normalizer.domain import google_activity as google
from drivewake.normalizer.domain.google import decode

_HOW: Final[tuple[Literal["new", "upload", "copy"], ...]] = ("new", "upload", "copy")
_GRANTEES: Final[tuple[Literal["user", "group", "domain", "anyone"], ...]] = (
    "user", "group", "domain", "anyone",
)  # fmt: skip
_REMARKS: Final[tuple[Literal["post", "assignment", "suggestion"], ...]] = (
    "post", "assignment", "suggestion",
)  # fmt: skip

Common = dict[str, Any]
"""What all events of activity have: target, actors, at, until."""


class Detailed(NamedTuple):
    """An event, and what of its detail is the same for every viewer."""

    data: ActivityData
    canonical: tuple[Part, ...] = ()


def detailed(common: Common, detail: dict[str, msgspec.Raw]) -> Detailed:
    """Return the event of a detail; raise InvalidResourceError.

    A case or type that is not known here becomes `activity.other`.
    """
    for case, body in detail.items():
        decide = _CASES.get(case)
        if decide is not None and (found := decide(common, body)) is not None:
            return found
    whole = {case: without_viewer(decode(_anything, body)) for case, body in detail.items()}
    data = told.ActivityOther(**common, detail=whole)
    return Detailed(data, (msgspec.json.encode(whole, order="deterministic").decode(),))


def actor_of(actor: google.Actor) -> Actor:
    """Return who did it, without what depends on the viewer."""
    if actor.user is not None:
        return user_of(actor.user)
    if actor.impersonation is not None:
        user = actor.impersonation.impersonated_user
        return Actor(kind="impersonation", person=None if user is None else user_of(user).person)
    if actor.system is not None:
        return Actor(kind="system", system=actor.system.type)
    if actor.administrator is not None:
        return Actor(kind="administrator")
    return Actor(kind="other" if actor.anonymous is None else "anonymous")


def user_of(user: google.User) -> Actor:
    """Return a user as far as the viewer may know it."""
    if user.known_user is not None:
        return Actor(kind="user", person=user.known_user.person_name)
    return Actor(kind="unknown_user" if user.deleted_user is None else "deleted_user")


def object_of(target: google.Target) -> ActivityObject | None:
    """Return what an action is about, None if it is of a kind that is not known here."""
    drive = target.drive or target.team_drive
    if target.drive_item is not None:
        return _item(target.drive_item)
    if drive is not None:
        return ActivityObject(kind="drive", id=_id(drive.name), title=drive.title)
    if target.file_comment is None or target.file_comment.parent is None:
        return None
    comment = target.file_comment
    return msgspec.structs.replace(
        _item(target.file_comment.parent),
        kind="comment",
        comment=comment.legacy_discussion_id or comment.legacy_comment_id,
    )


def _item(item: google.DriveItem) -> ActivityObject:
    owner = item.owner or google.Owner()
    drive = owner.drive or owner.team_drive
    return ActivityObject(
        kind="file" if item.drive_folder is None and item.folder is None else "folder",
        id=_id(item.name),
        title=item.title,
        mime_type=item.mime_type,
        drive=None if drive is None else _id(drive.name),
    )


def _id(name: str) -> str:
    """Return the id in `items/ID`: what stands before it may change, says Google."""
    return name.rpartition("/")[2]


def without_viewer(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON without what says that somebody is the one who asked."""
    if isinstance(value, dict):
        return {k: without_viewer(v) for k, v in value.items() if k != "isCurrentUser"}
    if isinstance(value, list):
        return [without_viewer(each) for each in value]
    return value


# -- Cases -----------------------------------------------------------------------------------


def _create(common: Common, create: google.Create) -> Detailed:
    original = create.copy.original_object if create.copy is not None else None
    how: Literal["new", "upload", "copy", "other"]
    how = next((name for name in _HOW if getattr(create, name) is not None), "other")
    copied = None if original is None else object_of(original)
    data = told.ActivityCreated(**common, how=how, original=copied)
    return Detailed(data, (data.how,))


def _edit(common: Common, edit: google.Empty) -> Detailed:
    del edit
    return Detailed(told.ActivityEdited(**common))


def _move(common: Common, move: google.Move) -> Detailed:
    added, removed = _objects(move.added_parents), _objects(move.removed_parents)
    return Detailed(told.ActivityMoved(**common, added=added, removed=removed))


def _objects(targets: Iterable[google.Target]) -> tuple[ActivityObject, ...]:
    return tuple(each for target in targets if (each := object_of(target)) is not None)


def _rename(common: Common, rename: google.Rename) -> Detailed:
    old, new = rename.old_title, rename.new_title
    return Detailed(told.ActivityRenamed(**common, before=old, after=new), (old, new))


def _delete(common: Common, delete: google.Typed) -> Detailed | None:
    if delete.type == "TRASH":
        return Detailed(told.ActivityTrashed(**common))
    return Detailed(told.ActivityPurged(**common)) if delete.type == "PERMANENT_DELETE" else None


def _restore(common: Common, restore: google.Typed) -> Detailed | None:
    return Detailed(told.ActivityRestored(**common)) if restore.type == "UNTRASH" else None


def _permission_change(common: Common, change: google.PermissionChange) -> Detailed:
    added = tuple(map(_permission, change.added_permissions))
    removed = tuple(map(_permission, change.removed_permissions))
    data = told.ActivityPermissionChanged(**common, added=added, removed=removed)
    return Detailed(data, (_canonical(added), _canonical(removed)))


def _permission(permission: google.Permission) -> ActivityPermission:
    kind: Literal["user", "group", "domain", "anyone", "other"]
    kind = next((name for name in _GRANTEES if getattr(permission, name) is not None), "other")
    return ActivityPermission(
        kind=kind,
        role=permission.role,
        user=None if permission.user is None else user_of(permission.user),
        email=None if permission.group is None else permission.group.email,
        domain=None if permission.domain is None else permission.domain.name,
        discoverable=permission.allow_discovery,
    )


def _canonical(permissions: tuple[ActivityPermission, ...]) -> tuple[Part, ...]:
    """Return roles and the kinds of those who have them: who they are, not all may know."""
    return tuple(sorted((each.kind, each.role, each.discoverable) for each in permissions))


def _comment(common: Common, comment: google.Comment) -> Detailed:
    kind: Literal["post", "assignment", "suggestion", "other"]
    kind = next((name for name in _REMARKS if getattr(comment, name) is not None), "other")
    remark: google.Remark = getattr(comment, kind, None) or google.Remark()
    assigned = remark.assigned_user
    data = told.ActivityCommented(
        **common,
        kind=kind,
        change=remark.subtype,
        mentioned=tuple(map(user_of, comment.mentioned_users)),
        assigned=None if assigned is None else user_of(assigned),
    )
    return Detailed(data, (data.kind, data.change))


def _dlp_change(common: Common, change: google.Typed) -> Detailed:
    return Detailed(told.ActivityDlpChanged(**common, change=change.type), (change.type,))


def _reference(common: Common, reference: google.Typed) -> Detailed:
    return Detailed(told.ActivityReferenced(**common, how=reference.type), (reference.type,))


def _settings_change(common: Common, change: google.SettingsChange) -> Detailed:
    changes = tuple(
        told.RestrictionChange(feature=each.feature, restriction=each.new_restriction)
        for each in change.restriction_changes
    )
    canonical = tuple(sorted((each.feature, each.restriction) for each in changes))
    return Detailed(told.ActivitySettingsChanged(**common, changes=changes), canonical)


def _label_change(common: Common, change: google.AppliedLabelChange) -> Detailed:
    changes = tuple(
        told.LabelChange(
            label=each.label,
            title=each.title,
            types=each.types,
            fields=tuple(map(without_viewer, each.field_changes)),
        )
        for each in change.changes
    )
    canonical = tuple(sorted((each.label, tuple(sorted(each.types))) for each in changes))
    return Detailed(told.ActivityLabelChanged(**common, changes=changes), canonical)


_anything: Final = msgspec.json.Decoder()


def _case(
    kind: Any,  # noqa: ANN401 - what msgspec takes for a type
    decide: Callable[[Common, Any], Detailed | None],
) -> Callable[[Common, msgspec.Raw], Detailed | None]:
    decoder = msgspec.json.Decoder(kind, strict=False)
    return lambda common, body: decide(common, decode(decoder, body))


_CASES: Final = {
    "create": _case(google.Create, _create),
    "edit": _case(google.Empty, _edit),
    "move": _case(google.Move, _move),
    "rename": _case(google.Rename, _rename),
    "delete": _case(google.Typed, _delete),
    "restore": _case(google.Typed, _restore),
    "permissionChange": _case(google.PermissionChange, _permission_change),
    "comment": _case(google.Comment, _comment),
    "dlpChange": _case(google.Typed, _dlp_change),
    "reference": _case(google.Typed, _reference),
    "settingsChange": _case(google.SettingsChange, _settings_change),
    "appliedLabelChange": _case(google.AppliedLabelChange, _label_change),
}
