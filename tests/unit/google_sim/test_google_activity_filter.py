"""The filter of Drive Activity is read as Google documents it."""

import pytest

from drivewake.lab.google.activity_filter import FilterError, parse

MS = 1_000_000
EDIT, MOVE, NOTHING = frozenset({"edit"}), frozenset({"move"}), frozenset[str]()


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("time > 1000", [1001]),
        ("time >= 1000", [1000, 1001]),
        ("time < 1000", [999]),
        ("time <= 1000", [999, 1000]),
        ("time = 1000", [1000]),
        ('time >= "1970-01-01T00:00:01Z"', [1000, 1001]),
        ('time > "1970-01-01T01:00:01+01:00"', [1001]),
        ("time>=1000 AND time<1001", [1000]),
        ("time >= 1000 time < 1001", [1000]),
        ("", [999, 1000, 1001]),
    ],
)
def test_time_takes_numeric_operators_on_milliseconds_and_rfc_3339(
    text: str, passing: list[int]
) -> None:
    """Drive Activity: time with numeric ops, ms epoch or RFC 3339 in quotes; AND is optional."""
    found = parse(text)

    assert passing == [ms for ms in (999, 1000, 1001) if found.passes(ms * MS, EDIT)]


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("detail.action_detail_case:EDIT", [EDIT, EDIT | MOVE]),
        ("detail.action_detail_case:(EDIT MOVE)", [EDIT, MOVE, EDIT | MOVE]),
        ("-detail.action_detail_case:MOVE", [EDIT]),
        ("-detail.action_detail_case:(MOVE EDIT)", []),
        ("detail.action_detail_case:EDIT AND -detail.action_detail_case:MOVE", [EDIT]),
        ("detail.action_detail_case:EDIT time > 5", [EDIT, EDIT | MOVE]),
    ],
)
def test_action_detail_case_has_one_several_or_none_of_them(
    text: str, passing: list[frozenset[str]]
) -> None:
    """Drive Activity: `:X`, `:(A B)` and a hyphen that excludes."""
    found = parse(text)

    assert passing == [c for c in (EDIT, MOVE, EDIT | MOVE) if found.passes(10 * MS, c)]


@pytest.mark.parametrize(
    "text",
    [
        "tim > 5",
        "time ~ 5",
        "time > x",
        'time > "yesterday"',
        'time > "2020-01-01"',
        "detail.action_detail_case:FLY",
        "detail.action_detail_case:(EDIT",
        "AND time > 5",
        "time > 5 AND",
        "time > 5 AND AND time < 9",
        "time > 5 OR time < 9",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    """A typing error is an error, never a filter that lets all pass."""
    with pytest.raises(FilterError):
        parse(text)
