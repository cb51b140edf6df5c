"""Which event a fact of a whole log is, and which partition tells it.

The fact is published into every partition. What begins is told by the first that hears of it
(its key holds the others off); what ends is told by the last that settles it.
"""

from typing import Final

from drivewake.contracts.events import (
    EventData,
    GapClosed,
    GapOpened,
    SnapshotCompleted,
    SnapshotStarted,
)
from drivewake.contracts.raw import LogFact

BEGINNINGS: Final = frozenset({"snapshot_started", "gap_opened"})
SWEEPING: Final = "snapshot_completed"
"""Ends the sightings of files that the snapshot did not list."""


class InvalidFactError(ValueError):
    """A fact of a log does not say which snapshot or gap it is about."""


def fact_id(fact: LogFact) -> str:
    """Return the id of the snapshot or gap; raise InvalidFactError if it is empty."""
    id_ = fact.gap if fact.fact.startswith("gap_") else fact.snapshot
    if not id_:
        raise InvalidFactError(f"{fact.fact} names no {fact.fact.partition('_')[0]}")
    return id_


def decide_fact(fact: LogFact) -> EventData:
    """Return the event of a fact."""
    match fact.fact:
        case "snapshot_started":
            return SnapshotStarted(snapshot=fact.snapshot, reason=fact.reason)
        case "snapshot_completed":
            return SnapshotCompleted(snapshot=fact.snapshot, files=fact.files)
        case "gap_opened":
            return GapOpened(
                gap=fact.gap,
                reason=fact.reason,
                missing_from=fact.missing_from,
                missing_to=fact.missing_to,
            )
        case _:
            return GapClosed(gap=fact.gap, by="snapshot" if fact.snapshot else "reread")
