"""A file, a user and a permission as Drive v3 shows them to one viewer."""

import datetime as dt
import zlib
from collections.abc import Callable
from typing import Any

from drivewake.lab.google.access import Access
from drivewake.lab.google.fields import Mask, below, project, wants
from drivewake.lab.google.model import (
    ANYONE,
    COMMENTER,
    OWNER,
    READER,
    ROLES,
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


def permission_resource(state: DriveState, permission: Permission) -> dict[str, Any]:
    """Return Drive's Permission."""
    key = permission.key
    shown: dict[str, Any] = {
        "kind": "drive#permission",
        "id": key if permission.domain is None else _domain_id(permission.domain),
        "type": permission.type,
        "role": permission.role,
    }
    if permission.email is not None:
        shown["emailAddress"] = permission.email
        shown["displayName"] = state.user(permission.email).name
        shown["deleted"] = False
        shown["pendingOwner"] = False
    if permission.domain is not None:
        shown["domain"] = permission.domain
        shown["displayName"] = permission.domain
    if permission.type in {"domain", "anyone"}:
        shown["allowFileDiscovery"] = False
    return shown


def _domain_id(domain: str) -> str:
    """Return a stable permission id of a domain: digits and a k, as Google's look."""
    return f"{zlib.crc32(domain.encode()):020d}k"


def effective_permissions(state: DriveState, file: File) -> list[Permission]:
    """Return direct and inherited permissions, the owner's first, one a principal."""
    own = Permission(file.owner.permission_id, "user", "owner", email=file.owner.email)
    described: dict[str, Permission] = {own.key: own}
    grants = state.access.grants(file)
    at: File | None = file
    while at is not None:
        for share in (at.shares or {}).values():
            described.setdefault(share.key, share)
        if at.owner is not file.owner:
            owner = at.owner
            writer = Permission(owner.permission_id, "user", "writer", email=owner.email)
            described.setdefault(owner.permission_id, writer)
        at = at.parent
    return [
        p
        if p.role == "owner" or p.rank == grants[p.key]
        else Permission(p.key, p.type, ROLES[grants[p.key]], p.email, p.domain)
        for p in described.values()
    ]


class View:
    """One file as one viewer may see it. Fields that Google leaves out are None here."""

    def __init__(self, state: DriveState, file: File, viewer: User) -> None:
        self.state = state
        self.file = file
        self.viewer = viewer
        self.rank = state.access.rank(viewer, file)

    def blob(self) -> Content | None:
        """Return the head content."""
        return self.file.content

    def parents(self) -> list[str] | None:
        """Return the parent if the viewer may see it."""
        parent = self.file.parent
        if parent is None or self.state.access.rank(self.viewer, parent) == 0:
            return None
        return [parent.id]

    def permissions(self) -> list[dict[str, Any]] | None:
        """Return the access list to those who may share."""
        if self.rank < WRITER:
            return None
        shown = effective_permissions(self.state, self.file)
        return [permission_resource(self.state, p) for p in shown]

    def capabilities(self) -> dict[str, bool]:
        """Return what the viewer may do."""
        write, own = self.rank >= WRITER, self.rank >= OWNER
        folder, root = self.file.is_folder, self.file.is_root
        return {
            "canAddChildren": folder and write,
            "canComment": self.rank >= COMMENTER,
            "canCopy": not folder and self.rank >= READER,
            "canDelete": own and not root,
            "canDownload": not folder and self.rank >= READER,
            "canEdit": write,
            "canListChildren": folder,
            "canModifyContent": write and not folder,
            "canReadRevisions": write and not folder,
            "canRename": write and not root,
            "canShare": write,
            "canTrash": write and not root,
            "canUntrash": write and not root,
        }

    def shared(self) -> bool:
        """Whether anyone but the owner has access."""
        return any(k != self.file.owner.permission_id for k in self.state.access.grants(self.file))


def _extension(view: View) -> str | None:
    name = view.file.name
    return name.rpartition(".")[2] if view.file.content and "." in name else None


def _permission_ids(view: View) -> list[str] | None:
    shown = view.permissions()
    return None if shown is None else [p["id"] for p in shown]


def _web_link(view: View) -> str:
    if view.file.is_folder:
        return f"https://drive.google.com/drive/folders/{view.file.id}"
    return f"https://drive.google.com/file/d/{view.file.id}/view?usp=drivesdk"


def _blob(attribute: str) -> Callable[[View], Any]:
    def read(view: View) -> str | None:
        content = view.file.content
        return None if content is None else str(getattr(content, attribute))

    return read


FILE_FIELDS: dict[str, Callable[[View], Any]] = {
    "kind": lambda _: "drive#file",
    "id": lambda v: v.file.id,
    "name": lambda v: v.file.name,
    "mimeType": lambda v: v.file.mime_type,
    "description": lambda v: v.file.description,
    "starred": lambda v: v.viewer.email in v.file.starred_by,
    "trashed": lambda v: v.state.is_trashed(v.file),
    "explicitlyTrashed": lambda v: v.file.explicitly_trashed,
    "parents": View.parents,
    "spaces": lambda _: ["drive"],
    "version": lambda v: str(v.file.version),
    "webViewLink": _web_link,
    "webContentLink": lambda v: (
        f"https://drive.google.com/uc?id={v.file.id}&export=download" if v.file.content else None
    ),
    "iconLink": lambda v: (
        f"https://drive-thirdparty.googleusercontent.com/16/type/{v.file.mime_type}"
    ),
    "hasThumbnail": lambda _: False,
    "thumbnailVersion": lambda _: "0",
    "viewedByMe": lambda v: v.file.owner is v.viewer,
    "createdTime": lambda v: rfc3339(v.file.created_ms),
    "modifiedTime": lambda v: rfc3339(v.file.modified_ms),
    "modifiedByMe": lambda v: v.file.last_modifying_user is v.viewer,
    "owners": lambda v: [user_resource(v.file.owner, v.viewer)],
    "lastModifyingUser": lambda v: user_resource(v.file.last_modifying_user, v.viewer),
    "shared": View.shared,
    "ownedByMe": lambda v: v.file.owner is v.viewer,
    "capabilities": View.capabilities,
    "viewersCanCopyContent": lambda _: True,
    "copyRequiresWriterPermission": lambda _: False,
    "writersCanShare": lambda _: True,
    "permissions": View.permissions,
    "permissionIds": _permission_ids,
    "folderColorRgb": lambda v: "#8f8f8f" if v.file.is_folder else None,
    "originalFilename": lambda v: v.file.name if v.file.content else None,
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


def effective_role(access: Access, user: User, file: File) -> str | None:
    """Return the name of the user's role, None when the file is hidden."""
    rank = access.rank(user, file)
    return ROLES[rank] if rank else None


__all__ = [
    "ANYONE",
    "FILE_FIELDS",
    "effective_permissions",
    "effective_role",
    "file_resource",
    "permission_resource",
    "rfc3339",
    "user_resource",
]
