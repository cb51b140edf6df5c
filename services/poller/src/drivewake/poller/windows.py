"""Closed windows of activity, and what becomes of one that Google cannot answer. Pure.

A window reaches from a little before the last one (`overlap_s`) to a little before now
(`settle_s`), so that its pages are of a set that does not change. It is read in slices, at
first one. What Google answers with 500 again and again is halved in time, then in kinds of
action; of a slice of one kind and one instant the children of its folder are read one by one.
What then is still missing is a gap: recorded, tried again ever less often, closed when it could
be read. Once a day the last two days are read again, for what arrived late.
"""

import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.keys import digest_of
from drivewake.contracts.raw import LogFact
from drivewake.contracts.records import Gap, LogRecord, Slice

ACTIONS: Final = (
    "CREATE",
    "EDIT",
    "MOVE",
    "RENAME",
    "DELETE",
    "RESTORE",
    "PERMISSION_CHANGE",
    "COMMENT",
    "DLP_CHANGE",
    "REFERENCE",
    "SETTINGS_CHANGE",
    "APPLIED_LABEL_CHANGE",
)
MAX_SLICES: Final = 256
MAX_GAPS: Final = 64
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS: Final = dt.timedelta(milliseconds=1)
_replace = msgspec.structs.replace


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """How activity is read; see the module. `tries`: 500s of a slice before it is split."""

    overlap_s: float = 300.0
    settle_s: float = 60.0
    first_s: float = 172_800.0
    requery_s: float = 86_400.0
    requery_reach_s: float = 172_800.0
    tries: int = 2
    shortest_ms: int = 1000
    gap_retry_s: float = 600.0
    gap_retry_cap_s: float = 86_400.0


def milliseconds(instant: dt.datetime) -> int:
    """Return an instant as milliseconds since 1970."""
    return (instant - _EPOCH) // _MS


def instant(at_ms: int) -> dt.datetime:
    """Return milliseconds since 1970 as an instant."""
    return _EPOCH + at_ms * _MS


def planned(windows: Windows, record: LogRecord, now: dt.datetime) -> LogRecord:
    """Return the record with something to read, if anything is due.

    The cursor moves at once: what is planned is a debt that the record keeps until it is paid.
    """
    if record.slices:
        return record
    until_ms = milliseconds(now) - round(windows.settle_s * 1000)
    if not record.cursor:
        first_ms = until_ms - round(windows.first_s * 1000)
        due = now + dt.timedelta(seconds=windows.requery_s)
        opened = _replace(record, phase="live", requery_at=due)
        return _opened(opened, Slice(after_ms=first_ms, until_ms=until_ms))
    retried = _retried(windows, record, now)
    if retried is not None:
        return retried
    if until_ms <= int(record.cursor):
        return record
    after_ms = int(record.cursor) - round(windows.overlap_s * 1000)
    if record.requery_at is None or record.requery_at <= now:
        after_ms = min(after_ms, until_ms - round(windows.requery_reach_s * 1000))
        record = _replace(record, requery_at=now + dt.timedelta(seconds=windows.requery_s))
    return _opened(record, Slice(after_ms=after_ms, until_ms=until_ms))


def _opened(record: LogRecord, window: Slice) -> LogRecord:
    return _replace(record, cursor=str(window.until_ms), slices=(window,))


def _retried(windows: Windows, record: LogRecord, now: dt.datetime) -> LogRecord | None:
    """Plan to read a gap whose time has come, and say when it will be tried after that."""
    for number, gap in enumerate(record.gaps):
        if gap.retry_at is None or gap.retry_at > now:
            continue
        wait_s = min(windows.gap_retry_s * 2.0 ** min(gap.tries, 16), windows.gap_retry_cap_s)
        later = _replace(gap, tries=gap.tries + 1, retry_at=now + dt.timedelta(seconds=wait_s))
        assert gap.missing_from is not None  # noqa: S101 - gaps of activity have both bounds
        assert gap.missing_to is not None  # noqa: S101
        again = Slice(
            after_ms=milliseconds(gap.missing_from),
            until_ms=milliseconds(gap.missing_to),
            actions=gap.actions,
            folder=gap.item,
            tries=windows.tries,
            gap=gap.id,
        )
        gaps = (*record.gaps[:number], later, *record.gaps[number + 1 :])
        return _replace(record, gaps=gaps, slices=(again,))
    return None


