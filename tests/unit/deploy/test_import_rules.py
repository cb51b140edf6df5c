"""The import rules in pyproject.toml see every package, wherever its distribution lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _lint(tree: Path, source: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Write modules over the real ones, each portion in a folder of its own, and lint them all."""
    folders = []
    for module, text in source.items():
        folder = tree / module.split(".")[1] / "src"
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / Path(*module.split(".")[:2]) / "__init__.py").touch()
        path.write_text(text)
        folders.append(str(folder))
    command = (
        "import sys; from importlinter.cli import lint_imports_command as run; "
        "run(['--no-cache', '--config', sys.argv[1]])"
    )
    return subprocess.run(
        [sys.executable, "-c", command, str(ROOT / "pyproject.toml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "broken", "said"),
    [
        (
            {"drivewake.auth.planted": "import drivewake.poller.victim\n"}
            | {"drivewake.poller.victim": ""},
            "services never import each other",
            "drivewake.auth.planted -> drivewake.poller.victim",
        ),
        (
            {"drivewake.contracts.planted": "from drivewake.runtime import victim\n"}
            | {"drivewake.runtime.victim": ""},
            "layers:",
            "drivewake.contracts.planted -> drivewake.runtime.victim",
        ),
        (
            {"drivewake.newcomer.domain": "import asyncio\n"},
            "deciders are pure",
            "drivewake.newcomer.domain -> asyncio",
        ),
        (
            {"drivewake.newcomer.planted": ""},
            "layers:",
            "drivewake.newcomer",
        ),
    ],
    ids=["service to service", "upwards", "I/O in a domain", "a package without a layer"],
)
def test_a_planted_violation_breaks_its_rule(
    tmp_path: Path, source: dict[str, str], broken: str, said: str
) -> None:
    """Each rule, broken on purpose across distributions, is reported broken with the culprit."""
    done = _lint(tmp_path, source)
    verdicts = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(broken) for line in verdicts), done.stdout + done.stderr
    assert said in done.stdout
    assert done.returncode == 1
