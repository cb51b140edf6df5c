"""What every Drive of the simulated world holds, and the operations that change it. Pure.

No clock, no randomness of its own, no I/O: times and identifiers are passed in. Every
operation returns the changes it made, each a version of one file with the logs that carry it.
"""

from collections.abc import Iterable, Mapping

from drivewake.lab.google.access import Access
from drivewake.lab.google.changelog import ChangeLog
from drivewake.lab.google.ids import Ids
from drivewake.lab.google.model import (
    ANYONE,
    FOLDER,
    GOOGLE_NATIVE_PREFIX,
    OWNER,
    WRITER,
    AccessDeniedError,
    Change,
    Content,
    File,
    FileMissingError,
    InvalidOperationError,
    Permission,
    User,
)


class DriveState:
    """Users, files and change logs of one Google.

    `descendants_in_log` says whether trashing a folder also puts what is inside into the
    logs. Google documents only that permission changes do not; either way must be survived.
    """

    def __init__(self, seed: int = 0, *, descendants_in_log: bool = False) -> None:
        self._ids = Ids(seed, "drive")
        self._descendants_in_log = descendants_in_log
        self._ordinal = 0
        self._seq = 0
        self.access = Access()
        self.users: dict[str, User] = {}
        self.users_by_id: dict[str, User] = {}
        self.files: dict[str, File] = {}

    # --- principals -------------------------------------------------------------------

    def add_user(self, email: str, name: str, now_ms: int) -> User:
        """Create a user with an empty My Drive. Raises InvalidOperationError if it exists."""
        email = email.lower()
        if email in self.users or "@" not in email:
            raise InvalidOperationError(f"User exists already or is no address: {email}")
        permission_id = self._ids.digits(20)
        user = User(
            email=email,
            name=name,
            user_id=self._ids.digits(21),
            permission_id=permission_id,
            log=ChangeLog(email, self._ids.between(1_000, 90_000_000)),
            keys=(permission_id, ANYONE, f"domain:{email.rpartition('@')[2]}"),
        )
        root = File(
            id=self._ids.root(),
            ordinal=self._next_ordinal(),
            name="My Drive",
            mime_type=FOLDER,
            owner=user,
            parent=None,
            created_ms=now_ms,
            modified_ms=now_ms,
            last_modifying_user=user,
            children={},
        )
        user.root = root
        self.files[root.id] = root
        self.users[email] = self.users_by_id[user.user_id] = user
        self.access.add_principal(permission_id, (user,))
        return user

    def user(self, email: str) -> User:
        """Return the user. Raises InvalidOperationError when there is none."""
        try:
            return self.users[email.lower()]
        except KeyError:
            raise InvalidOperationError(f"No such user: {email}") from None

    # --- reading ----------------------------------------------------------------------

    def find(self, user: User, file_id: str) -> File:
        """Return a file the user can see; `root` is its My Drive. Raises FileMissingError."""
        file = user.root if file_id == "root" else self.files.get(file_id)
        if file is None or self.access.rank(user, file) == 0:
            raise FileMissingError(file_id)
        return file

    def is_trashed(self, file: File) -> bool:
        """Whether it, or a folder above it, was put into the trash."""
        at: File | None = file
        while at is not None:
            if at.explicitly_trashed:
                return True
            at = at.parent
        return False

    def visible(self, user: User) -> list[File]:
        """Return what the user's listings hold, roots apart, in order of creation.

        Owned files, files shared with the user by name and everything below them.
        """
        found: dict[str, File] = dict(user.owned)
        pending: list[File] = [user.root, *user.owned.values(), *user.shared_with.values()]
        found.update(user.shared_with)
        while pending:
            for child in (pending.pop().children or {}).values():
                if child.id not in found:
                    found[child.id] = child
                    pending.append(child)
        return sorted(found.values(), key=lambda f: f.ordinal)

    # --- writing ----------------------------------------------------------------------

    def create(  # noqa: PLR0913 - a file has this many properties of its own
        self,
        actor: User,
        name: str,
        parent_id: str,
        now_ns: int,
        *,
        mime_type: str = FOLDER,
        data: bytes | None = None,
        created_ms: int | None = None,
        modified_ms: int | None = None,
        description: str | None = None,
    ) -> Change:
        """Create a file or folder in a folder the actor may write.

        Raises FileMissingError for a hidden parent, AccessDeniedError, InvalidOperationError.
        """
        parent = self._writable_folder(actor, parent_id)
        if data is not None and mime_type.startswith(GOOGLE_NATIVE_PREFIX):
            raise InvalidOperationError(f"A {mime_type} has no content of its own.")
        now_ms = now_ns // 1_000_000
        file = File(
            id=self._ids.file(),
            ordinal=self._next_ordinal(),
            name=name,
            mime_type=mime_type,
            owner=actor,
            parent=parent,
            created_ms=now_ms if created_ms is None else created_ms,
            modified_ms=now_ms if modified_ms is None else modified_ms,
            last_modifying_user=actor,
            description=description,
            children={} if mime_type == FOLDER else None,
        )
        if data is not None:
            file.content = Content.of(data, self._ids.revision())
        self.files[file.id] = file
        actor.owned[file.id] = file
        _children(parent)[file.id] = file
        return self._record(actor, file, "create", self.access.grants(file), now_ns)

    def edit(  # noqa: PLR0913 - one call, one version: all that may change together
        self,
        actor: User,
        file_id: str,
        now_ns: int,
        *,
        name: str | None = None,
        parent_id: str | None = None,
        data: bytes | None = None,
        modified_ms: int | None = None,
        created_ms: int | None = None,
        mime_type: str | None = None,
        description: str | None = None,
    ) -> Change:
        """Change content, name and place in one version.

        A move leaves `modifiedTime` alone, content and name advance it unless the caller
        gives it. Raises FileMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self._writable(actor, file_id)
        if data is not None and file.mime_type.startswith(GOOGLE_NATIVE_PREFIX):
            raise InvalidOperationError(f"A {file.mime_type} has no content of its own.")
        before = self.access.grants(file)
        kinds: list[str] = []
        if parent_id is not None:
            self._move(actor, file, parent_id)
            kinds.append("move")
        if data is not None:
            file.content = Content.of(data, self._ids.revision())
            kinds.append("content")
        if name is not None:
            file.name = name
            kinds.append("rename")
        if mime_type is not None and not file.is_folder:
            file.mime_type = mime_type
            kinds.append("metadata")
        if description is not None:
            file.description = description
            kinds.append("metadata")
        if modified_ms is not None:
            file.modified_ms = modified_ms
        elif {"content", "rename", "metadata"} & set(kinds):
            file.modified_ms = now_ns // 1_000_000
        if created_ms is not None:
            file.created_ms = created_ms
        file.last_modifying_user = actor
        file.version += 1
        kind = "+".join(dict.fromkeys(kinds)) or "metadata"
        return self._record(actor, file, kind, {**before, **self.access.grants(file)}, now_ns)

    def trash(self, actor: User, file_id: str, now_ns: int, *, trashed: bool) -> list[Change]:
        """Put a file into the trash or take it out; no change when it is there already.

        Raises FileMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self._writable(actor, file_id)
        if file.explicitly_trashed == trashed:
            return []
        file.explicitly_trashed = trashed
        file.version += 1
        kind = "trash" if trashed else "untrash"
        changes = [self._record(actor, file, kind, self.access.grants(file), now_ns)]
        if self._descendants_in_log:
            for child in _below(file):
                child.version += 1
                grants = self.access.grants(child)
                changes.append(self._record(actor, child, f"{kind}-parent", grants, now_ns))
        return changes

    def delete(self, actor: User, file_id: str, now_ns: int) -> list[Change]:
        """Delete for ever, with everything below that the actor owns; owners only.

        What others own below falls back to their own My Drive. Raises FileMissingError,
        AccessDeniedError, InvalidOperationError.
        """
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < OWNER:
            raise AccessDeniedError(file_id)
        if file.is_root:
            raise InvalidOperationError("A root cannot be deleted.")
        doomed = [file, *_below(file)]
        grants = {f.id: dict(self.access.grants(f)) for f in doomed}
        changes: list[Change] = []
        for victim in reversed(doomed):
            _children(victim.parent).pop(victim.id, None)
            victim.version += 1
            if victim.owner is actor:
                self._forget_file(victim)
                kind = "delete"
            else:
                victim.parent = victim.owner.root
                _children(victim.parent)[victim.id] = victim
                kind = "orphan"
            changes.append(self._record(actor, victim, kind, grants[victim.id], now_ns))
        self.access.forget()
        return changes

    def set_permissions(
        self, actor: User, file_id: str, permissions: Iterable[Permission], now_ns: int
    ) -> Change | None:
        """Replace the direct permissions other than the owner's; None when nothing changes.

        The change goes to the owner's log and to those whose access it touches, to nobody
        else (about-changes). Raises FileMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self._writable(actor, file_id)
        wanted = {p.key: p for p in permissions if p.key != file.owner.permission_id}
        if wanted == (file.shares or {}):
            return None
        before = dict(self.access.grants(file))
        old = file.shares or {}
        for key in {**old, **wanted}:
            for user in self.access.audience({key: 0}):
                if key in wanted:
                    user.shared_with[file.id] = file
                else:
                    user.shared_with.pop(file.id, None)
        file.shares = wanted or None
        file.version += 1
        self.access.forget()
        after = self.access.grants(file)
        touched = {k: 1 for k in {**before, **after} if before.get(k) != after.get(k)}
        touched[file.owner.permission_id] = 1
        return self._record(actor, file, "permissions", touched, now_ns)

    def permission(self, kind: str, role: str, email: str | None, domain: str | None) -> Permission:
        """Build a permission for a user, a domain or anyone. Raises InvalidOperationError."""
        if kind == "user" and email is not None:
            user = self.user(email)
            return Permission(user.permission_id, "user", role, email=user.email)
        if kind == "domain" and domain is not None:
            return Permission(f"domain:{domain}", "domain", role, domain=domain)
        if kind == "anyone":
            return Permission(ANYONE, "anyone", role)
        raise InvalidOperationError(f"Not a permission: type {kind!r}, {email!r}, {domain!r}")

    # --- inside -----------------------------------------------------------------------

    def _next_ordinal(self) -> int:
        self._ordinal += 1
        return self._ordinal

    def _writable(self, actor: User, file_id: str) -> File:
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < WRITER:
            raise AccessDeniedError(file_id)
        if file.is_root:
            raise InvalidOperationError("A root cannot be changed.")
        return file

    def _writable_folder(self, actor: User, folder_id: str) -> File:
        folder = self.find(actor, folder_id)
        if not folder.is_folder:
            raise InvalidOperationError("The specified parent is not a folder.")
        if self.access.rank(actor, folder) < WRITER:
            raise AccessDeniedError(folder_id)
        return folder

    def _move(self, actor: User, file: File, parent_id: str) -> None:
        target = self._writable_folder(actor, parent_id)
        at: File | None = target
        while at is not None:
            if at is file:
                raise InvalidOperationError("The file cannot become its own ancestor.")
            at = at.parent
        _children(file.parent).pop(file.id, None)
        _children(target)[file.id] = file
        file.parent = target
        if file.is_folder:
            self.access.forget()

    def _forget_file(self, file: File) -> None:
        del self.files[file.id]
        file.owner.owned.pop(file.id, None)
        for user in self.access.audience(dict.fromkeys(file.shares or {}, 0)):
            user.shared_with.pop(file.id, None)

    def _record(
        self, actor: User, file: File, kind: str, grants: Mapping[str, int], now_ns: int
    ) -> Change:
        self._seq += 1
        audience = self.access.audience(grants)
        for user in audience:
            user.log.append(file.id, now_ns // 1_000_000)
        logs = tuple(user.log.id for user in audience)
        return Change(self._seq, file.id, file.version, kind, actor.email, now_ns, logs)


def _children(folder: File | None) -> dict[str, File]:
    if folder is None or folder.children is None:
        raise InvalidOperationError("Not a folder.")
    return folder.children


def _below(file: File) -> list[File]:
    """Return all descendants, parents before children."""
    found: list[File] = []
    pending = [file]
    while pending:
        for child in (pending.pop().children or {}).values():
            found.append(child)
            pending.append(child)
    return found
