"""Files and folders coming to be, changing, moving, going: what people do all day. Pure."""

from collections.abc import Mapping
from typing import Any

from drivewake.lab.google.core import Core, below, children_of
from drivewake.lab.google.history import Opening
from drivewake.lab.google.model import (
    FILE_ORGANIZER,
    FOLDER,
    ORGANIZER,
    OWNER,
    SHORTCUT,
    WRITER,
    AccessDeniedError,
    Change,
    Content,
    File,
    InvalidOperationError,
    Revision,
    RuleError,
    SharedDrive,
    User,
)

_MAX_OLD_REVISIONS = 100


class Tree(Core):
    """Create, edit, move, copy, trash, delete, star, open."""

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
        extras: Mapping[str, Any] | None = None,
        file_id: str | None = None,
    ) -> Change:
        """Create a file or folder in a folder the actor may write.

        `extras` are fields of `Extras`, `file_id` one that was generated before. Raises
        FileMissingError for a hidden parent, AccessDeniedError, InvalidOperationError.
        """
        parent = self._writable_folder(actor, parent_id)
        if data is not None and mime_type in {FOLDER, SHORTCUT}:
            raise InvalidOperationError(f"A {mime_type} has no content of its own.")
        if file_id is not None and file_id in self.files:
            raise RuleError("fileIdInUse", "A file already exists with the provided ID.", 409)
        now_ms = now_ns // 1_000_000
        file = File(
            id=file_id or self._ids.file(),
            ordinal=self._next_ordinal(),
            name=name,
            mime_type=mime_type,
            owner=actor if parent.drive is None else None,
            parent=parent,
            created_ms=now_ms if created_ms is None else created_ms,
            modified_ms=now_ms if modified_ms is None else modified_ms,
            last_modifying_user=actor,
            description=description,
            drive=parent.drive,
            children={} if mime_type == FOLDER else None,
        )
        if extras:
            _set_extras(file, extras)
        if data is not None:
            self._fill(file, data)
        self.history.keep(file.id, self._seq, now_ns)
        self.files[file.id] = file
        if parent.drive is None:
            actor.owned[file.id] = file
        children_of(parent)[file.id] = file
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
        extras: Mapping[str, Any] | None = None,
    ) -> Change:
        """Change content, name and place in one version.

        A move leaves `modifiedTime` alone, content and name advance it unless the caller
        gives it. Raises FileMissingError, AccessDeniedError, InvalidOperationError, RuleError.
        """
        file = self._writable(actor, file_id)
        if data is not None and file.mime_type in {FOLDER, SHORTCUT}:
            raise InvalidOperationError(f"A {file.mime_type} has no content of its own.")
        left, before, detail = file.drive, self.access.grants(file), dict[str, Any]()
        kinds: list[str] = []
        if parent_id is not None:
            detail |= {"removed_parents": [file.parent.id] if file.parent else []}
            self._move(actor, file, parent_id, now_ns)
            detail |= {"added_parents": [file.parent.id] if file.parent else []}
            kinds.append("move")
        else:
            self._keep(file, now_ns)
        kinds += self._describe(file, detail, data, name, mime_type, description, extras)
        if modified_ms is not None:
            file.modified_ms = modified_ms
        elif {"content", "rename", "metadata"} & set(kinds):
            file.modified_ms = now_ns // 1_000_000
        if created_ms is not None:
            file.created_ms = created_ms
        file.last_modifying_user = actor
        file.version += 1
        kind = "+".join(dict.fromkeys(kinds)) or "metadata"
        after = self.access.grants(file)
        if left is file.drive:
            return self._record(actor, file, kind, {**before, **after}, now_ns, detail)
        also = self.access.audience(before) if left is None else ()
        return self._record(actor, file, kind, after, now_ns, detail, left, also)

    def copy(self, actor: User, file_id: str, now_ns: int, parent_id: str, name: str) -> Change:
        """Copy a file into a folder; shares and history stay behind.

        Raises FileMissingError, AccessDeniedError, RuleError for what cannot be copied.
        """
        file = self.find(actor, file_id)
        restricted = file.more.copy_restricted and self.access.rank(actor, file) < WRITER
        if file.is_folder or restricted:
            raise RuleError("cannotCopyFile", "This file cannot be copied by the user.")
        more = file.more
        kept = {"target_id": more.target_id, "body": more.body, "properties": more.properties}
        change = self.create(
            actor,
            name,
            parent_id,
            now_ns,
            mime_type=file.mime_type,
            data=file.content.data if file.content else None,
            description=file.description,
            extras={k: v for k, v in kept.items() if v is not None},
        )
        return change._replace(detail={"copied_from": file.id})

    def trash(self, actor: User, file_id: str, now_ns: int, *, trashed: bool) -> list[Change]:
        """Put a file into the trash or take it out; no change when it is there already.

        Only its owner may trash a file, in a shared drive whoever may manage its content.
        Raises FileMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self._writable(actor, file_id)
        if self.access.rank(actor, file) < self._least(file, OWNER, FILE_ORGANIZER):
            raise AccessDeniedError(file_id)
        if file.explicitly_trashed == trashed:
            return []
        self._keep(file, now_ns)
        file.explicitly_trashed = trashed
        self._trashings += 1
        if file.drive is not None:
            extras = file.extend()
            extras.trashed_ms = now_ns // 1_000_000 if trashed else None
            extras.trashing_user = actor if trashed else None
        file.version += 1
        kind = "trash" if trashed else "untrash"
        changes = [self._record(actor, file, kind, self.access.grants(file), now_ns)]
        if self._descendants_in_log:
            for child in below(file):
                self._keep(child, now_ns)
                child.version += 1
                grants = self.access.grants(child)
                changes.append(self._record(actor, child, f"{kind}-parent", grants, now_ns))
        return changes

    def delete(self, actor: User, file_id: str, now_ns: int) -> list[Change]:
        """Delete for ever, with everything below that the actor owns; owners only.

        What others own below falls back to their own My Drive. In a shared drive organizers
        delete. Raises FileMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < self._least(file, OWNER, ORGANIZER):
            raise AccessDeniedError(file_id)
        if file.is_root:
            raise InvalidOperationError("A root cannot be deleted.")
        return self._destroy(actor, file, now_ns)

    def empty_trash(
        self, actor: User, now_ns: int, drive: SharedDrive | None = None
    ) -> list[Change]:
        """Delete all that the actor has in the trash, or all in a drive's trash.

        Raises AccessDeniedError.
        """
        if drive is None:
            files = list(actor.owned.values())
        else:
            if self.access.rank(actor, drive.root) < ORGANIZER:
                raise AccessDeniedError(drive.id)
            files = below(drive.root)
        changes: list[Change] = []
        for file in files:
            if file.explicitly_trashed and file.id in self.files:
                changes += self._destroy(actor, file, now_ns)
        return changes

    def star(self, actor: User, file_id: str, now_ns: int, *, starred: bool) -> Change | None:
        """Star a file for oneself: an entry in the actor's own log, in nobody else's."""
        file = self.find(actor, file_id)
        if starred == (actor.email in file.more.starred_by):
            return None
        self._keep(file, now_ns)
        extras = file.extend()
        extras.starred_by = extras.starred_by ^ {actor.email}
        file.version += 1
        self.untold += 1
        kind = "star" if starred else "unstar"
        at_ms = now_ns // 1_000_000
        return self._write(file.id, file.version, kind, actor, now_ns, [actor.log], None, at_ms)

    def open(self, actor: User, file: File, now_ns: int) -> Change | None:
        """Note that the actor opened a file it sees.

        The first time a link leads there, the file enters the actor's log and listings, and
        nobody else's.
        """
        if self.is_known(actor, file):
            return None
        self.history.keep(Opening(file.id, actor.email), self._seq, now_ns)
        file.extend().openers[actor.email] = actor
        actor.opened[file.id] = file
        self.untold += 1
        at_ms = now_ns // 1_000_000
        return self._write(file.id, file.version, "open", actor, now_ns, [actor.log], None, at_ms)

    # --- inside -----------------------------------------------------------------------

    def _describe(
        self,
        file: File,
        detail: dict[str, Any],
        data: bytes | None,
        name: str | None,
        mime_type: str | None,
        description: str | None,
        extras: Mapping[str, Any] | None,
    ) -> list[str]:
        """Give a file its new content and names; return what kinds of change these are."""
        kinds: list[str] = []
        if data is not None:
            self._fill(file, data)
            kinds.append("content")
        if name is not None:
            detail |= {"old_name": file.name, "new_name": name}
            file.name = name
            kinds.append("rename")
        if mime_type is not None and not file.is_folder:
            file.mime_type = mime_type
            kinds.append("metadata")
        if description is not None:
            file.description = description
            kinds.append("metadata")
        if extras:
            _set_extras(file, extras)
            kinds.append("permissions" if "limited" in extras else "metadata")
            if file.is_folder:
                self.access.forget()
        return kinds

    def _fill(self, file: File, data: bytes) -> None:
        """Give a file its (next) content; what it had becomes an older revision."""
        if file.is_native:
            extras = file.extend()
            if extras.body is not None:
                self._retire(file, str(extras.native_revision))
                extras.native_revision += 1
            extras.body = data
            return
        if file.content is not None:
            self._retire(file, file.content.revision_id)
        file.content = Content(data, self._ids.revision())

    def _retire(self, file: File, revision_id: str) -> None:
        extras = file.extend()
        extras.older.append(
            Revision(
                revision_id,
                file.content,
                file.mime_type,
                extras.original_filename or file.name,
                file.modified_ms,
                file.last_modifying_user,
                extras.head_kept,
            )
        )
        extras.head_kept = False
        droppable = [r for r in extras.older if not r.keep_forever]
        if len(droppable) > _MAX_OLD_REVISIONS:
            droppable[0].seal()
            extras.older.remove(droppable[0])

    def _destroy(self, actor: User, file: File, now_ns: int) -> list[Change]:
        doomed = [file, *below(file)]
        grants = [self.access.grants(f) for f in doomed]
        changes: list[Change] = []
        for victim, seen_by in zip(reversed(doomed), reversed(grants), strict=True):
            self._keep(victim, now_ns)
            detail = {"removed_parents": [victim.parent.id] if victim.parent else []}
            children_of(victim.parent).pop(victim.id, None)
            victim.version += 1
            if victim.owner is None or victim.owner is actor:
                changes.append(self._record(actor, victim, "delete", seen_by, now_ns, detail))
                self._forget_file(victim)
            else:
                victim.parent = victim.owner.root
                children_of(victim.parent)[victim.id] = victim
                changes.append(self._record(actor, victim, "orphan", seen_by, now_ns, detail))
        if file.is_folder:
            self.access.forget()
        return changes

    def _forget_file(self, file: File) -> None:
        del self.files[file.id]
        file.seal()
        if file.owner is not None:
            file.owner.owned.pop(file.id, None)
        for key in file.shares or ():
            holder = self.principals.get(key)
            if holder is not None:
                holder.shared_with.pop(file.id, None)
        for user in file.more.openers.values():
            user.opened.pop(file.id, None)

    def _move(self, actor: User, file: File, parent_id: str, now_ns: int) -> None:
        target = self._writable_folder(actor, parent_id)
        at: File | None = target
        while at is not None:
            if at is file:
                raise InvalidOperationError("The file cannot become its own ancestor.")
            at = at.parent
        rank = self.access.rank(actor, file)
        crosses = target.drive is not file.drive
        if file.drive is not None and rank < (ORGANIZER if crosses else FILE_ORGANIZER):
            raise AccessDeniedError(file.id)
        if crosses:
            self._check_crossing(actor, file)
        self._keep(file, now_ns)
        children_of(file.parent).pop(file.id, None)
        children_of(target)[file.id] = file
        file.parent = target
        if crosses:
            _settle(file, target.drive, actor)
            for moved in below(file):
                self._keep(moved, now_ns)
                _settle(moved, target.drive, actor)
        if file.is_folder:
            self.access.forget()

    def _check_crossing(self, actor: User, file: File) -> None:
        """Refuse to carry into a drive what the actor does not own."""
        if file.drive is None and any(f.owner is not actor for f in (file, *below(file))):
            raise RuleError(
                "fileOwnerNotMemberOfTeamDrive",
                "Cannot move a file into a shared drive as a writer when the owner is not a "
                "member of that shared drive.",
            )


def _settle(file: File, drive: SharedDrive | None, actor: User) -> None:
    """Make a file the drive's, or the actor's when it leaves all drives."""
    if file.owner is not None:
        file.owner.owned.pop(file.id, None)
    file.drive = drive
    file.owner = actor if drive is None else None
    if drive is None:
        actor.owned[file.id] = file


def _set_extras(file: File, values: Mapping[str, Any]) -> None:
    extras = file.extend()
    for name, value in values.items():
        setattr(extras, name, value)
