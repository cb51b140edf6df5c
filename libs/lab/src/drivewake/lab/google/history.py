"""What was before each change, so that any past instant can be shown (`past.py`). Pure.

An entry undoes one change of what somebody can see: the file as it was before, that it was not
there, that somebody had not opened it, who was in a group. Nothing is kept of what never
changed: a file costs an entry of three words when it is made, and an image a change.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from drivewake.lab.google.model import Content, File, Permission, User


class Image(NamedTuple):
    """A file as it was, others by their ids. `openers` is the file's own, which only grows."""

    id: str
    ordinal: int
    name: str
    mime_type: str
    owner: User | None
    parent_id: str | None
    drive_id: str | None
    created_ms: int
    modified_ms: int
    last_modifying_user: User
    version: int
    content: Content | None
    shares: Mapping[str, Permission] | None
    trashed: bool
    limited: bool
    openers: Mapping[str, User]
    is_folder: bool

    @classmethod
    def of(cls, file: File) -> "Image":
        """Take the image of a file as it is now."""
        more = file.more
        return cls(
            file.id,
            file.ordinal,
            file.name,
            file.mime_type,
            file.owner,
            file.parent.id if file.parent is not None else None,
            file.drive.id if file.drive is not None else None,
            file.created_ms,
            file.modified_ms,
            file.last_modifying_user,
            file.version,
            file.content,
            file.shares,
            file.explicitly_trashed,
            more.limited,
            more.openers,
            file.is_folder,
        )


class Opening(NamedTuple):
    """Somebody had not yet followed the link to a file."""

    file_id: str
    email: str


class Membership(NamedTuple):
    """These were the members of the group behind a permission key."""

    key: str
    members: Mapping[str, User]


Before = str | Image | Opening | Membership
"""What one entry restores; a bare file id says that there was no such file."""


class History:
    """Entries in order. A clock that steps back does not: its times count as the latest.

    A place among the changes is twice the last change's number, and one more for what becomes
    the next change: who came or joined a group without a change was there before that.
    """

    __slots__ = ("_before", "_places", "_times")

    def __init__(self) -> None:
        self._before: list[Before] = []
        self._places = array("q")
        self._times = array("q")

    def keep(self, before: Before, seq: int, at_ns: int, *, changes: bool = True) -> None:
        """Note what was until now; `seq` is the last change, `changes` whether one follows.

        Call it when nothing can be refused any more.
        """
        latest_ns = self._times[-1] if self._times else at_ns
        self._times.append(max(at_ns, latest_ns))
        self._places.append(2 * seq + changes)
        self._before.append(before)

    def after_instant(self, at_ns: int) -> int:
        """Return the place of the first entry later than an instant."""
        return bisect_right(self._times, at_ns)

    def after_change(self, seq: int) -> int:
        """Return the place of the first entry later than a change."""
        return bisect_left(self._places, 2 * seq + 1)

    def seq_at(self, place: int, current: int) -> int:
        """Return the last change before the entry at a place; behind the end, `current`."""
        return self._places[place] // 2 if place < len(self._places) else current

    def since(self, place: int) -> Iterable[Before]:
        """Return the entries from a place on, oldest first: of a file the first one counts."""
        return islice(self._before, place, None)
