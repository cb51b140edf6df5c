"""The nouns of a Drive: people, drives, files, permissions, changes. Plain records, no I/O.

StateError
├── FileMissingError   the file is gone, or the actor cannot see it: Google never says which
├── DriveMissingError  the same of a shared drive
├── PartMissingError   the same of a permission, revision, comment or reply of a file
├── AccessDeniedError  the actor sees the file but may not do this
├── RuleError          one of Drive's rules forbids it; carries Google's status and reason
└── InvalidOperationError    the request contradicts the state (a cycle, a folder with content)
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from drivewake.lab.google.changelog import ChangeLog

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
GOOGLE_NATIVE_PREFIX = "application/vnd.google-apps."
ANYONE = "anyoneWithLink"

READER, COMMENTER, WRITER, FILE_ORGANIZER, ORGANIZER, OWNER = 1, 2, 3, 4, 5, 6
RANKS = {
    "reader": READER,
    "commenter": COMMENTER,
    "writer": WRITER,
    "fileOrganizer": FILE_ORGANIZER,
    "organizer": ORGANIZER,
    "owner": OWNER,
}
ROLES = {rank: role for role, rank in RANKS.items()}


class StateError(Exception):
    """The simulated Drive refused an operation."""


class FileMissingError(StateError):
    """The file is gone or hidden from the actor."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"File not found: {file_id}.")
        self.file_id = file_id


class DriveMissingError(StateError):
    """The shared drive is gone or the actor is not a member."""

    def __init__(self, drive_id: str) -> None:
        super().__init__(f"Shared drive not found: {drive_id}")
        self.drive_id = drive_id


class PartMissingError(StateError):
    """A file has no such permission, revision, comment or reply. `part` is one of these."""

    def __init__(self, part: str, part_id: str) -> None:
        super().__init__(f"{part.capitalize()} not found: {part_id}.")
        self.part = part
        self.part_id = part_id


class AccessDeniedError(StateError):
    """The actor's role on the file does not allow the operation."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"The user does not have sufficient permissions for file {file_id}.")
        self.file_id = file_id


class RuleError(StateError):
    """A rule of Drive forbids the operation whatever the actor's role."""

    def __init__(self, reason: str, message: str, code: int = 403) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class InvalidOperationError(StateError):
    """The operation makes no sense in this state."""


@dataclass(slots=True, frozen=True)
class Permission:
    """One line of a file's access list.

    `key` is what inheritance compares: a user's or group's permission id, `ANYONE`, or
    `domain:NAME`. It is also the permission's id at Google (domains apart). `discoverable`
    says that a domain or the public finds the file by searching, not by its link alone.
    """

    key: str
    type: str
    role: str
    email: str | None = None
    domain: str | None = None
    expires_ms: int | None = None
    discoverable: bool = False

    @property
    def rank(self) -> int:
        """How much the role allows; higher is more."""
        return RANKS[self.role]


@dataclass(slots=True, eq=False)
class User:
    """A principal with a My Drive of its own and a change log.

    `keys` are all the permission keys that give this user access: its own, those of its
    groups, its domain's and everyone's. `opened` are link-shared files the user has opened.
    """

    email: str
    name: str
    user_id: str
    permission_id: str
    log: ChangeLog
    keys: tuple[str, ...]
    root: "File" = field(init=False)
    owned: dict[str, "File"] = field(default_factory=dict)
    shared_with: dict[str, "File"] = field(default_factory=dict)
    opened: dict[str, "File"] = field(default_factory=dict)
    groups: tuple["Group", ...] = ()
    hidden_drives: frozenset[str] = frozenset()

    @property
    def domain(self) -> str:
        """The part of the address behind the at sign."""
        return self.email.rpartition("@")[2]


