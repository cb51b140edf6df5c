"""The demo as a user runs it: whole processes, a git history, the verdict, the exit code."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "drivewake.lab.demo"]
DEADLINE_S = 150


def _git(path: Path, *args: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    subprocess.run(["git", "-C", str(path), *who, *args], check=True, capture_output=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of 61 commits with everything odd in it."""
    path = tmp_path_factory.mktemp("a repository")
    _git(path, "init", "-q", "-b", "main", ".")
    for number in range(60):
        folder = path / f"dir {number % 5}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number % 7}").write_text(f"{number}\n" * 20)
        if number == 10:
            (path / 'odd "name"\nwith a line 😀').write_text("odd")
            (path / "link").symlink_to("dir 0")
        if number % 9 == 8:
            next(folder.iterdir()).rename(path / f"moved-{number}")
        if number % 13 == 12:
            next(folder.iterdir()).unlink()
        _git(path, "add", "-A")
        _git(path, "commit", "-q", "--allow-empty", "-m", str(number))
    blob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # the empty content
    (path / "empty").touch()
    _git(path, "add", "empty")
    long_path = "/".join(["é" * 40 + "x" * 60] * 40)
    _git(path, "update-index", "--add", "--cacheinfo", f"100644,{blob},{long_path}")
    _git(path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},submodule")
    _git(path, "commit", "-q", "-m", "a path of 4,000 characters, and a submodule")
    return path


@pytest.fixture
def surroundings() -> Iterator[Mapping[str, str]]:
    """An environment whose temporary directory must be empty of ours afterwards.

    Not pytest's own: nobody but its user may enter that, and under root the database is
    another user.
    """
    scratch = Path(tempfile.mkdtemp(prefix="drivewake-acceptance-"))
    scratch.chmod(0o711)
    yield {**os.environ, "TMPDIR": str(scratch), "NO_COLOR": "1"}
    left = sorted(entry.name for entry in scratch.glob("drivewake-lab-demo*"))
    shutil.rmtree(scratch, ignore_errors=True)
    assert [] == left


def _demo(env: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.mark.parametrize(
    "mode", [(), ("--no-push",), ("--crash", "--seed", "3", "--rate", "25")], ids=" ".join
)
def test_a_history_flows_through_and_every_check_holds(
    mode: tuple[str, ...], history: Path, surroundings: Mapping[str, str]
) -> None:
    """With push, without, and with every process killed once: the verdict is the same."""
    done = _demo(surroundings, "--git", str(history), *mode)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "All 8 checks hold." in done.stdout
    assert "0 lost" in done.stdout
    if "--crash" in mode:
        assert 6 == done.stdout.count("SIGKILL")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("no repository", "is no git repository"),
        ("empty repository", "no commit yet"),
    ],
)
def test_what_cannot_be_replayed_is_one_line_and_starts_nothing(
    kind: str, words: str, tmp_path: Path, surroundings: Mapping[str, str]
) -> None:
    """A bad --git is exit code 2 and one line that names the path."""
    if kind == "empty repository":
        _git(tmp_path, "init", "-q")
    path = tmp_path / "nowhere" if kind == "missing" else tmp_path
    done = _demo(surroundings, "--git", str(path))
    assert (2, 1) == (done.returncode, len((done.stdout + done.stderr).strip().splitlines()))
    assert words in done.stdout
    assert str(path) in done.stdout


def test_ctrl_c_stops_everything_and_says_so(
    history: Path, surroundings: Mapping[str, str]
) -> None:
    """Interrupted in the middle of a replay, the demo leaves no process and no directory."""
    demo = subprocess.Popen(
        [*COMMAND, "--git", str(history), "--rate", "2"],
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process = psutil.Process(demo.pid)
    deadline_s = time.monotonic() + DEADLINE_S
    while len(process.children(recursive=True)) < 7 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    children = process.children(recursive=True)
    demo.send_signal(signal.SIGINT)
    stdout, stderr = demo.communicate(timeout=DEADLINE_S)
    assert 130 == demo.returncode, stdout + stderr
    assert "Traceback" not in stdout + stderr
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [] == alive
