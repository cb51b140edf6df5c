"""Head: what was last known of a file, and how an event advances it.

A head has two halves. The facts (`known`, and each sighting's epoch and whether it lasts)
follow from the file's events alone, by `evolve`. The bookkeeping (marks, and when a
sighting was last renewed) remembers how fresh the facts are; it makes no event, and
`decide.settle` keeps it.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from drivewake.contracts.events import (
    Content,
    EventData,
    FileContentChanged,
    FileDiscovered,
    FileExposureChanged,
    FileMetadataChanged,
    FileMoved,
    FilePermissionsChanged,
    FileRef,
    FileRemoved,
    FileRenamed,
    FileRestored,
    FileTrashed,
    SightingGained,
    SightingLost,
)
from drivewake.normalizer.domain.audience import Acl, patched_acl
from drivewake.normalizer.domain.difference import patched_content, patched_metadata

_replace = msgspec.structs.replace

Freshness = tuple[int, int]
"""Google's version, then when it was observed (µs): of two observations the greater counts."""
NEVER: Final[Freshness] = (-1, 0)


class Witness(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """When a log last showed a file, and in which snapshot, if in any."""

    at: int
    snapshot: str = ""


class Sighting(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Whether a connection sees the file: `epoch` counts how often it began to.

    `at` is the newest instant (µs) at which it was seen or known to be gone. Epoch 0 is a
    tombstone: gone before it was ever seen.
    """

    epoch: int
    lasts: bool
    at: int = 0
    witnesses: dict[str, Witness] = {}


class Known(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The facts of a file. `acl` None: nobody who looked may read it."""

    file: FileRef
    content: Content
    created_at: dt.datetime | None
    modified_at: dt.datetime | None
    trashed: bool
    removed: bool
    metadata: dict[str, Any]
    acl: Acl | None
    acl_epoch: int


class Head(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that is remembered of one file of one tenant.

    `core`, `parents`, `content` and `acl` say how fresh each aspect of the facts is: not
    every viewer may know all four. `early_acl` waits for the file's discovery.
    """

    known: Known | None = None
    sightings: dict[str, Sighting] = {}
    core: Freshness = NEVER
    parents: Freshness = NEVER
    content: Freshness = NEVER
    acl: Freshness = NEVER
    early_acl: Acl | None = None

    @property
    def seen(self) -> bool:
        """Whether any connection can see the file."""
        return any(sighting.lasts for sighting in self.sightings.values())


EMPTY: Final = Head()
_decoder = msgspec.msgpack.Decoder(Head)
_encoder = msgspec.msgpack.Encoder()


def encode_head(head: Head) -> bytes:
    """Return the head as it is stored."""
    return _encoder.encode(head)


def decode_head(state: bytes) -> Head:
    """Return a stored head; raise msgspec.MsgspecError if it is none."""
    return _decoder.decode(state)


def evolve(head: Head, connection: str, data: EventData) -> Head:
    """Return the head after an event that `connection` caused; other events change nothing."""
    change = _EVOLVE.get(type(data))
    return head if change is None else change(head, connection, data)


def _gained(head: Head, connection: str, data: SightingGained) -> Head:
    before = head.sightings.get(connection)
    sighting = Sighting(data.epoch, lasts=True, at=before.at if before else 0)
    return _replace(head, sightings={**head.sightings, connection: sighting})


def _lost(head: Head, connection: str, data: SightingLost) -> Head:
    before = head.sightings.get(connection, Sighting(0, lasts=True))
    sighting = _replace(before, epoch=data.epoch, lasts=False)
    return _replace(head, sightings={**head.sightings, connection: sighting})


def _discovered(head: Head, connection: str, data: FileDiscovered) -> Head:
    del connection
    return _replace(
        head,
        known=Known(
            file=data.file,
            content=data.content,
            created_at=data.created_at,
            modified_at=data.modified_at,
            trashed=data.trashed,
            removed=False,
            metadata=data.metadata,
            acl=None,
            acl_epoch=0,
        ),
    )


_FileEvent = (
    FileContentChanged | FileRenamed | FileMoved | FileMetadataChanged | FileTrashed | FileRestored
    | FileRemoved | FilePermissionsChanged | FileExposureChanged
)  # fmt: skip


def _on_known(change: Callable[[Known, Any], Known]) -> Callable[[Head, str, Any], Head]:
    """Lift a change of what is known to a change of the head; unknown stays unknown."""

    def changed(head: Head, connection: str, data: _FileEvent) -> Head:
        del connection
        if head.known is None:
            return head
        return _replace(head, known=change(_replace(head.known, file=data.file), data))

    return changed


def _content_changed(known: Known, data: FileContentChanged) -> Known:
    return _replace(known, content=data.after, modified_at=data.modified_at or known.modified_at)


def _metadata_changed(known: Known, data: FileMetadataChanged) -> Known:
    instants = {
        name: dt.datetime.fromisoformat(data.after[field])
        for field, name in (("createdTime", "created_at"), ("modifiedTime", "modified_at"))
        if field in data.after
    }
    return _replace(
        known,
        metadata=patched_metadata(known.metadata, data.before, data.after),
        content=patched_content(known.content, data.after),
        **instants,
    )


def _permissions_changed(known: Known, data: FilePermissionsChanged) -> Known:
    acl = patched_acl(known.acl or (), data.added, data.removed, data.changed)
    return _replace(known, acl=acl, acl_epoch=known.acl_epoch + 1)


_EVOLVE: Final = cast(
    "dict[type[Any], Callable[[Head, str, Any], Head]]",
    {
        SightingGained: _gained,
        SightingLost: _lost,
        FileDiscovered: _discovered,
        FileContentChanged: _on_known(_content_changed),
        FileRenamed: _on_known(lambda known, _: known),
        FileMoved: _on_known(lambda known, _: known),
        FileMetadataChanged: _on_known(_metadata_changed),
        FileTrashed: _on_known(lambda known, _: _replace(known, trashed=True)),
        FileRestored: _on_known(lambda known, _: _replace(known, trashed=False, removed=False)),
        FileRemoved: _on_known(lambda known, _: _replace(known, removed=True)),
        FilePermissionsChanged: _on_known(_permissions_changed),
        FileExposureChanged: _on_known(lambda known, _: known),
    },
)
ADVANCING: Final = frozenset(_EVOLVE)
"""Types of events that advance the head of a file."""
