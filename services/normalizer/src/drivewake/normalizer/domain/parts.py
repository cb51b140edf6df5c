"""What is observed beside files, and how each is decided: one interface over their deciders.

A part is decided on the stored state of its head, bytes in and bytes out: whoever keeps heads
need not know what stands in them.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from drivewake.normalizer.domain import comments, revisions, shared_drives
from drivewake.normalizer.domain.google_parts import Comment, Revision
from drivewake.normalizer.domain.told import Step, Told


class RevisionPart(msgspec.Struct, frozen=True):
    """A revision of a file was listed."""

    file: str
    revision: Revision


class CommentPart(msgspec.Struct, frozen=True):
    """A comment of a file was read with its replies, at `at` (µs since 1970)."""

    file: str
    comment: Comment
    at: int


class DrivePart(msgspec.Struct, frozen=True):
    """Something was observed of a shared drive."""

    drive: str
    observation: shared_drives.DriveObservation


class ActivityPart(msgspec.Struct, frozen=True):
    """What somebody did: decided already, for it needs no head."""

    told: tuple[Told, ...]


Part = RevisionPart | CommentPart | DrivePart | ActivityPart


def head_of(part: Part) -> tuple[str, str] | None:
    """Return kind and id of the head that deciding a part needs, None if it needs none."""
    match part:
        case RevisionPart():
            # No id of Google's holds a space.
            return revisions.KIND, f"{part.file} {part.revision.id}"
        case CommentPart():
            return comments.KIND, f"{part.file} {part.comment.id}"
        case DrivePart():
            return shared_drives.KIND, part.drive
        case _:
            return None


def step(part: Part, tenant: str, connection: str, state: bytes | None) -> Step[bytes]:
    """Return the events of a part, and the head's state after it; None: there is no head yet.

    Raises msgspec.MsgspecError if the state is not what was stored.
    """
    match part:
        case RevisionPart():
            told, _ = revisions.step(state is not None, tenant, part.file, part.revision)
            return Step(told, b"")
        case CommentPart():
            thread = {} if state is None else comments.decode_thread(state)
            done = comments.step(thread, tenant, part.file, part.comment, part.at)
            return _stored(done, thread, state, comments.encode_thread)
        case DrivePart():
            head = shared_drives.EMPTY if state is None else shared_drives.decode_drive_head(state)
            step_ = shared_drives.step(head, tenant, connection, part.drive, part.observation)
            return _stored(step_, head, state, shared_drives.encode_drive_head)
        case _:
            return Step(part.told, b"")


def _stored(
    done: Step[Any], before: object, state: bytes | None, encode: Callable[[Any], bytes]
) -> Step[bytes]:
    """Encode what changed; what did not stays the bytes that it was."""
    if state is not None and done.head == before:
        return Step(done.told, state)
    return Step(done.told, encode(done.head))
