"""Which events an observation of a shared drive makes.

The rules:

- Google gives drives no version: their fields follow the latest observation.
- A membership follows its connection's latest word, by when it was observed, as a sighting
  of a file does. What was seen before a membership ended, but arrives after, still tells the
  drive's fields; if it is the first ever heard, the membership is told whole. A complete
  snapshot that listed drives ends the memberships of those that are not in it.
- A connection that ends takes its memberships with it, whatever its clock says.
"""

import datetime as dt
from typing import Any, Final, Literal

import msgspec

from drivewake.contracts.keys import Part, digest_of, membership_parts, shared_drive_parts
from drivewake.contracts.remarks import SharedDriveChanged, SharedDriveJoined, SharedDriveLeft
from drivewake.normalizer.domain.difference import metadata_difference
from drivewake.normalizer.domain.google_parts import Drive
from drivewake.normalizer.domain.told import Step, Told

KIND: Final = "shared_drive"
_replace = msgspec.structs.replace


DriveData = SharedDriveJoined | SharedDriveChanged | SharedDriveLeft


class DriveSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, being a member, was shown a drive at `at` (µs since 1970)."""

    at: int
    drive: Drive
    time: dt.datetime | None = None
    snapshot: str = ""


class DriveLost(msgspec.Struct, frozen=True, kw_only=True):
    """A connection is no member of a drive since `at`, or the drive is gone."""

    at: int
    cause: Literal["removed", "absent_in_snapshot", "connection_ended"]
    time: dt.datetime | None = None


class DriveUnlisted(msgspec.Struct, frozen=True, kw_only=True):
    """A complete snapshot, begun at `started`, may not have listed a drive.

    It settles whatever was shown before it began; who was seen since stays a member.
    """

    started: int
    snapshot: str


DriveObservation = DriveSeen | DriveLost | DriveUnlisted


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """Whether a connection is a member; `epoch` counts how often it began. 0: a tombstone.

    `snapshot`: the last one that listed it.
    """

    epoch: int
    lasts: bool
    at: int
    snapshot: str = ""


class DriveHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a drive: its fields as of `at`, None if it was never shown."""

    fields: dict[str, Any] | None = None
    at: int = 0
    epoch: int = 0
    members: dict[str, Membership] = {}


EMPTY: Final = DriveHead()
_decoder = msgspec.msgpack.Decoder(DriveHead)
_encoder = msgspec.msgpack.Encoder()


def encode_drive_head(head: DriveHead) -> bytes:
    """Return the head as it is stored."""
    return _encoder.encode(head)


def decode_drive_head(state: bytes) -> DriveHead:
    """Return a stored head; raise msgspec.MsgspecError if it is none."""
    return _decoder.decode(state)


def step(
    head: DriveHead, tenant: str, connection: str, drive: str, observation: DriveObservation
) -> Step[DriveHead]:
    """Return the events of an observation by a connection, and the head after it."""
    before = head.members.get(connection)
    if isinstance(observation, DriveUnlisted):
        if before is None or not _is_stale(before, observation):
            return Step((), head)
        observation = DriveLost(at=observation.started, cause="absent_in_snapshot")
    if isinstance(observation, DriveLost):
        told, member = _lost(drive, before, observation)
    else:
        changed, head = _state(head, observation)
        gained, member = _seen(drive, before, observation)
        told = (*gained, *changed)
    after = (
        head if member == before else _replace(head, members={**head.members, connection: member})
    )
    named = (
        Told(data, drive, _parts(tenant, connection, after, data), observation.time)
        for data in told
    )
    return Step(tuple(named), after)


def _is_stale(member: Membership, unlisted: DriveUnlisted) -> bool:
    """Whether a membership was shown last before a snapshot began, and not in it."""
    return member.lasts and member.at < unlisted.started and member.snapshot != unlisted.snapshot


def _parts(tenant: str, connection: str, head: DriveHead, data: DriveData) -> tuple[Part, ...]:
    match data:
        case SharedDriveJoined():
            return membership_parts(tenant, connection, data.drive, data.epoch, "joined")
        case SharedDriveLeft():
            return membership_parts(tenant, connection, data.drive, data.epoch, "left")
        case _:
            state = digest_of(msgspec.json.encode(head.fields, order="deterministic").decode())
            return shared_drive_parts(tenant, data.drive, head.epoch, state)


def _state(head: DriveHead, seen: DriveSeen) -> tuple[tuple[DriveData, ...], DriveHead]:
    if seen.at <= head.at:
        return (), head
    now = _fields(seen.drive)
    fresh = _replace(head, at=seen.at, fields=now)
    if head.fields is None or head.fields == now:
        return (), fresh
    before, after = metadata_difference(head.fields, now)
    changed = SharedDriveChanged(
        drive=seen.drive.id, name=seen.drive.name, before=before, after=after
    )
    return (changed,), _replace(fresh, epoch=head.epoch + 1)


def _fields(drive: Drive) -> dict[str, Any]:
    fields = {
        "name": drive.name,
        "createdTime": drive.created_time,
        "restrictions": drive.restrictions,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _seen(
    drive: str, before: Membership | None, seen: DriveSeen
) -> tuple[tuple[DriveData, ...], Membership]:
    if before is not None and before.lasts:
        snapshot = seen.snapshot or before.snapshot
        return (), _replace(before, at=max(before.at, seen.at), snapshot=snapshot)
    epoch = before.epoch + 1 if before is not None else 1
    joined = SharedDriveJoined(
        drive=drive, epoch=epoch, name=seen.drive.name, fields=_fields(seen.drive)
    )
    if before is None or seen.at > before.at:
        return (joined,), Membership(epoch, lasts=True, at=seen.at, snapshot=seen.snapshot)
    if before.epoch:
        return (), before
    left = SharedDriveLeft(drive=drive, epoch=epoch, cause="removed")
    return (joined, left), _replace(before, epoch=epoch)


def _lost(
    drive: str, before: Membership | None, lost: DriveLost
) -> tuple[tuple[DriveData, ...], Membership]:
    if before is None:
        return (), Membership(0, lasts=False, at=lost.at)
    at = max(before.at, lost.at)
    if not before.lasts:
        return (), _replace(before, at=at)
    if lost.at < before.at and lost.cause != "connection_ended":
        return (), before
    left = SharedDriveLeft(drive=drive, epoch=before.epoch, cause=lost.cause)
    return (left,), Membership(before.epoch, lasts=False, at=at)
