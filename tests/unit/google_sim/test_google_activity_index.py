"""The index of activities leaves out none that a query asks for, and is short for rare ones."""

import itertools

import pytest

from drivewake.lab.google import Options, SimulatedGoogle
from drivewake.lab.google.activity_book import Record
from drivewake.lab.google.activity_filter import parse
from drivewake.lab.scenarios.organisation import Size, found, settle

FILTERS = (
    "",
    "detail.action_detail_case:MOVE",
    "detail.action_detail_case:(DELETE RESTORE)",
    "detail.action_detail_case:(CREATE MOVE PERMISSION_CHANGE)",
    "-detail.action_detail_case:CREATE",
    "detail.action_detail_case:(EDIT MOVE) -detail.action_detail_case:EDIT",
    "detail.action_detail_case:DLP_CHANGE",
)


@pytest.fixture(scope="module")
def world() -> SimulatedGoogle:
    """Return an organisation with a history."""
    world = SimulatedGoogle(Options(seed=3), now_ns=itertools.count(10**18, 10**7).__next__)
    settle(world, found(3, Size(people=8, teams=3, files=60, steps=400, departures=1)))
    return world


def is_below(world: SimulatedGoogle, record: Record, folder: str) -> bool:
    """Whether it happened to a folder, below it, or took something out of it."""
    records = world.activities.records
    left = record.previous >= 0 and "move" in record.cases
    former = records[record.previous].above if left else ()
    return folder in {record.file_id, *record.above, *former}


@pytest.mark.parametrize("text", FILTERS)
def test_candidates_hold_all_that_match_newest_first(world: SimulatedGoogle, text: str) -> None:
    """For every folder, and from any place on down."""
    records, wanted = world.activities.records, parse(text)
    folders = {folder for record in records for folder in record.above}

    for folder, end in itertools.product(sorted(folders), (len(records), len(records) // 2)):
        places, all_here = world.activities.index.candidates(folder, wanted, end)
        found = [records[place] for place in places]
        expected = [
            record
            for record in reversed(records[:end])
            if is_below(world, record, folder) and wanted.passes(record.at_ns, record.cases)
        ]
        assert expected == [
            record
            for record in found
            if (all_here or is_below(world, record, folder))
            and wanted.passes(record.at_ns, record.cases)
        ]
        if all_here:
            assert all(is_below(world, record, folder) for record in found)


def test_a_rare_case_is_found_without_reading_the_rest(world: SimulatedGoogle) -> None:
    """No more candidates than activities of that case."""
    records, wanted = world.activities.records, parse("detail.action_detail_case:MOVE")
    moves = sum("move" in record.cases for record in records)
    busiest = max(
        {folder for record in records for folder in record.above},
        key=lambda folder: sum(is_below(world, record, folder) for record in records),
    )

    places, _ = world.activities.index.candidates(busiest, wanted, len(records))

    assert 0 < moves < len(records) / 5
    assert moves >= len(list(places))
