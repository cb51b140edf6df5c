"""What a change does not carry: permissions, revisions and comments of the file that changed.

What is wanted is written into the log's record together with the cursor, so that a crash
forgets nothing; it is read in batches, in turn with changes, which must not wait for it. Lists
cost 100 units each, so each is asked for only where it can tell something new:

- permissions of items of shared drives, whose change carries none; a listing asks for those
  alone that have permissions of their own (the drive's members stand on its root);
- revisions when the content is another one than was last read about;
- comments of every version: nothing in a change says whether somebody commented.

Nothing is read twice for one version: what this process has read it remembers, in bounds.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from drivewake.contracts.records import LogRecord, Pending
from drivewake.gdrive.errors import GoogleError, RetryError
from drivewake.gdrive.pages import Item, Look, Part
from drivewake.gdrive.port import GoogleDrive, PartKind, Wanted
from drivewake.poller import metrics
from drivewake.poller.ports import Page, Seen, Step, Tokens

FOLDER: Final = "application/vnd.google-apps.folder"
SHORTCUT: Final = "application/vnd.google-apps.shortcut"
LETTERS: Final[dict[str, PartKind]] = {"p": "permissions", "r": "revisions", "c": "comments"}
MAX_LISTS: Final = 50
"""Lists read in one step: a batch that is over before fresh changes have waited long."""

OVERLAP_S: Final = 300
"""How far behind the last reading comments are asked for again: Google's clock is not ours."""

_encoder = msgspec.json.Encoder()
_replace = msgspec.structs.replace


class Memory:
    """What was read of late, and when (seconds since 1970); the oldest is forgotten."""

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._at: OrderedDict[int, float] = OrderedDict()

    def at(self, *parts: str) -> float | None:
        """Return when this was read, None if it was not or is forgotten."""
        return self._at.get(hash(parts))

    def add(self, at_s: float, *parts: str) -> None:
        """Remember that this was read."""
        self._at[hash(parts)] = at_s
        self._at.move_to_end(hash(parts))
        if len(self._at) > self._capacity:
            self._at.popitem(last=False)


class Enrichment:
    """Wants and reads parts of changed files; `parts` says which kinds."""

    def __init__(
        self, drive: GoogleDrive, tokens: Tokens, parts: Iterable[PartKind], memory: Memory
    ) -> None:
        self._drive = drive
        self._tokens = tokens
        self._letters = [letter for letter, kind in LETTERS.items() if kind in set(parts)]
        self._memory = memory

    def want(self, record: LogRecord, items: Sequence[Item], *, listed: bool) -> LogRecord:
        """Return the record with what these items make worth reading."""
        wanted = [*record.pending]
        for item in items:
            look = item.look
            if look is None or item.removed or item.is_drive:
                continue
            letters = [
                one
                for one in self._letters
                if _worth(one, look, listed=listed)
                and self._memory.at(record.tenant, item.id, one, mark_of(one, look)) is None
            ]
            if letters:
                mark = " ".join(mark_of(one, look) for one in letters)
                wanted.append(Pending(file=item.id, parts="".join(letters), mark=mark))
        return record if len(wanted) == len(record.pending) else _replace(record, pending=wanted)

    async def read(self, record: LogRecord) -> Step:
        """Read what fits into one batch of what the record wants."""
        taken = _first(record.pending)
        asked = [
            (pending, letter, mark)
            for pending in taken
            for letter, mark in zip(pending.parts, pending.mark.split(" "), strict=False)
            if self._memory.at(record.tenant, pending.file, letter, mark) is None
        ]
        lists = [self._question(record, pending, letter) for pending, letter, _ in asked]
        answers: list[Part | GoogleError] = []
        if lists:
            answers = await self._tokens.call(
                record.tenant, record.connection, lambda token: self._drive.read_parts(token, lists)
            )
        pages: list[Page] = []
        again: list[Pending] = []
        for (pending, letter, mark), answer in zip(asked, answers, strict=True):
            if isinstance(answer, RetryError):
                again.append(Pending(file=pending.file, parts=letter, mark=mark))
                continue
            if isinstance(answer, GoogleError):
                metrics.REFUSED_PARTS.add(part=LETTERS[letter])
            else:
                metrics.PARTS.add(part=LETTERS[letter])
                pages.append(part_page(LETTERS[letter], pending.file, answer, mark))
                self._memory.add(
                    answer.observed_at.timestamp(), record.tenant, pending.file, letter
                )
            # Also what was refused: asking again for the same version would be refused again.
            self._memory.add(0.0, record.tenant, pending.file, letter, mark)
        if again and not pages:
            raise next(one for one in answers if isinstance(one, RetryError))
        left = (*again, *record.pending[len(taken) :])
        return Step(record=_replace(record, pending=left, fresh_first=True), pages=pages)

    def _question(self, record: LogRecord, pending: Pending, letter: str) -> Wanted:
        since = ""
        if letter == "c":
            last_s = self._memory.at(record.tenant, pending.file, letter)
            if last_s is not None:
                since = rfc3339(dt.datetime.fromtimestamp(last_s - OVERLAP_S, dt.UTC))
        return Wanted(kind=LETTERS[letter], file=pending.file, since=since)


def _worth(letter: str, look: Look, *, listed: bool) -> bool:
    """Say whether a list can tell something that the file resource does not."""
    if letter == "p":
        return bool(look.drive_id) and (look.has_augmented_permissions or not listed)
    if listed or look.mime_type in {FOLDER, SHORTCUT}:
        return False
    return letter == "c" or look.capabilities.can_read_revisions


def mark_of(letter: str, look: Look) -> str:
    """Return what changes with the thing that a list tells about."""
    if letter == "r":
        return look.head_revision_id or look.modified_time
    return look.version


def _first(pending: Sequence[Pending]) -> Sequence[Pending]:
    """Return the first files whose lists fit into a batch, at least one."""
    lists = 0
    for number, one in enumerate(pending):
        lists += len(one.parts)
        if lists > MAX_LISTS:
            return pending[: max(number, 1)]
    return pending


def part_page(kind: PartKind, file: str, part: Part, mark: str = "") -> Page:
    """Return what a list told as raws: an ACL whole, revisions and comments one by one."""
    if kind == "permissions":
        body = msgspec.Raw(_encoder.encode({"permissions": part.items}))
        version = int(mark) if mark.isascii() and mark.isdigit() else 0
        items = [Seen(id=file, body=body, version=version)]
    else:
        items = [Seen(id=file, body=body) for body in part.items]
    return Page(
        source=kind,
        items=items,
        observed_at=part.observed_at,
        request=part.request,
    )


def rfc3339(instant: dt.datetime) -> str:
    """Return an instant as Google writes it."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
