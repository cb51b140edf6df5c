"""Facts that a restored store took back from the stream, and that will be decided again."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from drivewake.eventstore.store import Batch, NewEvent

_FACT_BYTES: Final = 10
VERSIONED: Final = frozenset(
    {
        *(f"file.{verb}" for verb in ("discovered", "content_changed", "renamed", "moved")),
        *(f"file.{verb}" for verb in ("metadata_changed", "trashed", "restored", "removed")),
        *("revision.added", "comment.added", "comment.edited", "comment.deleted"),
        *("comment.resolved", "comment.reopened"),
    }
)
"""Types whose facts Google's own versions and ids name: the same name is the same fact for ever.
Sightings and permissions are counted by us, from older heads: those are told once more."""


def fact_of(event: NewEvent) -> bytes | None:
    """Return what names an event's fact whenever it is decided; None if only its key does."""
    return event.key.bytes[-_FACT_BYTES:] if event.type in VERSIONED else None


def without_recovered(
    batch: Batch, recovered: Collection[bytes]
) -> tuple[Batch, Sequence[NewEvent]]:
    """Return the batch without facts that were taken back, and these."""
    again = [event for event in batch.events if fact_of(event) in recovered]
    if not again:
        return batch, ()
    gone = {event.key for event in again}
    events = [event for event in batch.events if event.key not in gone]
    return msgspec.structs.replace(batch, events=events), again
