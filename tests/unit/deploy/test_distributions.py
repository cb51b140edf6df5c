"""Every distribution of the workspace says truly which of the others it needs."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml"))


def _settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def _declared(folder: Path) -> set[str]:
    return {
        name.removeprefix("drivewake-").partition("[")[0]  # an extra is no other portion
        for name in _settings(folder)["project"]["dependencies"]
        if name.startswith("drivewake-")
    }


def _imports(source: str) -> Iterator[str]:
    """Yield every `drivewake.PORTION` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("drivewake."):
                yield name.split(".")[1]


def _imported(folder: Path) -> set[str]:
    portions = {
        portion
        for path in folder.joinpath("src").rglob("*.py")
        for portion in _imports(path.read_text())
    }
    return portions - {folder.name}


def test_imports_are_found_wherever_they_stand() -> None:
    """The finder itself: plain, from, deep, within a function; not others' packages."""
    source = """
import drivewake.auth.app as x, os
from drivewake import runtime
from drivewake.contracts.keys import key
def f():
    import drivewake.cli
    from drivewakening import lab
    from .own import thing
"""
    assert {"auth", "runtime", "contracts", "cli"} == set(_imports(source))


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_distribution_declares_the_portions_it_imports_and_no_more(folder: Path) -> None:
    """An undeclared one is missing where the service is installed alone; a surplus one is dead."""
    assert _declared(folder) == _imported(folder)


@pytest.mark.parametrize("folder", MEMBERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_distribution_is_one_portion_of_the_namespace(folder: Path) -> None:
    """Name, module, typing marker and sources agree; the namespace itself has no __init__."""
    settings = _settings(folder)
    portion = folder / "src" / "drivewake" / folder.name
    assert f"drivewake-{folder.name}" == settings["project"]["name"]
    assert f"drivewake.{folder.name}" == settings["tool"]["uv"]["build-backend"]["module-name"]
    assert portion.joinpath("py.typed").is_file()
    assert portion.joinpath("__init__.py").is_file()
    assert not portion.parent.joinpath("__init__.py").exists()
    sources = settings["tool"]["uv"].get("sources", {})
    assert {f"drivewake-{name}" for name in _declared(folder)} == set(sources)


def test_the_workspace_installs_and_types_every_distribution() -> None:
    """A new distribution is part of the root's dependencies, sources and mypy's path."""
    root = _settings(ROOT)
    names = {f"drivewake-{folder.name}" for folder in MEMBERS}
    assert names == set(root["project"]["dependencies"])
    assert names == set(root["tool"]["uv"]["sources"])
    paths = {str(folder.relative_to(ROOT) / "src") for folder in MEMBERS}
    typed = {path for path in root["tool"]["mypy"]["mypy_path"] if not path.startswith("tests/")}
    assert paths == typed