def read(
    record: LogRecord, page_token: str, alike: dict[str, int]
) -> tuple[LogRecord, tuple[str, ...]]:
    """Return the record behind a page of its first slice, and the gaps that this closed."""
    first, *rest = record.slices
    if page_token:
        going_on = _replace(first, page_token=page_token, alike=alike)
        return _replace(record, slices=(going_on, *rest)), ()
    record = _replace(record, slices=tuple(rest))
    if not first.gap or any(one.gap == first.gap for one in rest):
        return record, ()
    gaps = tuple(gap for gap in record.gaps if gap.id != first.gap)
    closed = (first.gap,) if len(gaps) < len(record.gaps) else ()
    return _replace(record, gaps=gaps), closed


def tried(record: LogRecord) -> LogRecord:
    """Count that the first slice could not be read; its pages begin anew."""
    first, *rest = record.slices
    again = _replace(first, tries=first.tries + 1, page_token="", alike={})
    return _replace(record, slices=(again, *rest))


def split(windows: Windows, record: LogRecord) -> LogRecord | None:
    """Split the first slice, in time or in actions; None if it cannot be split further.

    Part of a gap that was retried is not split again: it was split when it arose.
    """
    first, *rest = record.slices
    if len(record.slices) >= MAX_SLICES or first.item or first.gap:
        return None
    halves: tuple[Slice, Slice]
    if first.until_ms - first.after_ms > windows.shortest_ms and not first.actions:
        middle_ms = (first.after_ms + first.until_ms) // 2
        halves = (_replace(first, until_ms=middle_ms), _replace(first, after_ms=middle_ms))
    else:
        actions = first.actions.split() or list(ACTIONS)
        if len(actions) == 1:
            return None
        half = len(actions) // 2
        halves = (
            _replace(first, actions=" ".join(actions[:half])),
            _replace(first, actions=" ".join(actions[half:])),
        )
    fresh = (_replace(one, page_token="", alike={}) for one in halves)
    return _replace(record, slices=(*fresh, *rest))


def given_up(
    windows: Windows,
    record: LogRecord,
    folders: tuple[str, ...],
    files: tuple[str, ...],
    now: dt.datetime,
) -> LogRecord:
    """Make a gap of the first slice, and read the children of its folder one by one.

    The gap stays although the children can be read: who lay there then need not lie there now.
    """
    first, *rest = record.slices
    if first.item or first.gap:
        return _replace(record, slices=tuple(rest))
    gap = Gap(
        id=gap_id(record, first),
        reason="activity_internal_error",
        missing_from=instant(first.after_ms),
        missing_to=instant(first.until_ms),
        actions=first.actions,
        item=first.folder,
        retry_at=now + dt.timedelta(seconds=windows.gap_retry_s),
    )
    gaps = record.gaps if any(one.id == gap.id for one in record.gaps) else (*record.gaps, gap)
    room = max(MAX_SLICES - len(rest), 0)
    children = (
        *(_replace(first, folder=folder, page_token="", alike={}) for folder in folders),
        *(_replace(first, item=file, folder="", page_token="", alike={}) for file in files),
    )
    return _replace(record, gaps=gaps, slices=(*children[:room], *rest))


def ungapped(record: LogRecord) -> LogRecord:
    """Let the first slice close no gap: what it was about cannot be asked for any more."""
    first, *rest = record.slices
    return _replace(record, slices=(_replace(first, gap=""), *rest))


def gap_id(record: LogRecord, part: Slice) -> str:
    """Return the id of the gap that a slice leaves: the same hole has the same id."""
    return digest_of(
        record.log, "activity", part.after_ms, part.until_ms, part.actions, part.folder, part.item
    )


def gap_closed(gap: str, now: dt.datetime) -> LogFact:
    """Say that a gap could be read after all."""
    return LogFact(fact="gap_closed", started_at=now, gap=gap)
