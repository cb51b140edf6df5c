"""Comments and replies. Each is a change of its file; which comment, no log says. Pure."""

from drivewake.lab.google.core import Core
from drivewake.lab.google.model import (
    COMMENTER,
    READER,
    AccessDeniedError,
    Change,
    Comment,
    File,
    InvalidOperationError,
    PartMissingError,
    Reply,
    User,
)

_RESOLVED = {"resolve": True, "reopen": False}


class Remarks(Core):
    """What `comments.*` and `replies.*` do."""

    def comments(self, actor: User, file_id: str) -> list[Comment]:
        """Return all comments, deleted ones too. Raises FileMissingError."""
        return self._remarkable(actor, file_id, READER).more.comments

    def comment(self, actor: User, file_id: str, comment_id: str) -> Comment:
        """Return one comment. Raises FileMissingError, PartMissingError."""
        for comment in self.comments(actor, file_id):
            if comment.id == comment_id:
                return comment
        raise PartMissingError("comment", comment_id)

    def add_comment(
        self,
        actor: User,
        file_id: str,
        content: str,
        now_ns: int,
        *,
        anchor: str | None = None,
        quoted: dict[str, str] | None = None,
    ) -> tuple[Comment, Change]:
        """Comment on a file. Raises FileMissingError, AccessDeniedError."""
        file = self._remarkable(actor, file_id, COMMENTER)
        now_ms = now_ns // 1_000_000
        comment_id = self._ids.secret("AAAA", 11)
        comment = Comment(comment_id, actor, now_ms, now_ms, content, anchor, quoted)
        file.extend().comments.append(comment)
        return comment, self._remark(actor, file, "comment", comment, now_ns)

    def edit_comment(
        self, actor: User, file_id: str, comment_id: str, content: str | None, now_ns: int
    ) -> tuple[Comment, Change]:
        """Change a comment's text, or with None delete it; its author alone may.

        Raises FileMissingError, PartMissingError, AccessDeniedError.
        """
        comment = self.comment(actor, file_id, comment_id)
        _blank_or_set(actor, file_id, comment, content, now_ns)
        if comment.deleted:
            comment.replies.clear()
        kind = "comment-delete" if comment.deleted else "comment-edit"
        return comment, self._remark(actor, self.files[file_id], kind, comment, now_ns)

    def reply(self, actor: User, file_id: str, comment_id: str, reply_id: str) -> Reply:
        """Return one reply. Raises FileMissingError, PartMissingError."""
        for reply in self.comment(actor, file_id, comment_id).replies:
            if reply.id == reply_id:
                return reply
        raise PartMissingError("reply", reply_id)

    def add_reply(
        self,
        actor: User,
        file_id: str,
        comment_id: str,
        content: str,
        action: str | None,
        now_ns: int,
    ) -> tuple[Reply, Change]:
        """Reply, and with an action resolve or reopen the comment.

        Raises FileMissingError, PartMissingError, AccessDeniedError, InvalidOperationError.
        """
        file = self._remarkable(actor, file_id, COMMENTER)
        comment = self.comment(actor, file_id, comment_id)
        if comment.deleted or (action is not None and action not in _RESOLVED):
            raise InvalidOperationError("Invalid Value")
        now_ms = now_ns // 1_000_000
        reply = Reply(self._ids.secret("AAAA", 11), actor, now_ms, now_ms, content, action)
        comment.replies.append(reply)
        comment.modified_ms = now_ms
        comment.resolved = _RESOLVED.get(action or "", comment.resolved)
        return reply, self._remark(actor, file, action or "reply", comment, now_ns)

    def edit_reply(
        self,
        actor: User,
        file_id: str,
        comment_id: str,
        reply_id: str,
        content: str | None,
        now_ns: int,
    ) -> tuple[Reply, Change]:
        """Change a reply's text, or with None delete it; its author alone may.

        Raises FileMissingError, PartMissingError, AccessDeniedError.
        """
        comment = self.comment(actor, file_id, comment_id)
        reply = self.reply(actor, file_id, comment_id, reply_id)
        _blank_or_set(actor, file_id, reply, content, now_ns)
        comment.modified_ms = now_ns // 1_000_000
        kind = "reply-delete" if reply.deleted else "reply-edit"
        return reply, self._remark(actor, self.files[file_id], kind, comment, now_ns)

    def _remarkable(self, actor: User, file_id: str, least: int) -> File:
        file = self.find(actor, file_id)
        if self.access.rank(actor, file) < least:
            raise AccessDeniedError(file_id)
        return file

    def _remark(self, actor: User, file: File, kind: str, comment: Comment, now_ns: int) -> Change:
        self._keep(file, now_ns)
        file.version += 1
        grants = self.access.grants(file)
        return self._record(actor, file, kind, grants, now_ns, {"comment_id": comment.id})


def _blank_or_set(
    actor: User, file_id: str, remark: Comment | Reply, content: str | None, now_ns: int
) -> None:
    if remark.author is not actor or remark.deleted:
        raise AccessDeniedError(file_id)
    remark.modified_ms = now_ns // 1_000_000
    remark.deleted = content is None
    remark.content = content or ""
