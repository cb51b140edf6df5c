#!/usr/bin/env python3
"""Run one of the repository's recipes on a machine that has nothing but Python and pip.

usage: python3 deploy/dev.py VERB [ARGUMENT ...]

VERB is a recipe of the justfile; what follows is handed to it. The first run installs what is
missing into folders that git ignores: uv and just into .tools/ (unless they are on PATH), and
Drivewake with everything it needs, as uv.lock has it, into .venv/. Later runs start at once.
Who has uv and just can as well say `uv sync` once and then `just VERB`.

Standard library only. It is parsed by older Pythons too, so that these can be told apart in one
line: annotations newer than they are stand in quotes.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
JUSTFILE = ROOT / "justfile"
STAMP = VENV / ".drivewake-synced"

OLDEST_PYTHON = (3, 11)
PACKAGES = ("uv==0.13.9", "rust-just==1.59.0")
PROGRAMS = ("uv", "just")

INTERRUPTED = 130
BROWSER_S = 180
_ONE_SIGNAL_S = 0.5


class TroubleError(Exception):
    """What stops us, in one line that says what to do."""


def main(argv: "list[str]") -> int:
    """Prepare, run the recipe, return its exit code; our own errors are one line and a 1."""
    try:
        require_python(tuple(sys.version_info[:2]))
        recipes = read_recipes()
        if not argv or argv[0] in {"-h", "--help", "help"}:
            print(help_text(recipes))
            return 0 if argv else 2
        require_recipe(argv[0], recipes)
        tools = find_tools()
        sync(tools["uv"])
        if argv[0] == "test":
            offer_browser()
        return run_recipe(tools["just"], argv)
    except KeyboardInterrupt:  # while preparing; a recipe has its own process group
        return INTERRUPTED
    except TroubleError as trouble:
        say(str(trouble))
        return 1
    except OSError as error:
        say(f"{error.strerror or error}: {error.filename or ROOT}")
        return 1


def require_python(version: "tuple[int, ...]") -> None:
    """Refuse a Python that the packages would refuse later, less clearly."""
    if version < OLDEST_PYTHON:
        have, need = (".".join(map(str, v)) for v in (version, OLDEST_PYTHON))
        raise TroubleError(f"Python {have} is too old: run this with Python {need} or newer")


def require_recipe(name: str, recipes: "dict[str, str]") -> None:
    """Refuse a verb that is no recipe before anything is installed."""
    if name not in recipes:
        raise TroubleError(f"there is no recipe {name!r}; there are: {', '.join(recipes)}")


def say(line: str) -> None:
    """Tell the person something, beside what the recipe prints."""
    print(f"dev: {line}", file=sys.stderr, flush=True)


def read_recipes() -> "dict[str, str]":
    """Read names and descriptions of the public recipes out of the justfile."""
    recipes = {}
    description, private = "", False
    for line in JUSTFILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):  # an attribute stands between a description and its recipe
            private = private or "private" in line
            continue
        recipe = re.match(r"([a-z][a-z0-9-]*)( [^:]*)?:(?!=)", line)
        if recipe and not private:
            recipes[recipe.group(1)] = description
        description, private = line[1:].strip() if line.startswith("#") else "", False
    return recipes


def help_text(recipes: "dict[str, str]") -> str:
    """Say how to use this, and which verbs there are."""
    width = max(map(len, recipes), default=0)
    verbs = "\n".join(f"  {name:<{width}}  {text}".rstrip() for name, text in recipes.items())
    return f"{(__doc__ or '').split('Standard library')[0].rstrip()}\n\nverbs:\n{verbs}"


# -- the tools ------------------------------------------------------------------------------------


def find_tools() -> "dict[str, str]":
    """Return the paths of uv and just: those on PATH, else our own, installed when missing."""
    on_path = {name: shutil.which(name) for name in PROGRAMS}
    if all(on_path.values()):
        return {name: str(path) for name, path in on_path.items()}
    own = TOOLS / "-".join(PACKAGES).replace("==", "-")
    if not all((own / "bin" / name).is_file() for name in PROGRAMS):
        install_tools(own)
    return {name: on_path[name] or str(own / "bin" / name) for name in PROGRAMS}


def install_tools(own: Path) -> None:
    """Install both programs into ``own``, whole or not at all; two runs at once don't collide."""
    say(f"installing uv and just into {TOOLS.name}/ (once)")
    try:
        TOOLS.mkdir(exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=str(TOOLS)))
    except OSError as error:
        raise TroubleError(f"cannot write to {TOOLS}: {error.strerror}") from None
    try:
        pip_install(fresh)
        missing = [name for name in PROGRAMS if not (fresh / "bin" / name).is_file()]
        if missing:
            raise TroubleError(f"pip installed no {' and no '.join(missing)}; put them on PATH")
        shutil.rmtree(str(own), ignore_errors=True)
        try:
            fresh.rename(own)
        except OSError:  # another run was first
            if not own.is_dir():
                raise
    finally:
        shutil.rmtree(str(fresh), ignore_errors=True)


def pip_install(folder: Path) -> None:
    """Make ``folder/bin/{uv,just}``: with a virtual environment's pip, else with Python's own."""
    if run_quietly([sys.executable, "-m", "venv", str(folder)])[0] == 0:
        pip, target = [str(folder / "bin" / "python"), "-m", "pip"], []
    else:  # Debian keeps venv and ensurepip in a package of their own
        shutil.rmtree(str(folder), ignore_errors=True)
        pip, target = [sys.executable, "-m", "pip"], ["--target", str(folder)]
        if run_quietly([*pip, "--version"])[0] != 0:
            raise TroubleError(
                f"{sys.executable} has neither venv nor pip: install one of them "
                "(Debian: python3-venv or python3-pip), or put uv and just on PATH"
            )
    command = [*pip, "install", "--quiet", "--only-binary", ":all:", *target, *PACKAGES]
    code, lines = run_quietly(command)
    if code != 0:
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no word why"]
        raise TroubleError(
            "pip cannot install uv and just; is the package index reachable "
            f"(PIP_INDEX_URL, proxy)? {errors[-1]}"
        )