@dataclass(slots=True, eq=False)
class Group:
    """People who share one permission. `shared_with` are the files shared with the group."""

    email: str
    name: str
    permission_id: str
    members: dict[str, User] = field(default_factory=dict)
    shared_with: dict[str, "File"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class SharedDrive:
    """A drive that belongs to nobody; its id is that of its root folder, which has its name.

    Members are whoever has a permission on the root. `restrictions` are Google's, by name.
    """

    root: "File"
    log: ChangeLog
    created_ms: int
    restrictions: dict[str, bool] = field(default_factory=dict)
    color_rgb: str | None = None
    theme_id: str | None = None

    @property
    def id(self) -> str:
        """Google's id of the drive and of its root folder."""
        return self.root.id


class Content:
    """A blob as Google describes it; hashes are lower-case hex, computed when first asked for."""

    __slots__ = ("_md5", "_sealed_bytes", "_sha1", "_sha256", "data", "revision_id")

    def __init__(self, data: bytes, revision_id: str) -> None:
        self.data = data
        self.revision_id = revision_id
        self._sealed_bytes: int | None = None
        self._md5: str | None = None
        self._sha1: str | None = None
        self._sha256: str | None = None

    @classmethod
    def of(cls, data: bytes, revision_id: str) -> "Content":
        """Make content of bytes."""
        return cls(data, revision_id)

    @property
    def size_bytes(self) -> int:
        """How many bytes it has, or had."""
        return len(self.data) if self._sealed_bytes is None else self._sealed_bytes

    def seal(self) -> None:
        """Let go of bytes that nobody can ask for any more; size and hashes stay for history."""
        if self._sealed_bytes is None:
            _ = self.md5, self.sha1, self.sha256
            self._sealed_bytes, self.data = len(self.data), b""

    @property
    def md5(self) -> str:
        """The MD5 of the bytes."""
        if self._md5 is None:
            self._md5 = hashlib.md5(self.data, usedforsecurity=False).hexdigest()
        return self._md5

    @property
    def sha1(self) -> str:
        """The SHA-1 of the bytes."""
        if self._sha1 is None:
            self._sha1 = hashlib.sha1(self.data, usedforsecurity=False).hexdigest()
        return self._sha1

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes."""
        if self._sha256 is None:
            self._sha256 = hashlib.sha256(self.data).hexdigest()
        return self._sha256


@dataclass(slots=True, eq=False)
class Revision:
    """A version of a file's content that is no longer (or still) its head."""

    id: str
    content: Content | None
    mime_type: str
    name: str
    modified_ms: int
    user: User
    keep_forever: bool = False

    def seal(self) -> None:
        """Let go of its bytes."""
        if self.content is not None:
            self.content.seal()


@dataclass(slots=True, eq=False)
class Reply:
    """An answer to a comment; `action` is resolve or reopen. Deleted ones lose their content."""

    id: str
    author: User
    created_ms: int
    modified_ms: int
    content: str
    action: str | None = None
    deleted: bool = False


@dataclass(slots=True, eq=False)
class Comment:
    """A remark on a file, with its replies. Deleted ones lose their content."""

    id: str
    author: User
    created_ms: int
    modified_ms: int
    content: str
    anchor: str | None = None
    quoted: dict[str, str] | None = None
    resolved: bool | None = None
    deleted: bool = False
    replies: list[Reply] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Extras:
    """What few files have; kept apart so that a million plain files stay small.

    `body` is what a Google-native file exports. `target_id` is a shortcut's. `limited` means
    that inherited permissions are disabled. `resource_key` is needed beside the link.
    """

    starred_by: frozenset[str] = frozenset()
    resource_key: str | None = None
    limited: bool = False
    abusive: bool = False
    copy_restricted: bool = False
    writers_can_share: bool = True
    folder_color: str | None = None
    target_id: str | None = None
    target_resource_key: str | None = None
    body: bytes | None = None
    trashed_ms: int | None = None
    trashing_user: User | None = None
    properties: dict[str, str] | None = None
    app_properties: dict[str, str] | None = None
    original_filename: str | None = None
    head_kept: bool = False
    native_revision: int = 1
    older: list[Revision] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    openers: dict[str, User] = field(default_factory=dict)


NO_EXTRAS = Extras()


@dataclass(slots=True, eq=False)
class File:
    """A file or folder. Times are Unix milliseconds and may be negative or in the future.

    `owner` is None for what is in a shared drive, `drive` for what is not. `shares` holds
    the direct permissions other than the owner's, by key; None when there are none.
    `children` is None for what is not a folder. `grants` caches a folder's effective access
    and is valid while `grants_epoch` is the state's access epoch.
    """

    id: str
    ordinal: int
    name: str
    mime_type: str
    owner: User | None
    parent: "File | None"
    created_ms: int
    modified_ms: int
    last_modifying_user: User
    version: int = 1
    content: Content | None = None
    shares: dict[str, Permission] | None = None
    explicitly_trashed: bool = False
    description: str | None = None
    drive: SharedDrive | None = None
    extras: Extras | None = None
    children: "dict[str, File] | None" = None
    grants: Mapping[str, int] | None = None
    grants_epoch: int = -1

    @property
    def is_folder(self) -> bool:
        """Whether it can hold others."""
        return self.children is not None

    @property
    def is_root(self) -> bool:
        """Whether it is the root of a My Drive or of a shared drive."""
        return self.parent is None

    @property
    def is_native(self) -> bool:
        """Whether it is a Google document, which has no bytes of its own."""
        return self.mime_type.startswith(GOOGLE_NATIVE_PREFIX)

    @property
    def more(self) -> Extras:
        """The extras to read."""
        return self.extras or NO_EXTRAS

    def seal(self) -> None:
        """Let go of the bytes of all its contents: it is deleted."""
        for content in (self.content, *(revision.content for revision in self.more.older)):
            if content is not None:
                content.seal()

    def extend(self) -> Extras:
        """Return the extras to write."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras


class Change(NamedTuple):
    """One version of one file, or of a shared drive, and who can learn of it.

    `logs` are the ids of the change logs in which the file moved to the tail. `detail` says
    what was done in terms of its kind: names, parents and permissions before and after.
    """

    seq: int
    file_id: str
    version: int
    kind: str
    actor: str
    at_ns: int
    logs: tuple[str, ...]
    detail: Mapping[str, Any] | None = None
