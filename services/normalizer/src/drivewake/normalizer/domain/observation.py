"""What one raw says of one file, as far as it is canonical."""

import datetime as dt
from operator import attrgetter
from typing import Final

import msgspec

from drivewake.contracts import canonical
from drivewake.contracts.events import Content
from drivewake.normalizer.domain import google
from drivewake.normalizer.domain.audience import Acl, acl_of
from drivewake.normalizer.domain.difference import Metadata

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def microseconds(instant: dt.datetime) -> int:
    """Return the microseconds since 1970 UTC of an aware instant."""
    return (instant - _EPOCH) // _MICROSECOND


class FileState(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A file as somebody saw it. None in the last three: this viewer may not know."""

    id: str
    version: int
    name: str
    mime_type: str
    trashed: bool
    metadata: Metadata
    drive: str | None = None
    created_at: dt.datetime | None = None
    modified_at: dt.datetime | None = None
    content: Content | None = None
    parents: tuple[str, ...] | None = None
    acl: Acl | None = None


class Seen(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A connection saw a file in one of its logs, at `at` (µs since 1970, UTC)."""

    connection: str
    log: str
    at: int
    file: FileState
    snapshot: str = ""


class Glimpsed(msgspec.Struct, frozen=True, kw_only=True):
    """A connection saw a file whose state could not be decoded: it is there, that is all."""

    connection: str
    log: str
    at: int
    snapshot: str = ""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that may read it was given the whole ACL of a file, at `at`.

    The file was known at `version` then, or is newer.
    """

    connection: str
    log: str
    at: int
    version: int
    acl: Acl


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """Google told a connection that it can no longer see a file."""

    connection: str
    log: str
    at: int


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """A complete snapshot of a log, begun at `started`, may not have listed a file.

    It settles whatever the log last showed before it began; who was seen since stays.
    """

    connection: str
    log: str
    started: int
    snapshot: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A connection ended at `at`: it sees nothing any more."""

    connection: str
    at: int


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A connection left a shared drive at `at`: it sees nothing of the drive any more."""

    connection: str
    drive: str
    at: int


Observation = Seen | Glimpsed | Shared | Gone | Absent | Ended | Left

_METADATA_NAMES: Final = tuple(sorted(canonical.METADATA))
_attribute_of: Final = {
    field.encode_name: field.name for field in msgspec.structs.fields(google.File)
}
_metadata_values: Final = attrgetter(*(_attribute_of[name] for name in _METADATA_NAMES))


def file_state(file: google.File) -> FileState:
    """Return what is canonical of a File resource."""
    return FileState(
        id=file.id,
        version=file.version,
        name=file.name,
        mime_type=file.mime_type,
        trashed=file.trashed,
        metadata=_metadata(file),
        drive=file.drive_id,
        created_at=file.created_time,
        modified_at=file.modified_time,
        content=_content(file),
        parents=tuple(sorted(file.parents)) if file.parents else None,
        acl=None if file.permissions is None else acl_of(file.permissions),
    )


def _metadata(file: google.File) -> Metadata:
    values = msgspec.to_builtins(_metadata_values(file))
    return {
        name: value
        for name, value in zip(_METADATA_NAMES, values, strict=True)
        if value is not None
    }


def _content(file: google.File) -> Content | None:
    if (
        file.md5_checksum is None
        and file.head_revision_id is None
        and file.size is None
        and file.sha1_checksum is None
        and file.sha256_checksum is None
    ):
        return None
    return Content(
        md5=file.md5_checksum,
        sha1=file.sha1_checksum,
        sha256=file.sha256_checksum,
        size_bytes=file.size,
        head_revision=file.head_revision_id,
        mime_type=file.mime_type,
    )
