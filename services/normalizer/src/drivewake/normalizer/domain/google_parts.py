"""drive.v3 resources that hang on a file, and shared drives, as far as they count.

Source: discovery document of drive.v3, revision 20261106. As in `google`: what is not
declared is ignored; `me` and `photoLink` of a person depend on the viewer or live shortly.
"""

import datetime as dt
from typing import Annotated, Any

import msgspec

from drivewake.normalizer.domain.google import Id, Resource, User, decode

Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Revision(Resource, frozen=True):
    """A revision of a file. `modified_time` moves while Google's own formats are edited."""

    id: Id
    modified_time: Instant | None = None
    mime_type: str | None = None
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    md5_checksum: str | None = msgspec.field(default=None, name="md5Checksum")
    original_filename: str | None = None
    keep_forever: bool = False
    last_modifying_user: User | None = None


class Quoted(Resource, frozen=True):
    """The part of the file that a comment is about."""

    value: str | None = None


class Reply(Resource, frozen=True):
    """A reply to a comment; with an `action` (resolve, reopen) it also does that."""

    id: Id
    created_time: Instant
    modified_time: Instant | None = None
    content: str | None = None
    deleted: bool = False
    action: str | None = None
    author: User | None = None
    assignee_email_address: str | None = None
    mentioned_email_addresses: tuple[str, ...] = ()


class Comment(Resource, frozen=True):
    """A comment with all its replies. `modified_time` is that of the newest of all these."""

    id: Id
    created_time: Instant
    modified_time: Instant | None = None
    content: str | None = None
    deleted: bool = False
    author: User | None = None
    assignee_email_address: str | None = None
    mentioned_email_addresses: tuple[str, ...] = ()
    quoted_file_content: Quoted | None = None
    anchor: str | None = None
    replies: tuple[Reply, ...] = ()


class Drive(Resource, frozen=True):
    """A shared drive. Whether it is hidden, and what one may do, depends on the viewer."""

    id: Id
    name: str
    created_time: str | None = None
    restrictions: dict[str, Any] | None = None


class DriveChange(Resource, frozen=True):
    """An entry of a change log about a shared drive."""

    drive_id: Id
    removed: bool = False
    time: Instant | None = None
    drive: Drive | None = None


_revision = msgspec.json.Decoder(Revision, strict=False)
_comment = msgspec.json.Decoder(Comment, strict=False)
_drive = msgspec.json.Decoder(Drive, strict=False)
_drive_change = msgspec.json.Decoder(DriveChange, strict=False)


def decode_revision(body: msgspec.Raw) -> Revision:
    """Return the Revision in `body`; raise InvalidResourceError."""
    return decode(_revision, body)


def decode_comment(body: msgspec.Raw) -> Comment:
    """Return the Comment in `body`; raise InvalidResourceError."""
    return decode(_comment, body)


def decode_drive(body: msgspec.Raw) -> Drive:
    """Return the Drive in `body`; raise InvalidResourceError."""
    return decode(_drive, body)


def decode_drive_change(body: msgspec.Raw) -> DriveChange:
    """Return the Change of a shared drive in `body`; raise InvalidResourceError."""
    return decode(_drive_change, body)
