"""What listings and lost cursors make of a log."""

import datetime as dt

import msgspec
import pytest

from drivewake.contracts.records import LogRecord
from drivewake.poller import domain, listing
from drivewake.poller.domain import Rules

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
RULES = Rules()
NEW = domain.new_log("t1", "c1", "user_changes", NOW)
replace = msgspec.structs.replace


@pytest.fixture
def live() -> LogRecord:
    """A live log that was read well ten seconds ago."""
    return replace(NEW, phase="live", cursor="100", last_success_at=NOW - dt.timedelta(seconds=10))


def listed(record: LogRecord, token: str, files: int, *, incomplete: bool = False) -> LogRecord:
    """Return the record behind one page of its listing."""
    return listing.listed(record, token, files, NOW, incomplete=incomplete)


def test_changes_are_read_from_the_start_token_while_the_listing_goes_on() -> None:
    """The start token is the cursor at once; the listing moves beside it."""
    begun = listing.started(NEW, "7", "s1", NOW)
    half = listed(begun, "p2", 1000)
    assert half.snapshot is not None
    assert ("snapshot", "7", "p2", 1000, 1) == (
        half.phase,
        half.cursor,
        half.snapshot.page_token,
        half.snapshot.files,
        half.snapshot.pages,
    )
    ended = listing.listing_ended(RULES, listed(half, "", 5), NOW)
    assert ("live", "7", None) == (ended.phase, ended.cursor, ended.snapshot)


def test_listing_gives_way_to_changes_every_few_pages(live: LogRecord) -> None:
    """After `live_pages` pages changes are read to their end, then the listing goes on."""
    record = listing.listing_begun(live, "s1", NOW)
    turns = []
    for _ in range(2 * RULES.live_pages):
        turns.append(listing.listing_turn(RULES, record))
        record = listed(record, "p", 1)
        if not listing.listing_turn(RULES, record):
            middle = listing.advanced(record, "101", 1, NOW, end=False)
            assert not listing.listing_turn(RULES, middle)
            record = listing.advanced(record, "102", 0, NOW, end=True)
    assert [True] * (2 * RULES.live_pages) == turns


def test_live_log_is_listed_again_when_that_is_due(live: LogRecord) -> None:
    """It stays live, on its cursor, and is not listed twice at once."""
    due = listing.resynced(live, NOW)
    assert [False, True] == [listing.listing_due(one, NOW) for one in (live, due)]
    begun = listing.listing_begun(due, "s1", NOW)
    assert ("live", "100", None) == (begun.phase, begun.cursor, begun.relist_at)
    assert not listing.listing_due(listing.resynced(begun, NOW), NOW)


def test_whole_listing_closes_every_gap_before_it(live: LogRecord) -> None:
    """A complete snapshot says how many files there are and closes what was open."""
    lost = listing.cursor_lost(live, NOW)
    whole = listed(listing.started(lost, "200", "s2", NOW), "", 3)
    facts = listing.snapshot_ended(whole)
    assert [("snapshot_completed", "", 3), ("gap_closed", lost.gaps[0].id, 0)] == [
        (fact.fact, fact.gap, fact.files) for fact in facts
    ]
    assert () == listing.listing_ended(RULES, whole, NOW).gaps


def test_incomplete_listing_proves_no_absence_and_is_tried_again() -> None:
    """Nothing is completed: the log goes live with a gap, and lists again in an hour."""
    begun = listing.started(NEW, "7", "s1", NOW)
    last = listed(listed(begun, "p2", 10, incomplete=True), "", 10, incomplete=True)
    assert () == listing.snapshot_ended(last)
    after = listing.listing_ended(RULES, last, NOW)
    gap = listing.incomplete_gap(begun)
    assert ("live", "7", (gap,)) == (after.phase, after.cursor, listing.open_gaps(after))
    opened = listing.gaps_opened(begun, last, NOW)
    assert [("gap_opened", "s1", gap)] == [(one.fact, one.snapshot, one.gap) for one in opened]
    hour = NOW + dt.timedelta(seconds=RULES.relist_s)
    assert [False, True] == [listing.listing_due(after, at) for at in (NOW, hour)]
    again = listing.listing_ended(
        RULES, listed(listing.listing_begun(after, "s2", hour), "", 3), hour
    )
    assert ("7", (), None) == (again.cursor, again.gaps, again.relist_at)


def test_lost_cursor_opens_a_gap_with_bounds(live: LogRecord) -> None:
    """The gap reaches from the last success until now and has the same id when said again."""
    lost = listing.cursor_lost(live, NOW)
    (fact,) = listing.gaps_opened(live, lost, NOW)
    assert ("gap_opened", "cursor_lost", live.last_success_at, NOW) == (
        fact.fact,
        fact.reason,
        fact.missing_from,
        fact.missing_to,
    )
    assert ("new", "", (fact.gap,)) == (lost.phase, lost.cursor, listing.open_gaps(lost))
    later = listing.cursor_lost(live, NOW + dt.timedelta(seconds=9))
    assert listing.open_gaps(later) == listing.open_gaps(lost)
    other = listing.cursor_lost(replace(live, cursor="101"), NOW)
    assert listing.open_gaps(other) != listing.open_gaps(lost)


def test_gaps_add_up(live: LogRecord) -> None:
    """A loss while another gap is open keeps both open."""
    first = listing.cursor_lost(live, NOW)
    second = listing.cursor_lost(replace(first, phase="live", cursor="500"), NOW)
    assert 2 == len(listing.open_gaps(second))


def test_shared_drives_are_listed_when_in_doubt_and_daily(live: LogRecord) -> None:
    """Of a user's log alone, and never before it has a cursor."""
    known = listing.drives_listed(live, NOW)
    day = NOW + dt.timedelta(seconds=RULES.drives_s)
    assert [True, False, True, True, False] == [
        listing.drives_due(RULES, live, NOW),
        listing.drives_due(RULES, known, NOW),
        listing.drives_due(RULES, known, day),
        listing.drives_due(RULES, listing.drives_doubted(known), NOW),
        listing.drives_due(RULES, NEW, NOW),
    ]
    of_drive = domain.new_log("t1", "c1", "drive_changes", NOW, "d1")
    assert not listing.drives_due(RULES, replace(of_drive, phase="live"), NOW)


def test_drive_that_is_joined_again_begins_anew(live: LogRecord) -> None:
    """What was left is over: no claim, no cursor, and it is not polled until it comes back."""
    ended = listing.left_behind(listing.drive_left(live, NOW))
    assert (True, True, "new", "") == (ended.left, ended.stopped, ended.phase, ended.cursor)
    back = listing.drive_joined(ended, NOW)
    assert (False, False, "new") == (back.left, back.stopped, back.phase)
