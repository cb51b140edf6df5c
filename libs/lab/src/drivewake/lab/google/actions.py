"""What people do, as data: ordered batches of actions by an actor.

An action names files by id, by `root`, or by a `ref` that the caller chose when the file was
created. Times are RFC 3339 or Unix milliseconds.
"""

import datetime as dt
from typing import Any

import msgspec

from drivewake.lab.google.model import (
    FOLDER,
    Change,
    InvalidOperationError,
    Permission,
    StateError,
    User,
)
from drivewake.lab.google.world import SimulatedGoogle

Time = str | int | None


class _Action(msgspec.Struct, frozen=True, tag_field="op", rename="camel", kw_only=True):
    """What all actions have: the actor, where it differs from the batch's."""

    actor: str | None = None


class CreateFolder(_Action, frozen=True, tag="create_folder"):
    """Create a folder; `ref` becomes its name in later actions."""

    name: str
    ref: str | None = None
    parent: str = "root"
    created_time: Time = None
    modified_time: Time = None


class CreateFile(_Action, frozen=True, tag="create_file"):
    """Create a file from its bytes; the hashes are computed here."""

    name: str
    content: bytes | None = None
    ref: str | None = None
    parent: str = "root"
    mime_type: str = "application/octet-stream"
    description: str | None = None
    created_time: Time = None
    modified_time: Time = None


class Update(_Action, frozen=True, tag="update"):
    """Change content, name, place and description in one version; absent means unchanged."""

    file: str
    content: bytes | None = None
    name: str | None = None
    parent: str | None = None
    mime_type: str | None = None
    description: str | None = None
    modified_time: Time = None
    created_time: Time = None


class Trash(_Action, frozen=True, tag="trash"):
    """Put into the trash."""

    file: str


class Untrash(_Action, frozen=True, tag="untrash"):
    """Take out of the trash."""

    file: str


class Delete(_Action, frozen=True, tag="delete"):
    """Delete for ever, with what is below."""

    file: str


class Share(msgspec.Struct, frozen=True, rename="camel"):
    """One direct permission: type user, group, domain or anyone."""

    type: str
    role: str
    email_address: str | None = None
    domain: str | None = None
    expiration_time: Time = None
    allow_file_discovery: bool = False


class SetPermissions(_Action, frozen=True, tag="set_permissions"):
    """Replace the direct permissions other than the owner's."""

    file: str
    permissions: tuple[Share, ...]


class CreateDrive(_Action, frozen=True, tag="create_drive"):
    """Create a shared drive; its permissions are its members, the actor the first organizer."""

    name: str
    ref: str | None = None


class DeleteDrive(_Action, frozen=True, tag="delete_drive"):
    """Delete a shared drive with all that is in it."""

    file: str


class Open(_Action, frozen=True, tag="open"):
    """Follow a link: the file enters the actor's log the first time."""

    file: str


class Star(_Action, frozen=True, tag="star"):
    """Star a file for the actor alone, or take the star off."""

    file: str
    starred: bool = True


class Transfer(_Action, frozen=True, tag="transfer"):
    """Hand a file over to another owner."""

    file: str
    email_address: str


class Comment(_Action, frozen=True, tag="comment"):
    """Comment on a file."""

    file: str
    content: str


class Mark(_Action, frozen=True, tag="mark"):
    """Set what Google, an administrator or the owner's settings page sets; absent is unchanged.

    `resource_key` must be given beside the id by who comes by the link alone; `limited`
    disables inherited permissions of a folder.
    """

    file: str
    resource_key: str | None = None
    abusive: bool | None = None
    limited: bool | None = None
    copy_restricted: bool | None = None


Action = (
    CreateFolder
    | CreateFile
    | Update
    | Trash
    | Untrash
    | Delete
    | SetPermissions
    | CreateDrive
    | DeleteDrive
    | Open
    | Star
    | Transfer
    | Comment
    | Mark
)


class Batch(msgspec.Struct, frozen=True):
    """Actions in order, by `actor` unless an action says otherwise."""

    actor: str
    actions: tuple[Action, ...]


class BatchRefusedError(Exception):
    """An action could not be done; the ones before it were. `index` counts from 0."""

    def __init__(self, index: int, cause: Exception, results: list[dict[str, Any]]) -> None:
        super().__init__(f"Action {index}: {cause}")
        self.index = index
        self.results = results


def apply(world: SimulatedGoogle, batch: Batch) -> list[dict[str, Any]]:
    """Do the actions in order; return one result each: id, version, seq, ref.

    Version and seq are those of the last change the action made, null when it made none.
    Raises BatchRefusedError at the first action that cannot be done.
    """
    results: list[dict[str, Any]] = []
    for index, action in enumerate(batch.actions):
        try:
            actor = world.state.user(action.actor or batch.actor)
            file_id, changes = _do(world, actor, action)
        except (StateError, ValueError, OverflowError) as error:
            raise BatchRefusedError(index, error, results) from error
        world.record(changes)
        last = changes[-1] if changes else None
        results.append(
            {
                "id": file_id,
                "version": last.version if last else None,
                "seq": last.seq if last else None,
                "ref": getattr(action, "ref", None),
            }
        )
    return results


