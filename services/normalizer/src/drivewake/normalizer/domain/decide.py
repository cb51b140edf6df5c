"""Which events an observation makes of a head.

The rules:

- A file has four aspects: core (name, type, trash, metadata), parents, content, ACL. Each
  follows the freshest observation that tells it: the highest of Google's versions, and
  within a version the latest observed. Absent is unknown, never empty.
- Nothing that differs, no event; but freshness is remembered, so that what arrives late and
  is older changes nothing.
- Several changes in one observation are several events in the order of the list below, all
  with the file as it is after the observation.
- A sighting follows its connection's latest word, by when it was observed. Its first begins
  it, `removed` or a complete snapshot without the file ends it, and so does the end of the
  connection, whatever its clock says; leaving a shared drive ends those of its files. The
  last one's end removes the file; being seen again restores it (and trashes it again, if it
  lies in the trash).
- What a connection saw before its sighting ended, but arrives after, still tells the file's
  state. If it is the first that is ever heard of the sighting, the sighting is told whole:
  gained, and lost again.
- An ACL that was asked for by itself counts like one that came with the file, at the version
  that was known then. Read before the file was first seen, it waits for that.
- What was not known and is learned without a change (parents, hashes, by a viewer who may
  read them) is told by `file.metadata_changed`, without a `before`.
"""

from typing import Literal

import msgspec

from drivewake.contracts.events import FileRef, FileRemoved, SightingGained, SightingLost
from drivewake.normalizer.domain.audience import Acl
from drivewake.normalizer.domain.changes import Events, acl_changes, changes, discovery
from drivewake.normalizer.domain.head import Freshness, Head, Known, Sighting, Witness, evolve
from drivewake.normalizer.domain.observation import (
    Absent,
    Ended,
    Glimpsed,
    Gone,
    Left,
    Observation,
    Seen,
    Shared,
)

_replace = msgspec.structs.replace

Cause = Literal["removed", "absent_in_snapshot", "connection_ended", "shared_drive_left"]


def step(head: Head, observation: Observation) -> tuple[Events, Head]:
    """Return the events that an observation makes, and the head after it."""
    events = decide(head, observation)
    return events, settle(_evolved(head, observation.connection, events), observation)


def decide(head: Head, observation: Observation) -> Events:
    """Return the events that an observation makes of a head, in their order."""
    match observation:
        case Seen():
            return _on_seen(head, observation)
        case Glimpsed():
            return ()
        case Shared():
            return _on_shared(head, observation)
        case Gone() | Ended() | Left():
            return _on_end(head, observation)
        case _:
            return _on_absent(head, observation)


def settle(head: Head, observation: Observation) -> Head:
    """Return the head with its freshness renewed; call it after evolving the events."""
    match observation:
        case Seen():
            return _settle_seen(head, observation)
        case Glimpsed():
            return _replace(head, sightings=_renewed(head, observation))
        case Shared():
            return _settle_shared(head, observation)
        case Left() if not _lies_in(head, observation.drive):
            return head
        case Gone() | Ended() | Left():
            return _settle_end(head, observation.connection, observation.at)
        case _:
            return _settle_absent(head, observation)


def _evolved(head: Head, connection: str, events: Events) -> Head:
    for data in events:
        head = evolve(head, connection, data)
    return head


# -- Sightings -------------------------------------------------------------------------------


def _on_seen(head: Head, seen: Seen) -> Events:
    sighting = head.sightings.get(seen.connection)
    if sighting is not None and not sighting.lasts and seen.at <= sighting.at:
        return _on_seen_late(head, seen, sighting)
    if sighting is not None and sighting.lasts:
        return _changes(head, seen)
    gained = SightingGained(file=seen.file.id, epoch=sighting.epoch + 1 if sighting else 1)
    return (gained, *_changes(head, seen, again=head.known is not None and head.known.removed))


def _on_seen_late(head: Head, seen: Seen, sighting: Sighting) -> Events:
    """Decide what was seen before the sighting ended."""
    if sighting.epoch:
        return _still_removed(head, seen, _changes(head, seen))
    others = {name: each for name, each in head.sightings.items() if name != seen.connection}
    begin = _on_seen(_replace(head, sightings=others), seen)
    between = _evolved(head, seen.connection, begin)
    return begin + _ending(between, seen.connection, sighting.at, "removed")


def _still_removed(head: Head, seen: Seen, events: Events) -> Events:
    """Return the events with the removal told again, where they would undo it.

    What left the trash before the last sighting ended did not come back by that.
    """
    after = _evolved(head, seen.connection, events)
    if after.known is None or after.known.removed or after.seen:
        return events
    file = _current(after.known, max(head.core, (seen.file.version, seen.at)))
    return (*events, FileRemoved(file=file, cause="last_sighting_ended"))


def _ending(head: Head, connection: str, at: int, cause: Cause) -> Events:
    sighting = head.sightings.get(connection)
    if sighting is None or not sighting.lasts or at < sighting.at:
        return ()
    known = head.known
    if known is None:
        raise ValueError("a sighting lasts of a file that was never discovered")
    lost = SightingLost(file=known.file.id, epoch=sighting.epoch, cause=cause)
    if any(each.lasts for name, each in head.sightings.items() if name != connection):
        return (lost,)
    return (lost, FileRemoved(file=_current(known, head.core), cause="last_sighting_ended"))


