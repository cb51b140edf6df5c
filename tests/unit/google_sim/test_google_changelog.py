"""The change log coalesces as Google's does."""

from hypothesis import given
from hypothesis import strategies as st

from drivewake.lab.google.changelog import ChangeLog, Entry


def test_a_file_has_one_entry_at_the_place_of_its_last_change() -> None:
    """Three changes of a file are one entry, behind what changed in between."""
    log = ChangeLog("u", 10)
    for file_id in ("a", "b", "a", "a"):
        log.append(file_id, 7)

    entries, following = log.read(10, 100)

    assert [Entry(11, "b", 7), Entry(13, "a", 7)] == entries
    assert following is None
    assert log.tip == 14


def test_reading_from_the_tip_finds_nothing() -> None:
    """A start token stands behind everything that happened before it."""
    log = ChangeLog("u", 10)
    log.append("a", 7)

    assert ([], None) == log.read(log.tip, 100)


def test_a_full_last_page_ends_the_log() -> None:
    """No empty page follows when the entries end with the page."""
    log = ChangeLog("u", 1)
    log.append("a", 7)
    log.append("b", 7)

    entries, following = log.read(1, 2)

    assert (2, None) == (len(entries), following)


@given(st.lists(st.integers(0, 5), max_size=3000), st.integers(1, 7), st.integers(0, 3000))
def test_paging_reads_the_coalesced_tail_in_order(files: list[int], page: int, skip: int) -> None:
    """Whatever the page size and the compaction, pages are the newest entry of each file."""
    log = ChangeLog("u", 1)
    for file in files:
        log.append(str(file), 0)
    start = 1 + skip
    newest = {str(f): n for n, f in enumerate(files, 1)}
    expected = sorted((n, f) for f, n in newest.items() if n >= start)

    read: list[tuple[int, str]] = []
    following: int | None = start
    while following is not None:
        entries, following = log.read(following, page)
        read += [(e.seq, e.file_id) for e in entries]

    assert expected == read
