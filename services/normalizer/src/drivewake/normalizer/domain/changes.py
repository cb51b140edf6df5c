"""Which events tell the difference between what is known of a file and what is now believed."""

import datetime as dt
from typing import Any

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
    FileRenamed,
    FileRestored,
    FileTrashed,
)
from drivewake.normalizer.domain.audience import Acl, acl_difference, exposure_of
from drivewake.normalizer.domain.difference import (
    Metadata,
    content_difference,
    metadata_difference,
)
from drivewake.normalizer.domain.head import Freshness, Head, Known
from drivewake.normalizer.domain.observation import FileState, Seen

_replace = msgspec.structs.replace

Events = tuple[EventData, ...]


def discovery(file: FileState, acl: Acl | None) -> Events:
    """Return the events of a file that nobody has seen before; `acl` None: not known."""
    ref = FileRef(
        id=file.id,
        name=file.name,
        mime_type=file.mime_type,
        version=file.version,
        parents=file.parents,
        drive=file.drive,
    )
    discovered = FileDiscovered(
        file=ref,
        content=file.content or Content(mime_type=file.mime_type),
        created_at=file.created_at,
        modified_at=file.modified_at,
        trashed=file.trashed,
        metadata=file.metadata,
    )
    return (discovered, *acl_changes(None, acl, ref))


def changes(head: Head, known: Known, seen: Seen, *, again: bool = False) -> Events:
    """Return what changed of a known file; `again`: it had been removed and is seen again.

    Only aspects that `seen` tells, and tells more freshly than they are known, count.
    """
    file = seen.file
    if not again and _is_known(known, file):
        return ()
    fresh: Freshness = (file.version, seen.at)
    core = fresh > head.core
    content = file.content if fresh > head.content else None
    parents = file.parents if fresh > head.parents else None
    acl = file.acl if fresh > head.acl else None
    if not (core or again or content or parents or acl is not None):
        return ()
    now = _with_core(known, file) if core else known
    ref = _replace(
        now.file,
        version=max(file.version, head.core[0]),
        parents=known.file.parents if parents is None else parents,
    )
    believed, learned = content_difference(known.content, content, ref.mime_type)
    if known.file.parents is None and parents is not None:
        learned["parents"] = list(parents)
    now = _replace(now, file=ref, content=believed, acl=known.acl if acl is None else acl)
    return _difference(known, now, learned, again=again)


def _is_known(known: Known, file: FileState) -> bool:
    """Whether all that was seen is what is known: then it does not matter how fresh it is."""
    ref = known.file
    return (
        file.name == ref.name
        and (file.content is None or file.content == known.content)
        and file.mime_type == ref.mime_type == known.content.mime_type
        and file.drive == ref.drive
        and file.trashed == known.trashed
        and (file.created_at is None or file.created_at == known.created_at)
        and (file.modified_at is None or file.modified_at == known.modified_at)
        and (file.parents is None or file.parents == ref.parents)
        and (file.acl is None or file.acl == known.acl)
        and file.metadata == known.metadata
    )


def _with_core(known: Known, file: FileState) -> Known:
    """Return what is known with the core of what was seen; instants left out are kept."""
    ref = _replace(known.file, name=file.name, mime_type=file.mime_type, drive=file.drive)
    return _replace(
        known,
        file=ref,
        created_at=file.created_at or known.created_at,
        modified_at=file.modified_at or known.modified_at,
        trashed=file.trashed,
        metadata=file.metadata,
    )


def _difference(known: Known, now: Known, learned: Metadata, *, again: bool) -> Events:
    ref = now.file
    return (
        *((FileRestored(file=ref),) if again else ()),
        *_content_changes(known, now),
        *_place_changes(known, now),
        *_metadata_changes(known, now, learned),
        *_trash_changes(now, was=known.trashed and not again),
        *acl_changes(known.acl, now.acl, ref),
    )


def _content_changes(known: Known, now: Known) -> Events:
    if known.content == now.content:
        return ()
    changed = FileContentChanged(
        file=now.file, before=known.content, after=now.content, modified_at=now.modified_at
    )
    return (changed,)


def _place_changes(known: Known, now: Known) -> Events:
    ref, old, new = now.file, known.file, now.file
    renamed = FileRenamed(file=ref, before=old.name, after=new.name)
    events: Events = () if old.name == new.name else (renamed,)
    if old.parents is None or new.parents is None or old.parents == new.parents:
        return events
    return (*events, FileMoved(file=ref, before=old.parents, after=new.parents))


def _metadata_changes(known: Known, now: Known, learned: Metadata) -> Events:
    """Tell metadata, what was learned, and the instants and drive that no other event tells."""
    before, after = metadata_difference(known.metadata, now.metadata)
    for name, old, new in _beside_metadata(known, now):
        if old != new:
            before |= {name: _plain(old)} if old is not None else {}
            after |= {name: _plain(new)} if new is not None else {}
    after |= learned
    if not before and not after:
        return ()
    return (FileMetadataChanged(file=now.file, before=before, after=after),)


def _beside_metadata(known: Known, now: Known) -> tuple[tuple[str, Any, Any], ...]:
    """Return (Google's name, as known, as now); content changes tell the modification."""
    modified = known.modified_at if known.content == now.content else now.modified_at
    return (
        ("createdTime", known.created_at, now.created_at),
        ("modifiedTime", modified, now.modified_at),
        ("driveId", known.file.drive, now.file.drive),
    )


def _plain(value: str | dt.datetime) -> str:
    """Return what stands in an event; instants as RFC 3339 in UTC."""
    if isinstance(value, str):
        return value
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _trash_changes(now: Known, *, was: bool) -> Events:
    if now.trashed == was:
        return ()
    return (FileTrashed(file=now.file) if now.trashed else FileRestored(file=now.file),)


def acl_changes(before: Acl | None, after: Acl | None, ref: FileRef) -> Events:
    """Tell the ACL's difference; before it was first read it counts as private and empty."""
    if after is None or (before or ()) == after:
        return ()
    added, removed, changed = acl_difference(before or (), after)
    permissions = FilePermissionsChanged(file=ref, added=added, removed=removed, changed=changed)
    old, new = exposure_of(before or ()), exposure_of(after)
    if old == new:
        return (permissions,)
    return (permissions, FileExposureChanged(file=ref, before=old, after=new))
