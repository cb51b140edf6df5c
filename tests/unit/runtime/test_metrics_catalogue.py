"""Metrics are declared once, named as Prometheus wants, with bounded labels."""

import pytest
from prometheus_client import CollectorRegistry

from drivewake.runtime.metrics import Counter, Gauge, Histogram, Unit, exposition


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


def shown(registry: CollectorRegistry) -> list[str]:
    """Return the samples, without the creation times."""
    text = exposition(registry).decode()
    return [line for line in text.splitlines() if line[0] != "#" and "_created" not in line]


def test_a_counter(registry: CollectorRegistry) -> None:
    """It carries prefix, unit and `_total`, and counts by label."""
    polls = Counter(
        "polls", meaning="Polls.", labels={"outcome": ("ok", "failed")}, registry=registry
    )
    polls.add(outcome="ok")
    polls.add(2, outcome="failed")
    assert [
        'drivewake_polls_total{outcome="ok"} 1.0',
        'drivewake_polls_total{outcome="failed"} 2.0',
    ] == shown(registry)


def test_a_gauge(registry: CollectorRegistry) -> None:
    """It is set, and moved by an amount."""
    size = Gauge("queue", unit="bytes", meaning="Bytes waiting.", registry=registry)
    size.set(10)
    size.add(-3)
    assert ["drivewake_queue_bytes 7.0"] == shown(registry)


def test_a_histogram(registry: CollectorRegistry) -> None:
    """It counts into its buckets, in seconds by default."""
    waits = Histogram("wait", meaning="Waits.", buckets=(0.1, 1), registry=registry)
    waits.observe(0.5)
    assert [
        'drivewake_wait_seconds_bucket{le="0.1"} 0.0',
        'drivewake_wait_seconds_bucket{le="1.0"} 1.0',
        'drivewake_wait_seconds_bucket{le="+Inf"} 1.0',
        "drivewake_wait_seconds_count 1.0",
        "drivewake_wait_seconds_sum 0.5",
    ] == shown(registry)


def test_an_unknown_label_value_is_other(registry: CollectorRegistry) -> None:
    """No value that was not declared makes a new series."""
    polls = Counter("polls", meaning="Polls.", labels={"outcome": ("ok",)}, registry=registry)
    polls.add(outcome="someone@example.com")
    assert ['drivewake_polls_total{outcome="other"} 1.0'] == shown(registry)


@pytest.mark.parametrize("labels", [{}, {"outcome": "ok", "more": "x"}, {"more": "x"}])
def test_labels_must_be_all_there(registry: CollectorRegistry, labels: dict[str, str]) -> None:
    """A missing or an extra label is a mistake of the code, told at once."""
    polls = Counter("polls", meaning="Polls.", labels={"outcome": ("ok",)}, registry=registry)
    with pytest.raises(ValueError, match="has the labels"):
        polls.add(1, **labels)


@pytest.mark.parametrize("name", ["Polls", "polls-ok", "_polls", "polls__ok", "1polls", ""])
def test_names_are_checked(registry: CollectorRegistry, name: str) -> None:
    """Only lower-case words with single underscores."""
    with pytest.raises(ValueError, match="only a-z"):
        Counter(name, meaning="Polls.", registry=registry)


def test_a_meaning_is_a_sentence(registry: CollectorRegistry) -> None:
    """What is shown to operators ends like a sentence."""
    with pytest.raises(ValueError, match="sentence"):
        Counter("polls", meaning="polls", registry=registry)


@pytest.mark.parametrize("values", [(), tuple(str(number) for number in range(65))])
def test_label_values_are_bounded(registry: CollectorRegistry, values: tuple[str, ...]) -> None:
    """A label has 1 to 64 values."""
    with pytest.raises(ValueError, match="1 to 64"):
        Counter("polls", meaning="Polls.", labels={"outcome": values}, registry=registry)


@pytest.mark.parametrize("unit", ["", "seconds", "bytes"])
def test_a_name_is_taken_once(registry: CollectorRegistry, unit: Unit) -> None:
    """Two metrics of one name are a mistake."""
    Gauge("x", unit=unit, meaning="X.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("x", unit=unit, meaning="X.", registry=registry)
