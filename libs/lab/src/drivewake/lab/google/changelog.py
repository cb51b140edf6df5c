"""A change log that coalesces: one entry per file, always at the place of its last change.

Google keeps one entry per file or shared drive; each change gives it a new id and replaces
the previous entry (change-overview). What an entry says is looked up when it is read, so a
log holds file ids alone.
"""

from array import array
from bisect import bisect_left
from typing import NamedTuple


class Entry(NamedTuple):
    """A file changed; `at_ms` is when, `seq` is the entry's place in this log."""

    seq: int
    file_id: str
    at_ms: int


class ChangeLog:
    """The changes one principal, or one shared drive, can replay.

    `id` names the log in the ledger. Places begin at `base`, which differs between logs,
    so that a token used on the wrong log is wrong instead of harmless.
    """

    __slots__ = ("_files", "_latest", "_next", "_seqs", "_times", "base", "id")

    def __init__(self, log_id: str, base: int) -> None:
        self.id = log_id
        self.base = base
        self._next = base
        self._seqs = array("q")
        self._times = array("q")
        self._files: list[str] = []
        self._latest: dict[str, int] = {}

    def __len__(self) -> int:
        """How many files have an entry."""
        return len(self._latest)

    @property
    def tip(self) -> int:
        """The place the next change will take: a start page token."""
        return self._next

    def append(self, file_id: str, at_ms: int) -> int:
        """Put the file at the tail, in place of its earlier entry; return its place."""
        seq = self._next
        self._next += 1
        self._seqs.append(seq)
        self._times.append(at_ms)
        self._files.append(file_id)
        self._latest[file_id] = seq
        if len(self._files) > 2 * len(self._latest) + 1024:
            self._compact()
        return seq

    def read(self, start: int, limit: int) -> tuple[list[Entry], int | None]:
        """Return up to `limit` living entries from place `start` on, and where to go on.

        The second value is None when the log was read to its end.
        """
        found: list[Entry] = []
        seqs, files, times, latest = self._seqs, self._files, self._times, self._latest
        for at in range(bisect_left(seqs, start), len(files)):
            seq, file_id = seqs[at], files[at]
            if latest[file_id] == seq:
                if len(found) == limit:
                    return found, seq
                found.append(Entry(seq, file_id, times[at]))
        return found, None

    def _compact(self) -> None:
        living = [i for i, f in enumerate(self._files) if self._latest[f] == self._seqs[i]]
        self._files = [self._files[i] for i in living]
        self._times = array("q", (self._times[i] for i in living))
        self._seqs = array("q", (self._seqs[i] for i in living))
