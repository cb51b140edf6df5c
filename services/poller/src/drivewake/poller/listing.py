"""What reading changes and listings makes of a log: pure, the clock passed in.

A log begins with a start token. From it on changes are read, first and foremost; the listing
goes on beside them, page by page, between the facts `snapshot_started` and
`snapshot_completed`. A cursor that Google refuses is a gap with bounds, which the next whole
listing closes; a listing that Google calls incomplete completes nothing.
"""

import datetime as dt

import msgspec

from drivewake.contracts.keys import digest_of
from drivewake.contracts.raw import LogFact
from drivewake.contracts.records import Gap, LogRecord, Snapshot
from drivewake.poller.domain import Rules, seconds_until

_replace = msgspec.structs.replace


def started(record: LogRecord, start_token: str, snapshot: str, now: dt.datetime) -> LogRecord:
    """Begin to read from a start token, with a listing that begins after it was taken."""
    return listing_begun(_replace(record, phase="snapshot", cursor=start_token), snapshot, now)


def listing_begun(record: LogRecord, snapshot: str, now: dt.datetime) -> LogRecord:
    """Begin a listing beside the reading of changes; of a user's log it tells drives first."""
    return _replace(
        record,
        snapshot=Snapshot(id=snapshot, started_at=now),
        relist_at=None,
        drives_at=None,
    )


def listing_due(record: LogRecord, now: dt.datetime) -> bool:
    """Say whether a listing should begin now."""
    if record.snapshot is not None or record.phase == "new":
        return False
    due = record.relist_at is not None and seconds_until(record.relist_at, now) <= 0
    return record.phase == "snapshot" or due


