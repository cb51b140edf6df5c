"""The page of Google's rules keeps what it says: each rule names tests, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "google-rules.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rules(page: str) -> list[str]:
    """Return the page's rules, a line each: the list items above "Not simulated"."""
    held, _, _ = page.partition("\n## Not simulated\n")
    return [line for line in held.splitlines() if line.startswith("- ")]


def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests that a file defines at its top level."""
    if not path.is_file():
        return frozenset()
    body = ast.parse(path.read_text("utf-8")).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in body if isinstance(node, kinds))


def faults(page: str) -> list[str]:
    """Return what is wrong with the page: rules without a test, and tests that are not there."""
    lines = rules(page)
    bare = [line for line in lines if _TEST.search(line) is None]
    named = {pair for line in lines for pair in _TEST.findall(line)}
    defined = {path: names_in(ROOT / path) for path, _ in named}
    missing = [f"{path}::{name}" for path, name in sorted(named) if name not in defined[path]]
    return bare + missing


def test_every_rule_names_tests_that_exist() -> None:
    """Renaming or deleting a test that holds a rule is seen here."""
    page = PAGE.read_text("utf-8")

    assert [] == faults(page)
    assert len(rules(page)) > 100


@pytest.mark.parametrize(
    "rule",
    [
        "- A rule that nothing holds.",
        "- A rule of a test not there: `tests/unit/google_sim/test_google_quota.py::test_nowhere`",
        "- A rule of a file that is not there: `tests/unit/nowhere.py::test_nowhere`",
    ],
)
def test_the_judge_sees_rules_without_tests(rule: str) -> None:
    """The comparison itself can fail."""
    assert len(faults(f"# Page\n\n{rule}\n\n## Not simulated\n\n- nothing\n")) == 1


def test_what_is_not_simulated_has_a_reason() -> None:
    """A line names a thing and, behind a colon, why it is not there."""
    _, _, rest = PAGE.read_text("utf-8").partition("\n## Not simulated\n")
    lines = [line for line in rest.splitlines() if line.startswith("- ")]

    assert lines
    assert [] == [line for line in lines if ": " not in line]