def _do(world: SimulatedGoogle, actor: User, action: Action) -> tuple[str, list[Change]]:
    state, now_ns = world.state, world.now_ns()
    if isinstance(action, CreateFolder | CreateFile):
        return _create(world, actor, action)
    if isinstance(action, CreateDrive):
        drive, made = state.add_drive(actor, action.name, now_ns)
        if action.ref is not None:
            world.refs[action.ref] = drive.id
        return drive.id, [made]
    file_id = world.refs.get(action.file, action.file)
    changed = _change(world, actor, action, file_id)
    if changed is None:
        return file_id, []
    return file_id, changed if isinstance(changed, list) else [changed]


def _change(  # noqa: C901, PLR0911 - one line an action
    world: SimulatedGoogle, actor: User, action: Action, file_id: str
) -> Change | list[Change] | None:
    state, now_ns = world.state, world.now_ns()
    match action:
        case Update():
            return _update(world, actor, action, file_id)
        case Trash() | Untrash():
            return state.trash(actor, file_id, now_ns, trashed=isinstance(action, Trash))
        case Delete():
            return state.delete(actor, file_id, now_ns)
        case DeleteDrive():
            return state.delete_drive(actor, file_id, now_ns, with_items=True)
        case SetPermissions():
            shares = [_permission(world, share) for share in action.permissions]
            return state.set_permissions(actor, file_id, shares, now_ns)
        case Open():
            return state.open(actor, state.find(actor, file_id), now_ns)
        case Star():
            return state.star(actor, file_id, now_ns, starred=action.starred)
        case Transfer():
            return state.transfer(actor, file_id, action.email_address, now_ns)
        case Comment():
            return state.add_comment(actor, file_id, action.content, now_ns)[1]
        case Mark():
            names = ("resource_key", "abusive", "limited", "copy_restricted")
            said = {n: getattr(action, n) for n in names}
            marks = {n: value for n, value in said.items() if value is not None}
            return state.edit(actor, file_id, now_ns, extras=marks)
        case _:
            raise InvalidOperationError(f"Not an action on a file: {action}")


def _permission(world: SimulatedGoogle, share: Share) -> Permission:
    return world.state.permission(
        share.type,
        share.role,
        share.email_address,
        share.domain,
        expires_ms=milliseconds(share.expiration_time),
        discoverable=share.allow_file_discovery,
    )


def _update(world: SimulatedGoogle, actor: User, action: Update, file_id: str) -> Change:
    parent = action.parent
    return world.state.edit(
        actor,
        file_id,
        world.now_ns(),
        name=action.name,
        parent_id=None if parent is None else world.refs.get(parent, parent),
        data=action.content,
        mime_type=action.mime_type,
        description=action.description,
        modified_ms=milliseconds(action.modified_time),
        created_ms=milliseconds(action.created_time),
    )


def _create(
    world: SimulatedGoogle, actor: User, action: CreateFolder | CreateFile
) -> tuple[str, list[Change]]:
    state = world.state
    if action.ref is not None:
        held = state.files.get(world.refs.get(action.ref, ""))
        if held is not None and not state.is_trashed(held):
            raise InvalidOperationError(f"The ref names a living file: {action.ref}")
    a_file = isinstance(action, CreateFile)
    change = state.create(
        actor,
        action.name,
        world.refs.get(action.parent, action.parent),
        world.now_ns(),
        mime_type=action.mime_type if isinstance(action, CreateFile) else FOLDER,
        data=action.content if isinstance(action, CreateFile) else None,
        description=action.description if isinstance(action, CreateFile) else None,
        created_ms=milliseconds(action.created_time),
        modified_ms=milliseconds(action.modified_time),
    )
    assert a_file or state.files[change.file_id].is_folder
    if action.ref is not None:
        world.refs[action.ref] = change.file_id
    return change.file_id, [change]


def milliseconds(time: Time) -> int | None:
    """Return Unix milliseconds of a time. Raises ValueError."""
    if time is None or isinstance(time, int):
        return time
    at = dt.datetime.fromisoformat(time)
    return round((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def nanoseconds(text: str) -> int:
    """Return Unix nanoseconds, of such a number or of RFC 3339. Raises ValueError."""
    if text.isdecimal():
        return int(text)
    at = dt.datetime.fromisoformat(text)
    since = (at if at.tzinfo else at.replace(tzinfo=dt.UTC)) - dt.datetime(
        1970, 1, 1, tzinfo=dt.UTC
    )
    return since // dt.timedelta(microseconds=1) * 1000
