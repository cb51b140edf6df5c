"""When so much is dead that the service stops, and how batches grow and shrink."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.normalizer.errors import TooManyDeadError
from drivewake.normalizer.limits import BatchSize, DeadBound, DeadRule


def test_dead_in_a_row_stop() -> None:
    """A run of dead messages stops the service at the bound, not before."""
    bound = DeadBound(DeadRule(in_a_row=3, ratio=1.0, window=1000))
    bound.note([True, True, False, True, True], "r")
    with pytest.raises(TooManyDeadError, match="the last 3 messages"):
        bound.note([True], "r")


def test_dead_ratio_stops() -> None:
    """A share of dead messages stops the service, whatever stands between them."""
    bound = DeadBound(DeadRule(in_a_row=1000, ratio=0.2, window=100))
    bound.note([False, False, False, False, True] * 20, "r")
    with pytest.raises(TooManyDeadError, match="21 of the last 100 messages"):
        bound.note([False, True, True], "r")


def test_few_messages_say_nothing_of_a_ratio() -> None:
    """One dead message at the start is an exception, not a share."""
    bound = DeadBound(DeadRule(in_a_row=1000, ratio=0.2, window=100))
    bound.note([True, False, True], "r")
    bound.note([False] * 7, "r")


def test_message_names_reason_and_settings() -> None:
    """Who reads the log learns what is wrong and what to do."""
    bound = DeadBound(DeadRule(in_a_row=1, ratio=1.0, window=100))
    with pytest.raises(TooManyDeadError, match=r"newest: odd bytes.*DRIVEWAKE_DEAD_IN_A_ROW"):
        bound.note([True], "odd bytes")


@given(st.lists(st.booleans(), max_size=300))
def test_window_forgets_what_is_old(notes: list[bool]) -> None:
    """The bound is passed exactly when the newest window says so, however it is fed."""
    rule = DeadRule(in_a_row=10_000, ratio=0.5, window=20)
    windows = [notes[max(0, end - 20) : end] for end in range(1, len(notes) + 1)]
    expected = any(len(each) >= 2 and sum(each) > 0.5 * len(each) for each in windows)
    try:
        DeadBound(rule).note(notes, "r")
    except TooManyDeadError:
        passed = True
    else:
        passed = False
    assert expected is passed


def test_batches_grow_while_they_are_full_and_fast() -> None:
    """A full batch within its time makes the next larger; one that was not full does not."""
    size = BatchSize(least=10, most=1000, target_s=0.2)
    before = size.now
    size.note(before - 1, 0.01)
    assert before == size.now
    size.note(before, 0.01)
    assert before < size.now


def test_batches_shrink_when_they_are_slow_or_fail() -> None:
    """A batch that took too long, or failed, halves the next, down to the least."""
    size = BatchSize(least=100, most=1000, target_s=0.2)
    size.note(500, 0.5)
    assert 250 == size.now
    size.failed()
    size.failed()
    assert 100 == size.now


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 5)), max_size=50))
def test_batch_size_stays_within_its_bounds(history: list[tuple[int, float]]) -> None:
    """Whatever happens, the size is between least and most."""
    size = BatchSize(least=7, most=900, target_s=0.2)
    for taken, took_s in history:
        size.note(taken, took_s)
        assert 7 <= size.now <= 900
