"""`comments.*` and `replies.*`: what people say about a file. Authors come without address."""

import datetime as dt
import html
from typing import Any

from drivewake.lab.google.drive_base import DriveBase, page
from drivewake.lab.google.errors import invalid_value, required
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.model import Comment, PartMissingError, Reply, User
from drivewake.lab.google.resources import rfc3339


class Comments(DriveBase):
    """List, get, create, update, delete, of both."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            "drive.comments.list": Endpoint(self.list, "list"),
            "drive.comments.get": Endpoint(self.get, "read"),
            "drive.comments.create": Endpoint(self.create, "edit"),
            "drive.comments.update": Endpoint(self.update, "edit"),
            "drive.comments.delete": Endpoint(self.delete, "edit"),
            "drive.replies.list": Endpoint(self.list_replies, "list"),
            "drive.replies.get": Endpoint(self.get_reply, "read"),
            "drive.replies.create": Endpoint(self.create_reply, "edit"),
            "drive.replies.update": Endpoint(self.update_reply, "edit"),
            "drive.replies.delete": Endpoint(self.delete_reply, "edit"),
        }

    # --- comments ---------------------------------------------------------------------

    def list(self, call: Call) -> dict[str, Any]:
        """Return a file's comments, the last modified first."""
        file, since_ms = self.find(call), _since(call)
        found = [
            c
            for c in self._state.comments(call.user, file.id)
            if c.modified_ms >= since_ms and (call.params["includeDeleted"] or not c.deleted)
        ]
        found.sort(key=lambda c: -c.modified_ms)
        shown, following = page(call, found, call.params["pageSize"])
        deleted = call.params["includeDeleted"]
        resources = [comment_resource(c, call.user, deleted=deleted) for c in shown]
        return {"kind": "drive#commentList", **following, "comments": resources}

    def get(self, call: Call) -> dict[str, Any]:
        """Return one; a deleted one only to who asks for deleted ones."""
        file = self.find(call)
        comment = self._state.comment(call.user, file.id, call.params["commentId"])
        if comment.deleted and not call.params["includeDeleted"]:
            raise PartMissingError("comment", comment.id)
        return comment_resource(comment, call.user, deleted=call.params["includeDeleted"])

    def create(self, call: Call) -> dict[str, Any]:
        """Comment."""
        file, body = self.find(call), call.body
        quoted = body.get("quotedFileContent")
        comment, change = self._state.add_comment(
            call.user,
            file.id,
            _content(body),
            self._world.now_ns(),
            anchor=body.get("anchor"),
            quoted=quoted if isinstance(quoted, dict) else None,
        )
        self.record(change)
        return comment_resource(comment, call.user)

    def update(self, call: Call) -> dict[str, Any]:
        """Say it otherwise."""
        return self._edit(call, _content(call.body))

    def delete(self, call: Call) -> None:
        """Take it back."""
        self._edit(call, None)

    def _edit(self, call: Call, content: str | None) -> dict[str, Any]:
        file, wanted = self.find(call), call.params["commentId"]
        now_ns = self._world.now_ns()
        comment, change = self._state.edit_comment(call.user, file.id, wanted, content, now_ns)
        self.record(change)
        return comment_resource(comment, call.user)

    # --- replies ----------------------------------------------------------------------

    def list_replies(self, call: Call) -> dict[str, Any]:
        """Return the replies to a comment, oldest first."""
        file, deleted = self.find(call), call.params["includeDeleted"]
        comment = self._state.comment(call.user, file.id, call.params["commentId"])
        found = [r for r in comment.replies if deleted or not r.deleted]
        shown, following = page(call, found, call.params["pageSize"])
        resources = [reply_resource(r, call.user) for r in shown]
        return {"kind": "drive#replyList", **following, "replies": resources}

    def get_reply(self, call: Call) -> dict[str, Any]:
        """Return one."""
        file, params = self.find(call), call.params
        reply = self._state.reply(call.user, file.id, params["commentId"], params["replyId"])
        if reply.deleted and not params["includeDeleted"]:
            raise PartMissingError("reply", reply.id)
        return reply_resource(reply, call.user)

    def create_reply(self, call: Call) -> dict[str, Any]:
        """Reply, resolve or reopen."""
        file, action = self.find(call), call.body.get("action")
        content = call.body.get("content", "") if action else _content(call.body)
        comment_id, now_ns = call.params["commentId"], self._world.now_ns()
        reply, change = self._state.add_reply(
            call.user, file.id, comment_id, content, action, now_ns
        )
        self.record(change)
        return reply_resource(reply, call.user)

    def update_reply(self, call: Call) -> dict[str, Any]:
        """Say it otherwise."""
        return self._edit_reply(call, _content(call.body))

    def delete_reply(self, call: Call) -> None:
        """Take it back."""
        self._edit_reply(call, None)

    def _edit_reply(self, call: Call, content: str | None) -> dict[str, Any]:
        file, params, now_ns = self.find(call), call.params, self._world.now_ns()
        reply, change = self._state.edit_reply(
            call.user, file.id, params["commentId"], params["replyId"], content, now_ns
        )
        self.record(change)
        return reply_resource(reply, call.user)


def _content(body: dict[str, Any]) -> str:
    content = body.get("content")
    if not isinstance(content, str) or not content.strip():
        raise required("content", "Required")
    return content


def _since(call: Call) -> int:
    text = call.params.get("startModifiedTime")
    if text is None:
        return -(2**63)
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise invalid_value("startModifiedTime") from None
    return round((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _author(user: User, viewer: User) -> dict[str, Any]:
    return {"kind": "drive#user", "displayName": user.name, "me": user is viewer}


def _remark(remark: Comment | Reply, kind: str, viewer: User) -> dict[str, Any]:
    shown = {
        "kind": kind,
        "id": remark.id,
        "createdTime": rfc3339(remark.created_ms),
        "modifiedTime": rfc3339(remark.modified_ms),
        "author": _author(remark.author, viewer),
        "deleted": remark.deleted,
    }
    if not remark.deleted:
        shown["content"] = remark.content
        shown["htmlContent"] = html.escape(remark.content)
    return shown


def comment_resource(comment: Comment, viewer: User, *, deleted: bool = False) -> dict[str, Any]:
    """Return Drive's Comment with its replies, deleted ones on demand."""
    shown = _remark(comment, "drive#comment", viewer)
    optional = {"anchor": comment.anchor, "quotedFileContent": comment.quoted}
    shown |= {k: v for k, v in optional.items() if v is not None}
    if comment.resolved is not None:
        shown["resolved"] = comment.resolved
    replies = [r for r in comment.replies if deleted or not r.deleted]
    shown["replies"] = [reply_resource(r, viewer) for r in replies]
    return shown


def reply_resource(reply: Reply, viewer: User) -> dict[str, Any]:
    """Return Drive's Reply."""
    shown = _remark(reply, "drive#reply", viewer)
    if reply.action is not None:
        shown["action"] = reply.action
    return shown