def run_quietly(command: "list[str]") -> "tuple[int, list[str]]":
    """Run a program of Python's packaging; return its exit code and the lines it said."""
    done = subprocess.run(
        command,
        env=pip_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    return done.returncode, [line.strip() for line in lines if line.strip()]


def pip_environment() -> "dict[str, str]":
    """Return our environment without personal settings that would send packages elsewhere."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PIP_TARGET", "PIP_PREFIX"}}
    return {**kept, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_INPUT": "1"}


# -- the environment ------------------------------------------------------------------------------


def sync(uv: str) -> None:
    """Bring .venv to what uv.lock says; nothing to do when neither has changed since."""
    wanted = fingerprint()
    usable = os.access(str(VENV / "bin" / "python"), os.X_OK)
    if usable and STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    for folder in (ROOT, VENV):
        if folder.exists() and not os.access(str(folder), os.W_OK):
            raise TroubleError(
                f"{folder} belongs to another user: run as that user, or use a clone of your own"
            )
    say(f"installing packages into {VENV.name}/")
    command = [uv, "sync", "--frozen", "--python", sys.executable]
    try:
        code = subprocess.run(command, cwd=str(ROOT), env=uv_environment(), check=False).returncode
    except OSError as error:
        raise TroubleError(f"cannot run {uv}: {error.strerror}") from None
    if code != 0:
        raise TroubleError(
            "uv could not install the packages, for the reason above; "
            "is the package index reachable, the disk full?"
        )
    STAMP.write_text(wanted, encoding="utf-8")


def fingerprint() -> str:
    """Hash what decides about .venv: the lock, the packages' own settings, this Python."""
    digest = hashlib.sha256(repr((sys.version, os.path.realpath(sys.executable))).encode())
    members = [
        path for kind in ("libs", "services") for path in ROOT.glob(f"{kind}/*/pyproject.toml")
    ]
    for path in (ROOT / "uv.lock", ROOT / "pyproject.toml", *sorted(members)):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def uv_environment() -> "dict[str, str]":
    """Return an environment in which uv uses this Python, our .venv and what pip was told."""
    env = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "UV_PYTHON"}}
    env.update(UV_PYTHON_DOWNLOADS="never", UV_PROJECT_ENVIRONMENT=str(VENV))
    if "PIP_CERT" in env:
        env.setdefault("SSL_CERT_FILE", env["PIP_CERT"])
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111 - Path.home() can raise
        env.setdefault("UV_CACHE_DIR", str(TOOLS / "uv-cache"))
    return env


def offer_browser() -> None:
    """Install chromium where that is a matter of course; elsewhere the tests that need it skip."""
    if shutil.which("chromium") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    say("installing chromium, for the tests of the console (once)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", "chromium"]
    for command in (["apt-get", "update", "-qq"], install):
        try:
            done = subprocess.run(
                command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=BROWSER_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is None or done.returncode != 0:
            say("chromium cannot be installed: the tests that need it will say so and skip")
            return


# -- the recipe -----------------------------------------------------------------------------------


def run_recipe(just: str, argv: "list[str]") -> int:
    """Run the recipe and return its exit code; 128 + n when signal n ended it.

    It has a process group of its own, in the terminal's foreground: Ctrl-C reaches every process
    of it exactly once. Signals sent to us alone are handed on; just waits for its child.
    """
    env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    child = subprocess.Popen([just, "--justfile", str(JUSTFILE), *argv], env=env, process_group=0)
    hand_on_signals(child.pid)
    with Terminal(child.pid):
        while True:
            _, status = os.waitpid(child.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            Terminal.stop_with(child.pid)
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code  # reaped here, so that its destructor has nothing to say
    return 128 - code if code < 0 else code


def hand_on_signals(group: int) -> None:
    """Hand on what asks us to end: SIGTERM to just, which tells its child; others to all.

    The same signal again within half a second is the same request: timeout(1), for one, signals
    both its child and its group.
    """
    last: dict[int, float] = {}

    def hand_on(number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - last.get(number, -_ONE_SIGNAL_S) < _ONE_SIGNAL_S:
            return
        last[number] = now
        send = os.kill if number == signal.SIGTERM else os.killpg
        with contextlib.suppress(ProcessLookupError):
            send(group, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, hand_on)


class Terminal:
    """Lends the terminal, when there is one, to a process group."""

    def __init__(self, group: int) -> None:
        self._group = group

    def __enter__(self) -> None:
        self._lend(os.getpgrp(), self._group)

    def __exit__(self, *_: object) -> None:
        self._lend(self._group, os.getpgrp())

    @staticmethod
    def _lend(owner: int, group: int) -> None:
        """Put ``group`` into the foreground, if ``owner`` is there; wake it if it had to wait."""
        try:
            if os.tcgetpgrp(0) != owner:
                return
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, group)
            signal.signal(signal.SIGTTOU, before)
            os.killpg(group, signal.SIGCONT)
        except OSError:  # no terminal, or it is gone
            return

    @classmethod
    def stop_with(cls, group: int) -> None:
        """Stop as the recipe was stopped (Ctrl-Z), and go on with it when we are woken."""
        cls._lend(group, os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        cls._lend(os.getpgrp(), group)
        os.killpg(group, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