def relisting(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Make a full listing due; one under way is followed by another."""
    return _replace(record, relist_at=now)


def resynced(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Make everything be looked at again, now: the files, and a user's shared drives."""
    return _replace(relisting(record, now), drives_at=None, next_poll_at=now)


def listing_turn(rules: Rules, record: LogRecord) -> bool:
    """Say whether the next page is the listing's; changes are read in between."""
    snapshot = record.snapshot
    return snapshot is not None and snapshot.pages - snapshot.read_at < rules.live_pages


def advanced(
    record: LogRecord, cursor: str, changes: int, now: dt.datetime, *, end: bool = False
) -> LogRecord:
    """Move the cursor behind a page whose changes are published; `end`: nothing is behind it."""
    changed = now if changes else record.last_change_at
    snapshot = record.snapshot
    if end and snapshot is not None:
        snapshot = _replace(snapshot, read_at=snapshot.pages)
    return _replace(
        record, cursor=cursor, last_change_at=changed, snapshot=snapshot, fresh_first=False
    )


def found(record: LogRecord, count: int, now: dt.datetime) -> LogRecord:
    """Remember that something happened, if anything did."""
    return _replace(record, last_change_at=now) if count else record


def listed(
    record: LogRecord, page_token: str, files: int, now: dt.datetime, *, incomplete: bool
) -> LogRecord:
    """Move a listing behind one page; an incomplete answer opens a gap that outlives it."""
    snapshot = _snapshot(record)
    moved = _replace(
        snapshot, page_token=page_token, pages=snapshot.pages + 1, files=snapshot.files + files
    )
    gaps = record.gaps
    if incomplete and listing_whole(record):
        gap = Gap(id=incomplete_gap(record), reason="incomplete_search", missing_to=now)
        gaps = (*gaps, gap)
    return _replace(record, snapshot=moved, gaps=gaps)


def listing_whole(record: LogRecord) -> bool:
    """Say whether Google vouched for every page of the listing so far."""
    return incomplete_gap(record) not in open_gaps(record)


def listing_ended(rules: Rules, record: LogRecord, now: dt.datetime) -> LogRecord:
    """Close a listing behind its last page; an incomplete one is tried again."""
    ended = _replace(record, phase="live", snapshot=None)
    if listing_whole(record):
        return _replace(ended, gaps=())
    return _replace(ended, relist_at=now + dt.timedelta(seconds=rules.relist_s))


def listing_lost(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Begin the listing again: Google forgot its page token."""
    return _replace(record, snapshot=None, relist_at=now)


def cursor_lost(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Open a gap and go back to the beginning: a snapshot must re-establish the state."""
    gaps = record.gaps
    if lost_gap(record) not in open_gaps(record):
        gap = Gap(
            id=lost_gap(record),
            reason="cursor_lost",
            missing_from=record.last_success_at,
            missing_to=now,
        )
        gaps = (*gaps, gap)
    return _replace(record, phase="new", cursor="", snapshot=None, gaps=gaps)


def open_gaps(record: LogRecord) -> tuple[str, ...]:
    """Return the ids of the gaps that are open."""
    return tuple(gap.id for gap in record.gaps)


def lost_gap(record: LogRecord) -> str:
    """Return the id of the gap behind the record's cursor: the same loss has the same id."""
    return digest_of(record.log, "cursor", record.cursor)


def incomplete_gap(record: LogRecord) -> str:
    """Return the id of the gap that an incomplete answer leaves in the record's snapshot."""
    return digest_of(record.log, "incomplete", _snapshot(record).id)


def _snapshot(record: LogRecord) -> Snapshot:
    assert record.snapshot is not None  # noqa: S101 - asked of a listing under way alone
    return record.snapshot


# -- Facts of the whole log ------------------------------------------------------------------


def snapshot_started(record: LogRecord) -> LogFact:
    """Say that a listing began."""
    snapshot = _snapshot(record)
    reason = record.gaps[0].reason if record.gaps else ""
    return LogFact(
        fact="snapshot_started", started_at=snapshot.started_at, snapshot=snapshot.id, reason=reason
    )


def snapshot_ended(record: LogRecord) -> tuple[LogFact, ...]:
    """Say what a whole listing settles: itself, and every gap before it. Else nothing."""
    if not listing_whole(record):
        return ()
    snapshot = _snapshot(record)
    done = LogFact(
        fact="snapshot_completed",
        started_at=snapshot.started_at,
        snapshot=snapshot.id,
        files=snapshot.files,
        drives=snapshot.drives,
    )
    closed = (
        LogFact(fact="gap_closed", started_at=snapshot.started_at, snapshot=snapshot.id, gap=gap)
        for gap in open_gaps(record)
    )
    return (done, *closed)


def gaps_opened(before: LogRecord, after: LogRecord, now: dt.datetime) -> tuple[LogFact, ...]:
    """Say what is missing in `after` that was not in `before`."""
    known = set(open_gaps(before))
    return tuple(gap_opened(before, gap, now) for gap in after.gaps if gap.id not in known)


def gap_opened(record: LogRecord, gap: Gap, now: dt.datetime) -> LogFact:
    """Say what a gap leaves unread."""
    in_listing = gap.reason == "incomplete_search" and record.snapshot is not None
    return LogFact(
        fact="gap_opened",
        started_at=now,
        snapshot=_snapshot(record).id if in_listing else "",
        gap=gap.id,
        reason=gap.reason,
        missing_from=gap.missing_from,
        missing_to=gap.missing_to,
    )


# -- Shared drives ---------------------------------------------------------------------------


def drives_due(rules: Rules, record: LogRecord, now: dt.datetime) -> bool:
    """Say whether a user's shared drives should be listed now."""
    if record.kind != "user_changes" or record.phase == "new":
        return False
    return record.drives_at is None or -seconds_until(record.drives_at, now) >= rules.drives_s


def untold(record: LogRecord) -> bool:
    """Say whether nobody has been told yet that the listing under way began."""
    return drives_in_listing(record) and _snapshot(record).drives is None


def drives_in_listing(record: LogRecord) -> bool:
    """Say whether the drives that are listed next belong to the listing under way."""
    return record.snapshot is not None and record.snapshot.pages == 0


def drives_listed(record: LogRecord, now: dt.datetime, drives: int = 0) -> LogRecord:
    """Remember when the shared drives were listed, and how many there are."""
    snapshot = record.snapshot
    if snapshot is not None and drives_in_listing(record):
        snapshot = _replace(snapshot, drives=drives)
    return _replace(record, drives_at=now, snapshot=snapshot)


def drives_doubted(record: LogRecord) -> LogRecord:
    """Let a user's shared drives be listed again: one was joined, changed or left."""
    return _replace(record, drives_at=None)


def drive_left(record: LogRecord, now: dt.datetime) -> LogRecord:
    """End the log of a drive that is not among the user's any more."""
    return _replace(record, left=True, owner="", claimed_until=None, next_poll_at=now)


def drive_joined(record: LogRecord, now: dt.datetime) -> LogRecord:
    """Begin the log of a drive anew that the user has joined again."""
    return _replace(
        record,
        left=False,
        stopped=False,
        phase="new",
        cursor="",
        snapshot=None,
        slices=(),
        pending=(),
        gaps=(),
        failures=0,
        last_error="",
        next_poll_at=now,
    )


def left_behind(record: LogRecord) -> LogRecord:
    """Stop a log for good whose drive was left, once that is told."""
    return _replace(
        record,
        stopped=True,
        phase="new",
        cursor="",
        snapshot=None,
        slices=(),
        pending=(),
        gaps=(),
    )
