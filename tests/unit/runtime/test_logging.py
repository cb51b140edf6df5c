"""Log lines are JSON with the fixed fields, whoever wrote them, and hold no secret."""

import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from drivewake.runtime import telemetry
from drivewake.runtime.logging import configure, get_logger


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    telemetry.shutdown()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was logged since."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_the_fixed_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, service, action, message and trace are always there."""
    configure("poller", "info", "json")
    get_logger("x").info("polled a log", action="polled", log="l1", changes=3)
    (line,) = lines(capsys)
    assert {
        "level": "info",
        "service": "poller",
        "action": "polled",
        "message": "polled a log",
        "trace_id": "",
        "span_id": "",
        "log": "l1",
        "changes": 3,
    } == {key: value for key, value in line.items() if key != "ts"}
    assert line["ts"].endswith("Z")


def test_a_line_inside_a_span_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The trace of the message being handled stands in the line."""
    configure("poller", "info", "json")
    telemetry.configure("poller")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with telemetry.continue_trace(parent, "poll"):
        get_logger("x").info("polled", action="polled")
    (line,) = lines(capsys)
    assert "0af7651916cd43dd8448eb211c80319c" == line["trace_id"]
    assert line["span_id"] not in {"", "b7ad6b7169203331"}


def test_libraries_log_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's line is JSON too, with its logger as action, its extras, and masked."""
    configure("auth", "info", "json")
    logging.getLogger("some.library").warning(
        "refused %s", "Bearer abcdefghijk", extra={"token": "x"}
    )
    (line,) = lines(capsys)
    assert ("warning", "auth", "some.library", "refused Bearer [redacted]", "[redacted]") == (
        line["level"],
        line["service"],
        line["action"],
        line["message"],
        line["token"],
    )


def test_exceptions_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is one field of one line, without the secret in the exception's text."""
    configure("auth", "info", "json")
    error = ValueError("password=hidden")
    get_logger("x").error("failed", action="failed", exc_info=error)
    (line,) = lines(capsys)
    assert "ValueError" in line["exception"]
    assert "hidden" not in json.dumps(line)


def test_noise_of_libraries_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Debug and info of chatty libraries, and our own below the level, are not written."""
    configure("auth", "info", "json")
    logging.getLogger("nats.aio.client").info("noise")
    logging.getLogger("granian").info("noise")
    get_logger("x").debug("noise", action="noise")
    assert [] == lines(capsys)


def test_warnings_become_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's warnings are logged, not printed."""
    logging.captureWarnings(capture=False)  # whoever captured before us lost it to pytest's own
    configure("auth", "info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = lines(capsys)
    assert "DeprecationWarning: old" in line["message"]


def test_people_get_a_readable_form(capsys: pytest.CaptureFixture[str]) -> None:
    """On request a line is text for people: no braces, no empty fields, still masked."""
    configure("auth", "info", "console")
    get_logger("x").info("granted", action="granted", token="x", log="l1")
    text = capsys.readouterr().out
    assert "granted" in text
    assert "log=l1" in text
    assert "trace_id" not in text
    assert "token=[redacted]" in text


def test_output_that_is_no_terminal_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` writes JSON where nobody looks."""
    configure("auth", "info", "auto")
    get_logger("x").info("granted", action="granted")
    assert "granted" == lines(capsys)[0]["message"]


def test_configuring_again_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The last set-up holds alone."""
    configure("auth", "info", "json")
    configure("poller", "info", "json")
    get_logger("x").info("once", action="once")
    assert ["poller"] == [line["service"] for line in lines(capsys)]
