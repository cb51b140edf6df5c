"""A file, a user and a permission as Drive v3 shows them to one viewer."""

import datetime as dt
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from drivewake.lab.google.fields import Mask, below, project, wants
from drivewake.lab.google.formats import EXPORTS
from drivewake.lab.google.model import (
    COMMENTER,
    FILE_ORGANIZER,
    ORGANIZER,
    OWNER,
    READER,
    WRITER,
    Content,
    File,
    Permission,
    User,
)
from drivewake.lab.google.state import DriveState

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - formatted with its Z by hand, four times faster


def rfc3339(ms: int) -> str:
    """Format Unix milliseconds as Google does, `2026-01-31T10:00:00.000Z`."""
    return (_EPOCH + dt.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"


def user_resource(user: User, viewer: User) -> dict[str, Any]:
    """Return Drive's User."""
    return {
        "kind": "drive#user",
        "displayName": user.name,
        "me": user is viewer,
        "permissionId": user.permission_id,
        "emailAddress": user.email,
    }


class Held(NamedTuple):
    """A permission in force on a file: direct when `inherited_from` holds the file alone.

    `details` are the lines it is made of: what stands where, the item itself first.
    """

    permission: Permission
    details: tuple[tuple[Permission, File], ...]


def permission_id(permission: Permission) -> str:
    """Return Google's id of a permission."""
    return permission.key if permission.domain is None else _domain_id(permission.domain)


def permission_resource(state: DriveState, permission: Permission) -> dict[str, Any]:
    """Return Drive's Permission."""
    shown: dict[str, Any] = {
        "kind": "drive#permission",
        "id": permission_id(permission),
        "type": permission.type,
        "role": permission.role,
    }
    if permission.email is not None:
        holder = state.principals.get(permission.key)
        shown["emailAddress"] = permission.email
        shown["displayName"] = permission.email if holder is None else holder.name
        shown["deleted"] = False
        shown["pendingOwner"] = False
    if permission.domain is not None:
        shown["domain"] = permission.domain
        shown["displayName"] = permission.domain
    if permission.type in {"domain", "anyone"}:
        shown["allowFileDiscovery"] = permission.discoverable
    if permission.expires_ms is not None:
        shown["expirationTime"] = rfc3339(permission.expires_ms)
    return shown


def held_resource(state: DriveState, file: File, held: Held) -> dict[str, Any]:
    """Return a Permission with the lines it is made of, which only drive items tell."""
    shown = permission_resource(state, held.permission)
    if file.drive is None:
        return shown
    details = [
        {
            "permissionType": "member" if at.is_root else "file",
            "role": line.role,
            "inherited": at is not file,
            **({"inheritedFrom": at.id} if at is not file else {}),
        }
        for line, at in held.details
    ]
    shown["permissionDetails"] = details
    shown["teamDrivePermissionDetails"] = [
        {("teamDrivePermissionType" if k == "permissionType" else k): v for k, v in d.items()}
        for d in details
    ]
    return shown


def _domain_id(domain: str) -> str:
    """Return a stable permission id of a domain: digits and a k, as Google's look."""
    return f"{zlib.crc32(domain.encode()):020d}k"


def held_permissions(state: DriveState, file: File) -> list[Held]:
    """Return direct and inherited permissions, the owner's first, one a principal."""
    lines: dict[str, list[tuple[Permission, File]]] = {}
    if file.owner is not None:
        own = Permission(file.owner.permission_id, "user", "owner", email=file.owner.email)
        lines[own.key] = [(own, file)]
    grants = state.access.grants(file)
    at: File | None = file
    while at is not None:
        for share in (at.shares or {}).values():
            if share.key in grants:
                lines.setdefault(share.key, []).append((share, at))
        owner = at.owner
        if owner is not None and owner is not file.owner and owner.permission_id in grants:
            writer = Permission(owner.permission_id, "user", "writer", email=owner.email)
            lines.setdefault(owner.permission_id, []).append((writer, at))
        at = at.parent
    held: list[Held] = []
    for key, details in lines.items():
        rank = max(grants[key], *(p.rank for p, _ in details))
        best = next((p for p, _ in details if p.rank == rank), details[0][0])
        held.append(Held(best, tuple(details)))
    return held


def effective_permissions(state: DriveState, file: File) -> list[Permission]:
    """Return direct and inherited permissions, the owner's first, one a principal."""
    return [held.permission for held in held_permissions(state, file)]


class View:
    """One file as one viewer may see it. Fields that Google leaves out are None here."""

    def __init__(self, state: DriveState, file: File, viewer: User) -> None:
        self.state = state
        self.file = file
        self.viewer = viewer
        self.more = file.more
        self.in_drive = file.drive is not None

    @property
    def rank(self) -> int:
        """The viewer's rank on the file."""
        return self.state.access.rank(self.viewer, self.file)

    def parents(self) -> list[str] | None:
        """Return the parent if the viewer may see it."""
        parent = self.file.parent
        if parent is None or self.state.access.rank(self.viewer, parent) == 0:
            return None
        return [parent.id]

    def permissions(self) -> list[dict[str, Any]] | None:
        """Return the access list to those who may share; never of what is in a drive."""
        if self.in_drive or not self.state.can_share(self.viewer, self.file):
            return None
        shown = effective_permissions(self.state, self.file)
        return [permission_resource(self.state, p) for p in shown]

    def permission_ids(self) -> list[str] | None:
        """Return the ids alone, of drive items too."""
        if not self.state.can_share(self.viewer, self.file):
            return None
        return [permission_id(p) for p in effective_permissions(self.state, self.file)]

    def capabilities(self) -> dict[str, bool]:
        """Return what the viewer may do."""
        rank = self.rank
        read, write = rank >= READER, rank >= WRITER
        folder, root = self.file.is_folder, self.file.is_root
        manage = rank >= (FILE_ORGANIZER if self.in_drive else OWNER)
        copyable = read and not folder and (write or not self.more.copy_restricted)
        return {
            "canAddChildren": folder and write,
            "canChangeCopyRequiresWriterPermission": write,
            "canChangeViewersCanCopyContent": write,
            "canComment": rank >= COMMENTER,
            "canCopy": copyable,
            "canDelete": rank >= (ORGANIZER if self.in_drive else OWNER) and not root,
            "canDownload": copyable,
            "canEdit": write,
            "canListChildren": folder,
            "canModifyContent": write and not folder,
            "canMoveItemOutOfDrive": (rank >= (ORGANIZER if self.in_drive else OWNER)) and not root,
            "canReadRevisions": write and not folder,
            "canRemoveChildren": folder and manage,
            "canRename": write and not root,
            "canShare": self.state.can_share(self.viewer, self.file),
            "canTrash": manage and not root,
            "canUntrash": manage and not root,
        } | ({"canReadDrive": read} if self.in_drive else {})

    def shared(self) -> bool | None:
        """Whether anyone but the owner has access."""
        owner = self.file.owner
        if owner is None:
            return None
        return any(k != owner.permission_id for k in self.state.access.grants(self.file))

    def shortcut(self) -> dict[str, Any] | None:
        """Return where a shortcut leads, while its target is there."""
        target_id = self.more.target_id
        if target_id is None:
            return None
        target = self.state.files.get(target_id)
        shown = {
            "targetId": target_id,
            "targetMimeType": None if target is None else target.mime_type,
            "targetResourceKey": None if target is None else target.more.resource_key,
        }
        return {k: v for k, v in shown.items() if v is not None}

    def export_links(self) -> dict[str, str] | None:
        """Return where a Google document can be had in other formats."""
        kinds = EXPORTS.get(self.file.mime_type)
        base = f"https://docs.google.com/feeds/download/documents/export/Export?id={self.file.id}"
        return {k: f"{base}&exportFormat={k.rpartition('.')[2]}" for k in kinds} if kinds else None


def _extension(view: View) -> str | None:
    name = view.file.name
    return name.rpartition(".")[2] if view.file.content and "." in name else None


def _web_link(view: View) -> str:
    if view.file.is_folder:
        return f"https://drive.google.com/drive/folders/{view.file.id}"
    return f"https://drive.google.com/file/d/{view.file.id}/view?usp=drivesdk"


def _original_name(view: View) -> str | None:
    if view.file.content is None:
        return None
    return view.more.original_filename or view.file.name


def _blob(attribute: str) -> Callable[[View], Any]:
    def read(view: View) -> str | None:
        content: Content | None = view.file.content
        return None if content is None else str(getattr(content, attribute))

    return read


def _my_drive(read: Callable[[View], Any]) -> Callable[[View], Any]:
    """Leave a field out for what is in a shared drive."""
    return lambda view: None if view.in_drive else read(view)


def _drive_id(view: View) -> str | None:
    return None if view.file.drive is None else view.file.drive.id


def _owners(view: View) -> list[dict[str, Any]] | None:
    owner = view.file.owner
    return None if owner is None else [user_resource(owner, view.viewer)]


def _trashing_user(view: View) -> dict[str, Any] | None:
    user = view.more.trashing_user
    return None if user is None else user_resource(user, view.viewer)


FILE_FIELDS: dict[str, Callable[[View], Any]] = {
    "kind": lambda _: "drive#file",
    "id": lambda v: v.file.id,
    "name": lambda v: v.file.name,
    "mimeType": lambda v: v.file.mime_type,
    "description": lambda v: v.file.description,
    "starred": lambda v: v.viewer.email in v.more.starred_by,
    "trashed": lambda v: v.state.is_trashed(v.file),
    "explicitlyTrashed": lambda v: v.file.explicitly_trashed,
    "trashedTime": lambda v: None if v.more.trashed_ms is None else rfc3339(v.more.trashed_ms),
    "trashingUser": _trashing_user,
    "parents": View.parents,
    "driveId": _drive_id,
    "teamDriveId": _drive_id,
    "properties": lambda v: v.more.properties,
    "appProperties": lambda v: v.more.app_properties,
    "spaces": lambda _: ["drive"],
    "version": lambda v: str(v.file.version),
    "resourceKey": lambda v: v.more.resource_key,
    "linkShareMetadata": lambda v: {
        "securityUpdateEligible": v.more.resource_key is not None,
        "securityUpdateEnabled": v.more.resource_key is not None,
    },
    "shortcutDetails": View.shortcut,
    "webViewLink": _web_link,
    "webContentLink": lambda v: (
        f"https://drive.google.com/uc?id={v.file.id}&export=download" if v.file.content else None
    ),
    "exportLinks": View.export_links,
    "iconLink": lambda v: (
        f"https://drive-thirdparty.googleusercontent.com/16/type/{v.file.mime_type}"
    ),
    "hasThumbnail": lambda _: False,
    "thumbnailVersion": lambda _: "0",
    "viewedByMe": lambda v: v.file.owner is v.viewer or v.viewer.email in v.more.openers,
    "createdTime": lambda v: rfc3339(v.file.created_ms),
    "modifiedTime": lambda v: rfc3339(v.file.modified_ms),
    "modifiedByMe": lambda v: v.file.last_modifying_user is v.viewer,
    "owners": _owners,
    "lastModifyingUser": lambda v: user_resource(v.file.last_modifying_user, v.viewer),
    "shared": View.shared,
    "ownedByMe": _my_drive(lambda v: v.file.owner is v.viewer),
    "capabilities": View.capabilities,
    "viewersCanCopyContent": lambda v: not v.more.copy_restricted,
    "copyRequiresWriterPermission": lambda v: v.more.copy_restricted,
    "writersCanShare": _my_drive(lambda v: v.more.writers_can_share),
    "inheritedPermissionsDisabled": lambda v: v.more.limited if v.file.is_folder else None,
    "hasAugmentedPermissions": lambda v: (
        bool(v.file.shares) if v.in_drive and not v.file.is_root else None
    ),
    "permissions": View.permissions,
    "permissionIds": View.permission_ids,
    "folderColorRgb": lambda v: v.more.folder_color or "#8f8f8f" if v.file.is_folder else None,
    "originalFilename": _original_name,
    "fullFileExtension": _extension,
    "fileExtension": _extension,
    "md5Checksum": _blob("md5"),
    "sha1Checksum": _blob("sha1"),
    "sha256Checksum": _blob("sha256"),
    "size": _blob("size_bytes"),
    "quotaBytesUsed": lambda v: str(v.file.content.size_bytes if v.file.content else 0),
    "headRevisionId": _blob("revision_id"),
    "isAppAuthorized": lambda v: v.rank >= OWNER,
}


def file_resource(state: DriveState, file: File, viewer: User, mask: Mask | None) -> dict[str, Any]:
    """Return the wanted fields of a File; what Google would omit is absent."""
    view = View(state, file, viewer)
    shown: dict[str, Any] = {}
    names = FILE_FIELDS if mask is None or "*" in mask else [n for n in FILE_FIELDS if n in mask]
    for name in names:
        value = FILE_FIELDS[name](view)
        if value is not None and wants(mask, name):
            shown[name] = project(value, below(mask, name))
    return shown
