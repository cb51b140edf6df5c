"""The demo's verdict finds what is wrong, and only that."""

import msgspec
import pytest

from drivewake.lab.demo.google import Ledger
from drivewake.lab.demo.verdict import Evidence, Fact, Seen, account, judge, percentiles_ms

MS = 1_000_000


def _seen(position: int, version: int, *, file: str = "f", ends: bool = False, at: int = 0) -> Seen:
    kind = "file.removed" if ends else "file.renamed"
    return Seen(f"id{position}", position, kind, file, version, ends, at)


GOOD = Evidence(
    expected_tree={"a": "1"},
    tree={"a": "1"},
    facts=[Fact("f", 1, 0), Fact("f", 2, MS), Fact("f", 3, 2 * MS)],
    taken={("f", 1), ("f", 3)},
    stored=[_seen(1, 1), _seen(2, 3)],
    downstream=[_seen(1, 1, at=5 * MS), _seen(2, 3, at=12 * MS)],
)


def _failing(evidence: Evidence) -> list[str]:
    return [line.claim for line in judge(evidence) if not line.holds]


def test_a_run_without_fault_passes_every_line() -> None:
    """Nothing is found where nothing is wrong."""
    assert [] == _failing(GOOD)


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ({"tree": {}}, "current tree = git ls-tree"),
        ({"tree": {"a": "2"}}, "current tree = git ls-tree"),
        ({"tree": {"a": "1", "b": "1"}}, "current tree = git ls-tree"),
        ({"facts": []}, "every fact accounted for"),
        ({"facts": [*GOOD.facts, Fact("f", 4, 3)]}, "every fact accounted for"),
        ({"facts": [*GOOD.facts, Fact("g", 1, 3)]}, "every fact accounted for"),
        ({"taken": {("f", 2)}}, "every fact accounted for"),
        ({"facts": [*GOOD.facts, Fact("f", 4, 3, removed=True)]}, "every fact accounted for"),
        ({"jumps": 1}, "the log was read without a jump"),
        ({"stored": [*GOOD.stored, _seen(3, 3)]}, "no fact under two ids"),
        ({"stored": [*GOOD.stored, GOOD.stored[0]]}, "no event twice in store"),
        ({"downstream": [*GOOD.downstream, GOOD.downstream[0]]}, "no event twice in downstream"),
        ({"downstream": GOOD.downstream[:1]}, "downstream = store, same order"),
        ({"downstream": GOOD.downstream[::-1]}, "downstream = store, same order"),
        ({"stored": [_seen(1, 3), _seen(2, 1)]}, "per file, versions only rise"),
    ],
)
def test_each_fault_fails_its_line(fault: dict[str, object], claim: str) -> None:
    """One planted fault is named by the line that is about it."""
    assert claim in _failing(msgspec.structs.replace(GOOD, **fault))


def test_positions_with_holes_fail() -> None:
    """A store that skips a position is not in order, even if downstream skips it too."""
    holes = [_seen(1, 1), _seen(3, 3)]
    evidence = msgspec.structs.replace(GOOD, stored=holes, downstream=holes)
    assert ["downstream = store, same order"] == _failing(evidence)


def test_a_coalesced_fact_names_what_superseded_it() -> None:
    """Version 2 was replaced by 3 before anybody looked; removal counts as 0."""
    assert {("f", 2): 3} == account(GOOD).superseded
    removed = Evidence({}, {}, [Fact("g", 1, 0), Fact("g", 2, 1, removed=True)], set(), [], [])
    assert {("g", 1): 0, ("g", 2): 0} == account(removed).superseded


def test_a_fact_inside_a_recorded_gap_is_not_lost() -> None:
    """A gap accounts for the time that it names and for no other."""
    facts = [*GOOD.facts, Fact("g", 1, 5), Fact("g", 2, 50)]
    done = account(msgspec.structs.replace(GOOD, facts=facts, gaps=[(0, 10)]))
    assert (1, [facts[-1]]) == (done.in_gap, done.lost)


def test_delay_is_measured_where_the_version_itself_arrived() -> None:
    """Coalesced versions do not count; the first arrival of a version does."""
    assert (10.0, 10.0, 2) == percentiles_ms(GOOD.facts, GOOD.downstream)
    assert (0.0, 0.0, 0) == percentiles_ms(GOOD.facts, [])


def _page(start: int, following: int, *entries: tuple[str, int]) -> dict[str, object]:
    return {"type": "page", "log": "me", "start": start, "next": following, "entries": entries}


def _ledger(*pages: dict[str, object]) -> Ledger:
    ledger = Ledger("me")
    ledger.add(pages)
    return ledger


def test_a_page_is_taken_when_the_reader_asks_on_from_its_end() -> None:
    """The last page is not taken yet; the one before it is."""
    assert {("f", 1)} == _ledger(_page(1, 3, ("f", 1)), _page(3, 4, ("f", 2))).taken()


def test_a_page_that_a_crash_read_again_was_not_taken() -> None:
    """Killed before publishing 1→3, the reader found 1→4 and went on from 4."""
    pages = [_page(1, 3, ("f", 10)), _page(1, 4, ("f", 11)), _page(4, 4)]
    assert {("f", 11)} == _ledger(*pages).taken()
    assert 0 == _ledger(*pages).jumps()


def test_a_fresh_start_token_in_the_middle_is_a_jump() -> None:
    """Whoever goes on from a place that no page led to has skipped what is between."""
    assert 1 == _ledger(_page(1, 3), _page(50, 51)).jumps()
    assert 0 == _ledger(_page(1, 3), _page(3, 9), _page(9, 9), _page(9, 12)).jumps()