def _on_end(head: Head, end: Gone | Ended | Left) -> Events:
    match end:
        case Gone():
            return _ending(head, end.connection, end.at, "removed")
        case Left():
            within = _lies_in(head, end.drive)
            return _ending(head, end.connection, end.at, "shared_drive_left") if within else ()
        case _:
            # Whenever it was renewed: the clocks of auth and the poller may differ.
            sighting = head.sightings.get(end.connection)
            at = end.at if sighting is None else max(end.at, sighting.at)
            return _ending(head, end.connection, at, "connection_ended")


def _lies_in(head: Head, drive: str) -> bool:
    return head.known is not None and head.known.file.drive == drive


def _on_absent(head: Head, absent: Absent) -> Events:
    sighting = head.sightings.get(absent.connection)
    if sighting is None or not _is_stale(sighting.witnesses.get(absent.log), absent):
        return ()
    if len(sighting.witnesses) > 1:
        return ()
    return _ending(head, absent.connection, max(absent.started, sighting.at), "absent_in_snapshot")


def _is_stale(witness: Witness | None, absent: Absent) -> bool:
    """Whether a log showed the file last before the snapshot began, and not in it.

    The snapshot's id counts beside the clock: its pages may be read by several machines.
    """
    return (
        witness is not None and witness.at < absent.started and witness.snapshot != absent.snapshot
    )


def _changes(head: Head, seen: Seen, *, again: bool = False) -> Events:
    if head.known is None:
        return discovery(seen.file, _first_acl(head, seen))
    return changes(head, head.known, seen, again=again)


def _first_acl(head: Head, seen: Seen) -> Acl | None:
    """Return the freshest ACL of a file at its discovery: it may have been read before."""
    told = seen.file.acl
    return told if told is not None and (seen.file.version, seen.at) > head.acl else head.early_acl


def _on_shared(head: Head, shared: Shared) -> Events:
    known = head.known
    if known is None or (shared.version, shared.at) <= head.acl:
        return ()
    return acl_changes(known.acl, shared.acl, _current(known, head.core))


def _current(known: Known, core: Freshness) -> FileRef:
    """Return the file as last known, at the version last heard of."""
    return _replace(known.file, version=max(known.file.version, core[0]))


# -- Freshness -------------------------------------------------------------------------------


def _settle_seen(head: Head, seen: Seen) -> Head:
    file, fresh = seen.file, (seen.file.version, seen.at)
    core, parents, content, acl = head.core, head.parents, head.content, head.acl
    return Head(
        known=head.known,
        sightings=_renewed(head, seen),
        core=max(core, fresh),
        parents=fresh if file.parents is not None and fresh > parents else parents,
        content=fresh if file.content is not None and fresh > content else content,
        acl=fresh if file.acl is not None and fresh > acl else acl,
    )


def _settle_shared(head: Head, shared: Shared) -> Head:
    """Remember how fresh the ACL is; before the file is discovered, the ACL itself too."""
    fresh = (shared.version, shared.at)
    if fresh <= head.acl:
        return head
    return _replace(head, acl=fresh, early_acl=shared.acl if head.known is None else None)


def _renewed(head: Head, seen: Seen | Glimpsed) -> dict[str, Sighting]:
    """Return the sightings with that of the observer renewed, if it lasts."""
    sighting = head.sightings.get(seen.connection)
    if sighting is None or not sighting.lasts:
        return head.sightings
    at, snapshot = seen.at, seen.snapshot
    if (before := sighting.witnesses.get(seen.log)) is not None:
        at, snapshot = max(before.at, at), snapshot or before.snapshot
    witnesses = {**sighting.witnesses, seen.log: Witness(at, snapshot)}
    renewed = Sighting(
        sighting.epoch, lasts=True, at=max(sighting.at, seen.at), witnesses=witnesses
    )
    return {**head.sightings, seen.connection: renewed}


def _settle_end(head: Head, connection: str, at: int) -> Head:
    sighting = head.sightings.get(connection)
    if sighting is None:
        return _with_sighting(head, connection, Sighting(0, lasts=False, at=at))
    if sighting.lasts or (sighting.at >= at and not sighting.witnesses):
        return head
    ended = _replace(sighting, at=max(sighting.at, at), witnesses={})
    return _with_sighting(head, connection, ended)


def _settle_absent(head: Head, absent: Absent) -> Head:
    sighting = head.sightings.get(absent.connection)
    if sighting is None:
        return head
    if not sighting.lasts:
        # Witnesses are left if it ended just now; whatever ended earlier is settled.
        ends = bool(sighting.witnesses)
        return _settle_end(head, absent.connection, absent.started) if ends else head
    if not _is_stale(sighting.witnesses.get(absent.log), absent):
        return head
    left = {log: each for log, each in sighting.witnesses.items() if log != absent.log}
    return _with_sighting(head, absent.connection, _replace(sighting, witnesses=left))


def _with_sighting(head: Head, connection: str, sighting: Sighting) -> Head:
    return _replace(head, sightings={**head.sightings, connection: sighting})
