"""Spans travel as traceparent, with or without somebody who collects them."""

import re
from collections.abc import Iterator

import pytest

from drivewake.runtime import telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """Trace without an exporter."""
    telemetry.configure("test")
    yield
    telemetry.shutdown()


def test_outside_of_spans_there_is_no_trace() -> None:
    """No span, no traceparent, and headers stay as they are."""
    assert telemetry.traceparent() is None
    assert {"a": "b"} == telemetry.with_traceparent({"a": "b"})


def test_a_trace_goes_on() -> None:
    """A child has the sender's trace and a span id of its own."""
    with telemetry.continue_trace(PARENT, "handle"):
        current = telemetry.traceparent() or ""
        with telemetry.span("inner"):
            inner = telemetry.traceparent() or ""
    assert TRACEPARENT.fullmatch(current)
    assert ["0af7651916cd43dd8448eb211c80319c"] * 2 == [current[3:35], inner[3:35]]
    assert 3 == len({PARENT[36:52], current[36:52], inner[36:52]})
    assert telemetry.traceparent() is None


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-" + "0" * 32 + "-b7-01", "x" * 5000])
def test_without_a_valid_parent_a_trace_begins(parent: str | None) -> None:
    """Whatever the sender wrote, there is a valid span."""
    with telemetry.continue_trace(parent, "handle"):
        assert TRACEPARENT.fullmatch(telemetry.traceparent() or "")


def test_a_given_header_is_kept() -> None:
    """Headers that carry a trace keep it; others get the current one."""
    with telemetry.span("send"):
        assert {"traceparent": PARENT} == telemetry.with_traceparent({"traceparent": PARENT})
        current = telemetry.traceparent()
        assert {"a": "b", "traceparent": current} == telemetry.with_traceparent({"a": "b"})


def test_an_exception_passes_through() -> None:
    """A failing block ends its span and raises what it raised."""
    with pytest.raises(ZeroDivisionError), telemetry.continue_trace(PARENT, "handle"):
        raise ZeroDivisionError
    assert telemetry.traceparent() is None


def test_an_unconfigured_process_works() -> None:
    """Before the set-up there are no ids, and nothing fails."""
    telemetry.shutdown()
    with telemetry.span("x"):
        assert telemetry.traceparent() is None
