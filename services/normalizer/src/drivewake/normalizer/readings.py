"""Raws of all that is no file: what each says. Bodies and items are as `contracts.raw` lists."""

from drivewake.contracts.raw import Raw
from drivewake.normalizer.domain.activity import decide_activity
from drivewake.normalizer.domain.google import InvalidResourceError, is_id
from drivewake.normalizer.domain.google_activity import decode_activity
from drivewake.normalizer.domain.google_parts import (
    decode_comment,
    decode_drive,
    decode_drive_change,
    decode_revision,
)
from drivewake.normalizer.domain.observation import microseconds
from drivewake.normalizer.domain.parts import (
    ActivityPart,
    CommentPart,
    DrivePart,
    Part,
    RevisionPart,
)
from drivewake.normalizer.domain.shared_drives import DriveLost, DriveSeen


def read_part(raw: Raw, tenant: str, connection: str) -> Part:
    """Return what a raw of source drive, revisions, comments or activity says.

    Raises InvalidResourceError.
    """
    if not is_id(raw.item):
        raise InvalidResourceError("the item is no id")
    match raw.source:
        case "revisions":
            return RevisionPart(raw.item, decode_revision(raw.body))
        case "comments":
            comment = decode_comment(raw.body)
            return CommentPart(raw.item, comment, microseconds(raw.observed_at))
        case "drive":
            drive = decode_drive(raw.body)
            _check(drive.id, raw)
            return DrivePart(raw.item, DriveSeen(at=microseconds(raw.observed_at), drive=drive))
        case "activity":
            activity = decode_activity(raw.body)
            told = decide_activity(tenant, connection, raw.item, activity, raw.ordinal)
            return ActivityPart(raw.item, told)
        case _:
            raise InvalidResourceError(f"raws of source {raw.source} are of a file")


def read_drive_change(raw: Raw) -> Part:
    """Return what a change of a shared drive says; raise InvalidResourceError."""
    change = decode_drive_change(raw.body)
    _check(change.drive_id, raw)
    at = microseconds(raw.observed_at)
    if change.removed:
        lost = DriveLost(at=at, cause="removed", time=change.time)
        return DrivePart(raw.item, lost)
    if change.drive is None:
        raise InvalidResourceError("a change that is no removal carries no shared drive")
    _check(change.drive.id, raw)
    return DrivePart(raw.item, DriveSeen(at=at, drive=change.drive, time=change.time))


def _check(id_: str, raw: Raw) -> None:
    if id_ != raw.item:
        raise InvalidResourceError("it is of another shared drive than its raw says")
