"""Raws of all that is no file: what each says. Bodies and items are as `contracts.raw` lists."""

from collections.abc import Callable, Mapping
from typing import Final

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


def checked_item(raw: Raw) -> str:
    """Return the raw's item; raise InvalidResourceError if it is no id of Google's."""
    if not is_id(raw.item):
        raise InvalidResourceError("the item is no id")
    return raw.item


def read_revision(raw: Raw) -> Part:
    """Return a revision of a file; raise InvalidResourceError."""
    return RevisionPart(checked_item(raw), decode_revision(raw.body))


def read_comment(raw: Raw) -> Part:
    """Return a comment of a file; raise InvalidResourceError."""
    return CommentPart(checked_item(raw), decode_comment(raw.body), microseconds(raw.observed_at))


def read_drive(raw: Raw) -> Part:
    """Return a shared drive that was listed; raise InvalidResourceError."""
    drive = decode_drive(raw.body)
    _check(drive.id, raw)
    at = microseconds(raw.observed_at)
    return DrivePart(raw.item, DriveSeen(at=at, drive=drive, snapshot=raw.snapshot))


def read_activity(raw: Raw, tenant: str, connection: str) -> Part:
    """Return what an activity says of the raw's item, decided; raise InvalidResourceError."""
    activity = decode_activity(raw.body)
    told = decide_activity(tenant, connection, checked_item(raw), activity, raw.ordinal)
    return ActivityPart(told)


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


READERS: Final[Mapping[str, Callable[[Raw], Part]]] = {
    "revisions": read_revision,
    "comments": read_comment,
    "drive": read_drive,
}
"""By source of the raw."""
