# ruff: noqa: D103 - helpers whose names say it

from hypothesis import given
from hypothesis import strategies as st

from drivewake.poller.turns import Turns


def drained(turns: Turns[str]) -> list[str]:
    out = []
    while (entry := turns.next()) is not None:
        out.append(entry)
        turns.done(entry[0])
    return out


def test_connections_take_turns() -> None:
    """One connection with many logs does not hold up another with one."""
    turns: Turns[str] = Turns(per_connection=1)
    for entry in ("a1", "a2", "a3", "b1"):
        turns.add(entry[0], 5, entry)
    assert ["a1", "b1", "a2", "a3"] == drained(turns)


def test_urgent_goes_first_within_a_connection() -> None:
    """Priority 0 is the most urgent; equals keep their order of arrival."""
    turns: Turns[str] = Turns(per_connection=1)
    for priority, entry in ((5, "a1"), (0, "a2"), (5, "a3")):
        turns.add("a", priority, entry)
    assert ["a2", "a1", "a3"] == drained(turns)


def test_a_connection_has_a_bound() -> None:
    """No more of a connection is under way than allowed; the others go on."""
    turns: Turns[str] = Turns(per_connection=2)
    for entry in ("a1", "a2", "a3", "b1"):
        turns.add(entry[0], 5, entry)
    assert ["a1", "b1", "a2", None] == [turns.next() for _ in range(4)]
    assert 1 == len(turns)
    turns.done("a")
    assert "a3" == turns.next()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_nothing_is_lost_or_given_twice(entries: list[tuple[str, int]]) -> None:
    """Whatever is added comes out exactly once."""
    turns: Turns[str] = Turns(per_connection=1)
    names = [f"{connection}{n}" for n, (connection, _) in enumerate(entries)]
    for name, (connection, priority) in zip(names, entries, strict=True):
        turns.add(connection, priority, name)
    assert sorted(names) == sorted(drained(turns))
    assert 0 == len(turns)
