"""Where in the book of activities those of one kind, and those below one folder, are. Pure."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING

from drivewake.lab.google.activity_filter import Filter
from drivewake.lab.google.model import FOLDER

if TYPE_CHECKING:
    from drivewake.lab.google.activity_book import Record

_NO_PLACES: Sequence[int] = ()


class ActivityIndex:
    """Rising places by case of ActionDetail and by folder; four bytes each.

    A folder's are its own, of what was below it, and of what left it.
    """

    def __init__(self) -> None:
        self._cases: dict[str, array[int]] = {}
        self._folders: dict[str, array[int]] = {}

    def note(self, record: "Record", previous: "Record | None") -> None:
        """Add a record, with the one before it of the same item."""
        for case, _ in record.details:
            places = self._cases.setdefault(case, array("I"))
            if not places or places[-1] != record.n:
                places.append(record.n)
        folders = record.above
        if record.mime_type in {FOLDER, ""}:
            folders = (record.file_id, *folders)
        if previous is not None and "move" in record.cases:
            folders = tuple(dict.fromkeys((*folders, *previous.above)))
        for folder in folders:
            held = self._folders.get(folder)
            if held is None:
                held = self._folders[folder] = array("I")
            held.append(record.n)

    def candidates(self, folder: str, wanted: Filter, end: int) -> tuple[Iterator[int], bool]:
        """Return places below `end`, newest first, and whether all of them are the folder's.

        They are the fewest that the folder or one term of the filter leaves.
        """
        here = self._folders.get(folder, _NO_PLACES)
        best, size, of_folder = [here], len(here), True
        terms = list(wanted.wanted)
        if wanted.refused:
            terms.append(frozenset(self._cases) - wanted.refused)
        for cases in terms:
            lists = [self._cases[case] for case in cases if case in self._cases]
            total = sum(map(len, lists))
            if total < size:
                best, size, of_folder = list(lists), total, False
        falling = merge(*(_falling(places, end) for places in best), reverse=True)
        return (place for place, _ in groupby(falling)), of_folder


def _falling(places: Sequence[int], end: int) -> Iterator[int]:
    for at in range(bisect_left(places, end) - 1, -1, -1):
        yield places[at]
