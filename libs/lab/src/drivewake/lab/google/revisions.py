"""The earlier contents of a file, and which of them stay. Pure."""

from drivewake.lab.google.core import Core
from drivewake.lab.google.model import (
    WRITER,
    AccessDeniedError,
    Change,
    File,
    PartMissingError,
    Revision,
    RuleError,
    User,
)

_PURGED_AFTER_MS = 30 * 86_400_000
_MAX_KEPT = 200


class Revisions(Core):
    """What `revisions.*` does."""

    def revisions(self, actor: User, file_id: str, now_ms: int) -> list[Revision]:
        """Return the revisions that still exist, oldest first, the head last.

        What newer content replaced is purged after 30 days unless it is kept for ever. A
        folder has none. Raises FileMissingError, AccessDeniedError for who may not write,
        RuleError (`revisionsNotSupported`; that a folder meets it is inferred).
        """
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < WRITER:
            raise AccessDeniedError(file_id)
        if file.is_folder:
            raise RuleError("revisionsNotSupported", "The file does not support revisions.")
        head = _head(file)
        newer = [*(r.modified_ms for r in file.more.older[1:]), head.modified_ms]
        kept = [
            r
            for r, replaced_ms in zip(file.more.older, newer, strict=False)
            if r.keep_forever or replaced_ms > now_ms - _PURGED_AFTER_MS
        ]
        return [*kept, head]

    def revision(self, actor: User, file_id: str, revision_id: str, now_ms: int) -> Revision:
        """Return one; `head` is the newest. Raises as above, and PartMissingError."""
        found = self.revisions(actor, file_id, now_ms)
        if revision_id == "head":
            return found[-1]
        for revision in found:
            if revision.id == revision_id:
                return revision
        raise PartMissingError("revision", revision_id)

    def keep_revision(
        self, actor: User, file_id: str, revision_id: str, now_ns: int, *, keep: bool
    ) -> tuple[Revision, Change]:
        """Keep a blob's revision for ever, or no longer. Raises as above, and RuleError.

        The limit of 200 is Google's, the reason `revisionLimitExceeded` is inferred.
        """
        revision = self.revision(actor, file_id, revision_id, now_ns // 1_000_000)
        file = self.files[file_id]
        if file.is_native:
            raise RuleError("invalid", "keepForever is for files with binary content.", 400)
        kept = sum(r.keep_forever for r in file.more.older) + file.more.head_kept
        if keep and not revision.keep_forever and kept >= _MAX_KEPT:
            text = f"At most {_MAX_KEPT} revisions can be kept forever."
            raise RuleError("revisionLimitExceeded", text)
        self._keep(file, now_ns)
        if revision.id == _head(file).id:
            file.extend().head_kept = keep
        revision.keep_forever = keep
        file.version += 1
        grants = self.access.grants(file)
        return revision, self._record(actor, file, "revision", grants, now_ns)

    def delete_revision(self, actor: User, file_id: str, revision_id: str, now_ns: int) -> Change:
        """Delete a blob's earlier revision. Raises as above; the last one stays."""
        revision = self.revision(actor, file_id, revision_id, now_ns // 1_000_000)
        file = self.files[file_id]
        if file.is_native or not file.more.older:
            raise RuleError("cannotDeleteOnlyRevision", "Cannot delete this revision.")
        self._keep(file, now_ns)
        extras = file.extend()
        if revision.id == _head(file).id:
            head = extras.older.pop()
            file.content, file.modified_ms = head.content, head.modified_ms
            file.last_modifying_user, extras.head_kept = head.user, head.keep_forever
        else:
            extras.older = [r for r in extras.older if r.id != revision.id]
        revision.seal()
        file.version += 1
        grants = self.access.grants(file)
        return self._record(actor, file, "revision-delete", grants, now_ns)


def _head(file: File) -> Revision:
    content, more = file.content, file.more
    return Revision(
        content.revision_id if content is not None else str(more.native_revision),
        content,
        file.mime_type,
        more.original_filename or file.name,
        file.modified_ms,
        file.last_modifying_user,
        more.head_kept,
    )
