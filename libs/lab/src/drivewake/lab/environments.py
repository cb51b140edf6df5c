"""Environments that hold one distribution and what it declares, as its image does.

A development environment holds every distribution at once, so an undeclared dependency, a data
file that no wheel carries or a service that needs another one go unseen there. `install_alone`
makes an environment of one distribution; `Environment` runs what lies in it, cut off from the
maker's variables, working directory and sources.
"""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from drivewake.lab.servers import ManagedProcess, ServerError

_INSTALL_TIMEOUT_S: Final = 600.0
_RUN_TIMEOUT_S: Final = 120.0
_START_TIMEOUT_S: Final = 60.0
"""A first start compiles every module that it imports."""
_STOP_TIMEOUT_S: Final = 30.0
"""Above `shutdown_s` of a service with its closers: who is killed did not stop by itself."""


def find_uv(root: Path) -> Path | None:
    """Return uv as deploy/dev.py finds it: from PATH, else from the `.tools` of the repository."""
    found = shutil.which("uv")
    return Path(found) if found else next(iter(sorted(root.glob(".tools/*/bin/uv"))), None)


def workspace_distributions(root: Path) -> list[str]:
    """Return the names of the workspace's own distributions, sorted."""
    settings = [tomllib.loads(path.read_text()) for path in root.glob("*/*/pyproject.toml")]
    return sorted(found["project"]["name"] for found in settings)


def install_alone(
    distribution: str, directory: Path, *, root: Path, uv: Path, environ: Mapping[str, str]
) -> "Environment":
    """Make an environment of one distribution of the workspace in `directory`, built anew.

    `environ` is uv's environment; uv's cache, which it names, is shared, and what lies there is
    linked, not copied. Raises ServerError with uv's own words.
    """
    command = [
        *(str(uv), "sync", "--frozen", "--no-dev", "--no-editable", "--quiet"),
        *("--package", distribution),
    ]
    done = subprocess.run(  # noqa: S603 - the repository's own uv
        command,
        cwd=root,
        env={**environ, "UV_PROJECT_ENVIRONMENT": str(directory)},
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip() or "it said nothing"
        raise ServerError(f"uv could not install {distribution} alone: {words}")
    return Environment(directory)


class Environment:
    """A virtual environment and the programs in it.

    What runs there knows nothing of ours: no variables but those given, no development tools on
    PATH, a working directory that holds no sources.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.program("python")

    @property
    def site_packages(self) -> Path:
        """Where the installed packages lie."""
        return next(self.directory.glob("lib/python*/site-packages"))

    def program(self, name: str) -> Path:
        """Return where a program of the environment is, or would be."""
        return self.directory / "bin" / name

    def run(
        self, program: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end, with `env` as its only settings.

        Raises subprocess.TimeoutExpired; an exit code other than 0 is an answer, not an error.
        """
        return subprocess.run(  # noqa: S603 - a program that was just installed
            [str(program), *arguments],
            cwd=self.directory,
            env={"PATH": os.defpath, **(env or {})},
            capture_output=True,
            text=True,
            timeout=_RUN_TIMEOUT_S,
            check=False,
        )

    def module(
        self, module: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE ARGUMENT…` to its end, as `run` does."""
        return self.run(self.python, "-m", module, *arguments, env=env)

    def process(
        self,
        module: str,
        *arguments: str,
        log_path: Path,
        env: Mapping[str, str],
        ready: str,
    ) -> ManagedProcess:
        """Return `python -m MODULE ARGUMENT…`, not started; ready when the URL answers 200."""
        return _Process(self, module, arguments, log_path=log_path, env=env, ready=ready)


class _Process(ManagedProcess):
    """A managed process whose Python is that of another environment."""

    def __init__(
        self,
        environment: Environment,
        module: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str],
        ready: str,
    ) -> None:
        super().__init__(
            module,
            module,
            arguments,
            log_path=log_path,
            env=env,
            ready=ready,
            cwd=environment.directory,
            start_timeout_s=_START_TIMEOUT_S,
            stop_timeout_s=_STOP_TIMEOUT_S,
        )
        self._argv = [str(environment.python), "-m", module, *arguments]
