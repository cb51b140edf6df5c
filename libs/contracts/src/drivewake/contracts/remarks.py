"""Events of what hangs on a file: its revisions, its comments; and of shared drives.

`file` is Google's id of the file; what the file is, its own events say.
"""

import datetime as dt
from typing import Any, Literal

import msgspec

from drivewake.contracts.event_base import EventStruct, Person


class RevisionAdded(EventStruct, frozen=True, kw_only=True, tag="revision.added"):
    """A revision of a file is seen for the first time.

    Google thins out the revisions of its own formats and purges others after a while: what
    was never listed is never told. Hashes and size exist only for files that hold bytes.
    """

    file: str
    revision: str
    modified_at: dt.datetime | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    md5: str | None = None
    original_filename: str | None = None
    keep_forever: bool = False
    by: Person | None = None


class Remark(EventStruct, frozen=True, kw_only=True):
    """What all events of a comment (`reply` None) or one of its replies have.

    `modified_at` is Google's time of this very change: it is part of the key. `content` None:
    Google tells it no more. Authors of comments have neither address nor id at Google.
    """

    file: str
    comment: str
    reply: str | None = None
    modified_at: dt.datetime
    author: Person | None = None
    content: str | None = None


class CommentAdded(Remark, frozen=True, kw_only=True, tag="comment.added"):
    """A comment or a reply was written."""

    created_at: dt.datetime
    assignee: str | None = None
    mentioned: tuple[str, ...] = ()
    quoted: str | None = None
    anchor: str | None = None


class CommentEdited(Remark, frozen=True, kw_only=True, tag="comment.edited"):
    """The text of a comment or reply changed from `before` (None: not known) to `content`."""

    before: str | None = None


class CommentResolved(Remark, frozen=True, kw_only=True, tag="comment.resolved"):
    """A reply resolved the comment."""


class CommentReopened(Remark, frozen=True, kw_only=True, tag="comment.reopened"):
    """A reply opened the comment again."""


class CommentDeleted(Remark, frozen=True, kw_only=True, tag="comment.deleted"):
    """A comment or reply was deleted; its text is gone at Google."""


class SharedDriveJoined(EventStruct, frozen=True, kw_only=True, tag="shared_drive.joined"):
    """The connection of this event is a member of a shared drive; `epoch` counts how often.

    `fields` are those of the drive at that time, under Google's names.
    """

    drive: str
    epoch: int
    name: str
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class SharedDriveChanged(EventStruct, frozen=True, kw_only=True, tag="shared_drive.changed"):
    """Fields of a shared drive changed, under Google's names."""

    drive: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]


class SharedDriveLeft(EventStruct, frozen=True, kw_only=True, tag="shared_drive.left"):
    """The connection is no member any more, or the drive is gone: Google does not say which."""

    drive: str
    epoch: int
    cause: Literal["removed", "absent_in_snapshot", "connection_ended"]


RemarkData = (
    RevisionAdded
    | CommentAdded | CommentEdited | CommentResolved | CommentReopened | CommentDeleted
    | SharedDriveJoined | SharedDriveChanged | SharedDriveLeft
)  # fmt: skip
