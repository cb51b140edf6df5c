"""The command of a service: verbs, help, one line for each foreseeable error."""

import pytest

from drivewake.runtime.command import Verb, run_command
from drivewake.runtime.errors import BusUnavailableError, ConfigurationError


def _misconfigured() -> int:
    raise ConfigurationError("DRIVEWAKE_A: is required\nDRIVEWAKE_B: is required")


def _cut_off() -> int:
    raise BusUnavailableError


def _taken(phase: str, mode: str) -> int:
    return {"both": 10, "pre": 20}[phase] + {"a": 1, "b": 2}[mode]


VERBS = {
    "run": Verb("serve until SIGTERM", lambda: 0),
    "fail": Verb("end with its own code", lambda: 7),
    "misconfigured": Verb("want settings", _misconfigured),
    "cut-off": Verb("want a broker", _cut_off),
    "choose": Verb("take what is said", _taken, {"phase": ("both", "pre"), "mode": ("a", "b")}),
}


@pytest.mark.parametrize(("verb", "code"), [("run", 0), ("fail", 7)])
def test_a_verb_gives_its_exit_code(verb: str, code: int) -> None:
    """What the verb returns is what the process ends with."""
    assert code == run_command("s", VERBS, [verb])


@pytest.mark.parametrize(
    ("options", "code"),
    [([], 11), (["--phase", "pre"], 21), (["--mode=b", "--phase=pre"], 22)],
)
def test_a_verb_gets_its_options(options: list[str], code: int) -> None:
    """By name, with what was not said as its first choice."""
    assert code == run_command("s", VERBS, ["choose", *options])


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["dance"], ["run", "fast"], ["run", "--phase", "pre"]),
        *(["choose", "--phase"], ["choose", "phase=pre"], ["choose", "--phase=never"]),
    ],
)
def test_unknown_words_get_the_usage_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and every verb with what it does."""
    assert 2 == run_command("s", VERBS, arguments)
    said = capsys.readouterr()
    assert "" == said.out
    assert "usage: drivewake-s VERB" in said.err
    assert "serve until SIGTERM" in said.err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for, the usage goes to stdout with exit code 0."""
    assert 0 == run_command("s", VERBS, ["--help"])
    assert "usage: drivewake-s VERB" in capsys.readouterr().out


def test_wrong_settings_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line a problem."""
    assert 2 == run_command("s", VERBS, ["misconfigured"])
    assert 2 == len(capsys.readouterr().err.splitlines())


def test_a_missing_neighbour_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, naming service and verb, without a traceback."""
    assert 1 == run_command("s", VERBS, ["cut-off"])
    assert (
        "s cannot cut-off: The message broker did not answer in time.\n" == capsys.readouterr().err
    )
