"""Event: one normalised fact, appended once, never changed.

State events compare an observation with what was last known of a file (its head); each
carries the file's identity and `before`/`after` of what changed. Activity says what people
did (`activity.py`); `remarks.py` has what hangs on a file, and shared drives. Control events
say what happened to connections and to the reading itself.
The type of an event is the tag of its data: `noun.verb`.
"""

import datetime as dt
from typing import Any, Final, Literal

import msgspec

from drivewake.contracts.activity import ActivityData
from drivewake.contracts.envelope import CONTENT_TYPE, InvalidMessageError
from drivewake.contracts.event_base import EventStruct
from drivewake.contracts.remarks import RemarkData

SCHEMA_VERSION: Final = 1


class FileRef(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Which file, as it is after the event. `version` is Google's, rising with every change."""

    id: str
    name: str
    mime_type: str
    version: int
    parents: tuple[str, ...] | None = None
    drive: str | None = None


class Content(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What identifies content; hashes and size exist only for files that hold bytes."""

    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    head_revision: str | None = None
    mime_type: str | None = None


class Permission(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One entry of a file's ACL, as drive.v3 `Permission` gives it to whoever may share.

    Of items of shared drives Google tells whether an entry is inherited, and `inherited_from`
    which folders or drives; elsewhere it does not, and both stay empty.
    """

    id: str
    kind: str
    role: str
    email: str | None = None
    domain: str | None = None
    discoverable: bool = False
    inherited: bool = False
    inherited_from: tuple[str, ...] = ()
    expires_at: str | None = None


Exposure = Literal["private", "named", "domain", "link", "public"]


class FileDiscovered(EventStruct, frozen=True, tag="file.discovered"):
    """A file is seen for the first time, by whatever source."""

    file: FileRef
    content: Content
    created_at: dt.datetime | None = None
    modified_at: dt.datetime | None = None
    trashed: bool = False
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class FileContentChanged(EventStruct, frozen=True, tag="file.content_changed"):
    """The bytes (or, for Google's own formats, the head revision) of a file changed."""

    file: FileRef
    before: Content
    after: Content
    modified_at: dt.datetime | None = None


class FileRenamed(EventStruct, frozen=True, tag="file.renamed"):
    """The name of a file changed; the new one stands in `file` too."""

    file: FileRef
    before: str
    after: str


class FileMoved(EventStruct, frozen=True, tag="file.moved"):
    """The parents of a file changed."""

    file: FileRef
    before: tuple[str, ...]
    after: tuple[str, ...]


class FileMetadataChanged(EventStruct, frozen=True, tag="file.metadata_changed"):
    """Canonical fields other than name, parents, content, trash and permissions changed."""

    file: FileRef
    before: dict[str, Any]
    after: dict[str, Any]


class FileTrashed(EventStruct, frozen=True, tag="file.trashed"):
    """A file went to the trash."""

    file: FileRef


class FileRestored(EventStruct, frozen=True, tag="file.restored"):
    """A file came back: from the trash, or seen again after it had been removed."""

    file: FileRef


class FileRemoved(EventStruct, frozen=True, tag="file.removed"):
    """No connection of the tenant can see the file any more; `file` is what was last known."""

    file: FileRef
    cause: Literal["last_sighting_ended", "deleted"]


class FilePermissionsChanged(EventStruct, frozen=True, tag="file.permissions_changed"):
    """The ACL changed, seen by a connection that may read it."""

    file: FileRef
    added: tuple[Permission, ...] = ()
    removed: tuple[Permission, ...] = ()
    changed: tuple[Permission, ...] = ()


class FileExposureChanged(EventStruct, frozen=True, tag="file.exposure_changed"):
    """The widest audience of the file's own permissions changed."""

    file: FileRef
    before: Exposure
    after: Exposure


class SightingGained(EventStruct, frozen=True, tag="sighting.gained"):
    """The connection of this event can see the file; `epoch` counts its sightings of it."""

    file: str
    epoch: int


class SightingLost(EventStruct, frozen=True, tag="sighting.lost"):
    """The connection of this event can no longer see the file."""

    file: str
    epoch: int
    cause: Literal["removed", "absent_in_snapshot", "connection_ended", "shared_drive_left"]


class ConnectionEstablished(EventStruct, frozen=True, tag="connection.established"):
    """A principal let us read its Drive for the first time."""

    scopes: tuple[str, ...]


class ConnectionDegraded(EventStruct, frozen=True, tag="connection.degraded"):
    """The connection works in part, or not for the moment."""

    reason: str


class ConnectionRestored(EventStruct, frozen=True, tag="connection.restored"):
    """The connection works fully again."""

    scopes: tuple[str, ...] = ()


class ConnectionReauthorizationRequired(
    EventStruct, frozen=True, tag="connection.reauthorization_required"
):
    """The grant is dead: its user must consent again."""

    reason: str


class ConnectionBlocked(EventStruct, frozen=True, tag="connection.blocked"):
    """An administrator at Google blocked the connection."""

    reason: str


class ConnectionRevoked(EventStruct, frozen=True, tag="connection.revoked"):
    """The connection ended; its tokens are gone."""

    reason: str


class SnapshotStarted(EventStruct, frozen=True, tag="ingest.snapshot_started"):
    """A full listing of a log began."""

    snapshot: str
    reason: str = ""


class SnapshotCompleted(EventStruct, frozen=True, tag="ingest.snapshot_completed"):
    """A full listing of a log is settled in every partition."""

    snapshot: str
    files: int


class GapOpened(EventStruct, frozen=True, tag="ingest.gap_opened"):
    """An interval of a log could not be read: what is missing, and why."""

    gap: str
    reason: str
    missing_from: dt.datetime | None = None
    missing_to: dt.datetime | None = None


class GapClosed(EventStruct, frozen=True, tag="ingest.gap_closed"):
    """What was missing has been read, or a snapshot has re-established the state behind it."""

    gap: str
    by: Literal["reread", "snapshot"]


class ConnectionErased(EventStruct, frozen=True, tag="connection.erased"):
    """What the connection told was erased: delete what you keep of its events."""

    erasure: str


class TenantErased(EventStruct, frozen=True, tag="tenant.erased"):
    """Everything of the tenant was erased: delete what you keep of it."""

    erasure: str


class EventErased(EventStruct, frozen=True, tag="event.erased"):
    """An event whose data was erased, in its old place; `was` is its old type."""

    was: str


EventData = (
    FileDiscovered | FileContentChanged | FileRenamed | FileMoved | FileMetadataChanged
    | FileTrashed | FileRestored | FileRemoved | FilePermissionsChanged | FileExposureChanged
    | SightingGained | SightingLost
    | ConnectionEstablished | ConnectionDegraded | ConnectionRestored
    | ConnectionReauthorizationRequired | ConnectionBlocked | ConnectionRevoked
    | SnapshotStarted | SnapshotCompleted | GapOpened | GapClosed
    | RemarkData | ActivityData
    | ConnectionErased | TenantErased | EventErased
)  # fmt: skip


ERASURES: Final = frozenset({"connection.erased", "tenant.erased"})
"""Types of events after which readers must forget what they made of older ones."""


def type_of(data: EventData) -> str:
    """Return the event type of some data: `noun.verb`."""
    tag = data.__struct_config__.tag
    assert isinstance(tag, str)  # noqa: S101 - every member of the union declares one
    return tag


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as downstream receives it: a CloudEvent with our extension attributes.

    - `id`: the deterministic key (UUID), the same however often the fact is seen.
    - `subject`: what the event is about: a file id, a connection id or a log id.
    - `time`: when the event was observed; `occurredat` is Google's own time, may be absent.
    - `cause`: id of the raw (or connection message) that caused it.
    - `position`: dense place in the store's lane; `lane` 0 unless the store is split.
    """

    specversion: str = msgspec.field(default="1.0")
    id: str
    source: str
    type: str
    subject: str
    time: dt.datetime
    tenant: str
    connection: str
    data: EventData
    datacontenttype: str = "application/json"
    log: str = ""
    occurredat: dt.datetime | None = None
    cause: str = ""
    schemaversion: int = SCHEMA_VERSION
    position: int = 0
    lane: int = 0
    traceparent: str | None = None


_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()

EVENT_SOURCE: Final = "/drivewake/normalizer"
EVENT_CONTENT_TYPE: Final = CONTENT_TYPE
POSITION_HEADER: Final = "Drivewake-Position"
"""Header of DRIVE_EVENT: `{lane}:{position}`; the relay's checkpoint is the last one."""


def encode_event(event: Event) -> bytes:
    """Return the event as CloudEvents JSON."""
    return b'{"specversion":"1.0",' + _encoder.encode(event)[1:]


def decode_event(body: bytes) -> Event:
    """Return the event in `body`; raise InvalidMessageError if it is not one."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessageError(f"not a valid event: {error}") from error
