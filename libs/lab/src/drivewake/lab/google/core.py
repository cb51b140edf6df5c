"""The ground the chapters of the state stand on: principals, places, sight, and the logs.

The chapters (tree, sharing, drives, remarks, revisions) are classes on `Core`; `DriveState`
joins them. No clock, no randomness of its own, no I/O: times and identifiers are passed in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from drivewake.lab.google.access import Access
from drivewake.lab.google.changelog import ChangeLog
from drivewake.lab.google.history import History, Image, Membership
from drivewake.lab.google.ids import Ids
from drivewake.lab.google.model import (
    ANYONE,
    FOLDER,
    WRITER,
    AccessDeniedError,
    Change,
    DriveMissingError,
    File,
    FileMissingError,
    Group,
    InvalidOperationError,
    SharedDrive,
    User,
)

_MAX_GENERATED = 100_000
_TOLD = frozenset({"create", "content", "rename", "metadata", "move", "move+rename", "delete"})
"""Kinds of changes that are in the logs of all who see a file of My Drive by name."""
_NO_KEYS: Mapping[str, str] = {}


class Core:
    """Users, groups, drives, files and change logs of one Google.

    `descendants_in_log` says whether trashing a folder also puts what is inside into the
    logs. Google documents only that permission changes do not; either way must be survived.
    """

    def __init__(self, seed: int = 0, *, descendants_in_log: bool = False) -> None:
        self._ids = Ids(seed, "drive")
        self._descendants_in_log = descendants_in_log
        self._generated: dict[str, None] = {}
        self._trashings = 0
        self.untold = 0
        """Counts changes that somebody can see, whose log may not tell of them."""
        self._ordinal = 0
        self._seq = 0
        self.access = Access()
        self.history = History()
        self.users: dict[str, User] = {}
        self.users_by_id: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.principals: dict[str, User | Group] = {}
        self.files: dict[str, File] = {}
        self.drives: dict[str, SharedDrive] = {}
        self.drive_ids: set[str] = set()
        """Every shared drive that ever was: what an entry of a change log is about."""

    @property
    def seq(self) -> int:
        """The number of the last change."""
        return self._seq

    def generate_ids(self, count: int) -> list[str]:
        """Return ids for files to come; the last 100,000 can be used."""
        ids = [self._ids.file() for _ in range(count)]
        self._generated.update(dict.fromkeys(ids))
        while len(self._generated) > _MAX_GENERATED:
            del self._generated[next(iter(self._generated))]
        return ids

    def is_generated(self, file_id: str) -> bool:
        """Whether the id was handed out for a file to come."""
        return file_id in self._generated

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes whenever a file may look different without a version of its own.

        That is what it inherits: access and the trash.
        """
        return self.access.epoch, self._trashings

    # --- principals -------------------------------------------------------------------

    def add_user(self, email: str, name: str, now_ms: int) -> User:
        """Create a user with an empty My Drive. Raises InvalidOperationError if it exists."""
        email = self._new_address(email)
        permission_id = self._ids.digits(20)
        user = User(
            email=email,
            name=name,
            user_id=self._ids.digits(21),
            permission_id=permission_id,
            log=ChangeLog(email, self._ids.between(1_000, 90_000_000)),
            keys=(permission_id, ANYONE, f"domain:{email.rpartition('@')[2]}"),
        )
        user.root = self._new_root("My Drive", user, user, now_ms * 1_000_000, self._ids.root())
        self.users[email] = self.users_by_id[user.user_id] = user
        self.principals[permission_id] = user
        self.access.add_principal(permission_id, (user,))
        return user

    def user(self, email: str) -> User:
        """Return the user. Raises InvalidOperationError when there is none."""
        try:
            return self.users[email.lower()]
        except KeyError:
            raise InvalidOperationError(f"No such user: {email}") from None

    def add_group(self, email: str, name: str) -> Group:
        """Create a group without members. Raises InvalidOperationError if it exists."""
        email = self._new_address(email)
        group = Group(email, name, self._ids.digits(20))
        self.groups[email] = self.principals[group.permission_id] = group
        self.access.add_principal(group.permission_id, ())
        return group

    def group(self, email: str) -> Group:
        """Return the group. Raises InvalidOperationError when there is none."""
        try:
            return self.groups[email.lower()]
        except KeyError:
            raise InvalidOperationError(f"No such group: {email}") from None

    def set_members(self, group: Group, users: Iterable[User], now_ns: int) -> list[Change]:
        """Replace a group's members.

        Files shared with the group change hands without an entry in any log: Drive records
        permissions, and none changed. Shared drives do tell who joins and who leaves.
        """
        wanted = {u.email: u for u in users}
        left = [u for email, u in group.members.items() if email not in wanted]
        came = [u for email, u in wanted.items() if email not in group.members]
        drives = [d for d in self.drives.values() if group.permission_id in (d.root.shares or {})]
        before = {d.id: {u.email: self.access.rank(u, d.root) for u in left + came} for d in drives}
        for user in left:
            user.keys = tuple(k for k in user.keys if k != group.permission_id)
            user.groups = tuple(g for g in user.groups if g is not group)
        for user in came:
            user.keys = (*user.keys, group.permission_id)
            user.groups = (*user.groups, group)
        was, group.members = group.members, wanted
        self.access.add_principal(group.permission_id, wanted.values())
        self.access.forget()
        rank = self.access.rank
        moved = {
            d.id: [u for u in left + came if before[d.id][u.email] != rank(u, d.root)]
            for d in drives
        }
        entry = Membership(group.permission_id, was)
        self.history.keep(entry, self._seq, now_ns, changes=any(moved.values()))
        return [
            self._record_drive(None, drive, "drive-members", moved[drive.id], now_ns)
            for drive in drives
            if moved[drive.id]
        ]

    def _new_address(self, email: str) -> str:
        email = email.lower()
        if email in self.users or email in self.groups or "@" not in email:
            raise InvalidOperationError(f"Exists already or is no address: {email}")
        return email

    def _new_root(
        self, name: str, owner: User | None, maker: User, now_ns: int, file_id: str
    ) -> File:
        now_ms = now_ns // 1_000_000
        root = File(
            id=file_id,
            ordinal=self._next_ordinal(),
            name=name,
            mime_type=FOLDER,
            owner=owner,
            parent=None,
            created_ms=now_ms,
            modified_ms=now_ms,
            last_modifying_user=maker,
            children={},
        )
        self.history.keep(root.id, self._seq, now_ns, changes=owner is None)
        self.files[root.id] = root
        return root

    # --- reading ----------------------------------------------------------------------

    def find(self, user: User, file_id: str, resource_keys: Mapping[str, str] = _NO_KEYS) -> File:
        """Return a file the user can see; `root` is its My Drive. Raises FileMissingError.

        A file that the user can see through its link alone, and has not opened before, may
        ask for its resource key beside the id.
        """
        file = user.root if file_id == "root" else self.files.get(file_id)
        if file is None or self.access.rank(user, file) == 0:
            raise FileMissingError(file_id)
        key = file.more.resource_key
        if key is not None and resource_keys.get(file_id) != key and not self.is_known(user, file):
            raise FileMissingError(file_id)
        return file

    def is_known(self, user: User, file: File) -> bool:
        """Whether the user has access by name, or came by the link before."""
        if file.owner is user or user.email in file.more.openers:
            return True
        grants = self.access.grants(file)
        return any(grants.get(k, 0) for k in user.keys if k != ANYONE and k[:7] != "domain:")

    def shared_drive(self, user: User, drive_id: str) -> SharedDrive:
        """Return a shared drive the user is a member of. Raises DriveMissingError."""
        drive = self.drives.get(drive_id)
        if drive is None or self.access.rank(user, drive.root) == 0:
            raise DriveMissingError(drive_id)
        return drive

    def drives_of(self, user: User) -> list[SharedDrive]:
        """Return the shared drives the user is a member of, oldest first."""
        return [d for d in self.drives.values() if self.access.rank(user, d.root)]

    def is_trashed(self, file: File) -> bool:
        """Whether it, or a folder above it, was put into the trash."""
        at: File | None = file
        while at is not None:
            if at.explicitly_trashed:
                return True
            at = at.parent
        return False

    def visible(self, user: User, *, drives: bool = True) -> list[File]:
        """Return what the user's listings hold, roots apart, in order of creation.

        Owned files, files shared with the user or its groups, links it opened, everything
        below them, and, with `drives`, what is in its shared drives.
        """
        found: dict[str, File] = dict(user.owned)
        pending: list[File] = [user.root, *user.owned.values()]
        for shelf in (user.shared_with, user.opened, *(g.shared_with for g in user.groups)):
            for file in shelf.values():
                if file.id not in found and (drives or file.drive is None):
                    found[file.id] = file
                    pending.append(file)
        if drives:
            pending += (d.root for d in self.drives_of(user))
        while pending:
            for child in (pending.pop().children or {}).values():
                if child.id in found:
                    continue
                if child.more.limited and not self.access.rank(user, child):
                    continue
                found[child.id] = child
                pending.append(child)
        shown = (f for f in found.values() if not f.is_root and self.access.rank(user, f))
        return sorted(shown, key=lambda f: f.ordinal)

    # --- inside -----------------------------------------------------------------------

    def _keep(self, file: File, now_ns: int) -> None:
        """Remember a file as it is, before it changes."""
        self.history.keep(Image.of(file), self._seq, now_ns)

    def _next_ordinal(self) -> int:
        self._ordinal += 1
        return self._ordinal

    def _writable(self, actor: User, file_id: str, least: int = WRITER) -> File:
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < least:
            raise AccessDeniedError(file_id)
        if file.is_root:
            raise InvalidOperationError("A root cannot be changed.")
        return file

    def _least(self, file: File, in_my_drive: int, in_a_drive: int) -> int:
        """Return the rank an operation needs, by where the file is."""
        return in_my_drive if file.drive is None else in_a_drive

    def _writable_folder(self, actor: User, folder_id: str) -> File:
        folder = self.find(actor, folder_id)
        if not folder.is_folder:
            raise InvalidOperationError("The specified parent is not a folder.")
        if self.access.rank(actor, folder) < WRITER:
            raise AccessDeniedError(folder_id)
        return folder

    def _record(
        self,
        actor: User | None,
        file: File,
        kind: str,
        grants: Mapping[str, int],
        now_ns: int,
        detail: Mapping[str, Any] | None = None,
        left: SharedDrive | None = None,
        also: Iterable[User] = (),
    ) -> Change:
        """Put a file at the tail of the logs that carry it.

        A shared drive has a log of its own; of its items only the acting user and those the
        item itself is shared with find something in their own logs, as Google promises
        nothing for these. Who opened a link-shared file follows it from then on. `left` is
        the drive that the file was in before, `also` are users who would not be found here.
        """
        drive = file.drive
        if kind not in _TOLD or ANYONE in grants or any(k[:7] == "domain:" for k in grants):
            self.untold += 1
        if drive is None:
            audience = self.access.audience(grants)
        else:
            self.untold += 1
            audience = self.access.audience(k for k in file.shares or () if k in grants)
            also = (*also, *(() if actor is None else (actor,)))
        if file.extras is not None and ANYONE in grants:
            also = (*also, *file.extras.openers.values())
        if also:
            audience = list(dict.fromkeys((*audience, *also)))
        at_ms = now_ns // 1_000_000
        logs = [u.log for u in audience]
        logs += (d.log for d in dict.fromkeys((left, drive)) if d is not None)
        return self._write(file.id, file.version, kind, actor, now_ns, logs, detail, at_ms)

    def _record_drive(
        self,
        actor: User | None,
        drive: SharedDrive,
        kind: str,
        users: Iterable[User],
        now_ns: int,
        detail: Mapping[str, Any] | None = None,
    ) -> Change:
        """Put a shared drive at the tail of its own log and of those of some users."""
        drive.root.version += 1
        self.untold += 1
        logs = [*(u.log for u in users), drive.log]
        at_ms = now_ns // 1_000_000
        version = drive.root.version
        return self._write(drive.id, version, kind, actor, now_ns, logs, detail, at_ms)

    def _write(
        self,
        file_id: str,
        version: int,
        kind: str,
        actor: User | None,
        now_ns: int,
        logs: list[ChangeLog],
        detail: Mapping[str, Any] | None,
        at_ms: int,
    ) -> Change:
        self._seq += 1
        for log in logs:
            log.append(file_id, at_ms)
        names = tuple([log.id for log in logs])
        who = "" if actor is None else actor.email
        return Change(self._seq, file_id, version, kind, who, now_ns, names, detail)


def children_of(folder: File | None) -> dict[str, File]:
    """Return a folder's children by id. Raises InvalidOperationError for what is no folder."""
    if folder is None or folder.children is None:
        raise InvalidOperationError("Not a folder.")
    return folder.children


def below(file: File) -> list[File]:
    """Return all descendants, parents before children."""
    found: list[File] = []
    pending = [file]
    while pending:
        for child in (pending.pop().children or {}).values():
            found.append(child)
            pending.append(child)
    return found
