"""The nouns of a Drive: users, files, permissions, contents, changes. Plain records, no I/O.

StateError
├── FileMissingError   the file is gone, or the actor cannot see it: Google never says which
├── AccessDeniedError        the actor sees the file but may not do this
└── InvalidOperationError    the request contradicts the state (a cycle, a folder with content)
"""

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

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


class AccessDeniedError(StateError):
    """The actor's role on the file does not allow the operation."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"The user does not have sufficient permissions for file {file_id}.")
        self.file_id = file_id


class InvalidOperationError(StateError):
    """The operation makes no sense in this state."""


@dataclass(slots=True, frozen=True)
class Permission:
    """One line of a file's access list.

    `key` is what inheritance compares: a user's or group's permission id, `ANYONE`, or
    `domain:NAME`. It is also the permission's id at Google (domains apart).
    """

    key: str
    type: str
    role: str
    email: str | None = None
    domain: str | None = None

    @property
    def rank(self) -> int:
        """How much the role allows; higher is more."""
        return RANKS[self.role]


@dataclass(slots=True, eq=False)
class User:
    """A principal with a My Drive of its own and a change log.

    `keys` are all the permission keys that give this user access: its own, those of its
    groups, its domain's and everyone's.
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

    @property
    def domain(self) -> str:
        """The part of the address behind the at sign."""
        return self.email.rpartition("@")[2]


@dataclass(slots=True, frozen=True)
class Content:
    """A blob as Google describes it; hashes are lower-case hex, computed from the bytes."""

    revision_id: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: str
    data: bytes | None

    @classmethod
    def of(cls, data: bytes, revision_id: str) -> "Content":
        """Hash `data`."""
        return cls(
            revision_id,
            len(data),
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
            hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            hashlib.sha256(data).hexdigest(),
            data,
        )


@dataclass(slots=True, eq=False)
class File:
    """A file or folder. Times are Unix milliseconds and may be negative or in the future.

    `shares` holds the direct permissions other than the owner's, by key; None when there
    are none. `children` is None for what is not a folder. `grants` caches a folder's
    effective access and is valid while `grants_epoch` is the state's access epoch.
    """

    id: str
    ordinal: int
    name: str
    mime_type: str
    owner: User
    parent: "File | None"
    created_ms: int
    modified_ms: int
    last_modifying_user: User
    version: int = 1
    content: Content | None = None
    shares: dict[str, Permission] | None = None
    explicitly_trashed: bool = False
    description: str | None = None
    starred_by: frozenset[str] = frozenset()
    children: "dict[str, File] | None" = None
    grants: dict[str, int] | None = None
    grants_epoch: int = -1

    @property
    def is_folder(self) -> bool:
        """Whether it can hold others."""
        return self.children is not None

    @property
    def is_root(self) -> bool:
        """Whether it is the root of a My Drive."""
        return self.parent is None


class Change(NamedTuple):
    """One version of one file and who can learn of it.

    `logs` are the ids of the change logs in which the file moved to the tail.
    """

    seq: int
    file_id: str
    version: int
    kind: str
    actor: str
    at_ns: int
    logs: tuple[str, ...]
