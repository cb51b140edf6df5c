"""What every server of the lab can do: start, stop, be killed, come back where it was."""

import re
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from drivewake.lab.servers.errors import ServerError, ServerPortInUseError, ServerStateError
from drivewake.lab.servers.ports import free_port, require_free
from drivewake.lab.servers.scratch import ScratchDirectory
from drivewake.lab.servers.spawn import await_condition, end, kill_tree, tail

_PORT_ATTEMPTS = 5


class Server(ABC):
    """A real server on the loopback address, as a child process that dies with us.

    It keeps its port and its directory from its first ``start`` to the end of the object, so
    ``kill`` and ``start`` are a crash and a recovery. Without ``directory`` it lives in a
    temporary one, removed by ``close`` (or by leaving the ``with`` block); a given directory is
    kept and can be opened again by a later object. Not for use by several threads at once.
    """

    name: str
    """What it is called in messages, and the name of its log file."""
    start_timeout_s: float = 30.0
    """How long ``start`` waits; recovery after a crash is part of it."""

    def __init__(self, directory: Path | None = None, *, port: int | None = None) -> None:
        self._scratch: ScratchDirectory | None = None
        self._directory = directory.absolute() if directory is not None else None
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None

    # What a kind of server says of itself.

    @abstractmethod
    def _prepare(self) -> None:
        """Make ready what must exist before the process: directories, configuration."""

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process on ``port``."""

    @abstractmethod
    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """Whether this very process takes connections."""

    @abstractmethod
    def _stop_steps(self) -> Sequence[tuple[signal.Signals, float]]:
        """Signals for an orderly end, each with the seconds it is given."""

    # What all of them do.

    @property
    def directory(self) -> Path:
        """Where data, configuration and log are."""
        if self._directory is None:
            self._scratch = ScratchDirectory(self.name)
            self._directory = self._scratch.path
        return self._directory

    @property
    def log_path(self) -> Path:
        """What the server wrote to its output, over all its starts."""
        return self.directory / f"{self.name}.log"

    @property
    def port(self) -> int:
        """The TCP port; chosen at the first start, the same ever after."""
        if self._port is None:
            raise ServerStateError(f"{self.name} has no port before its first start")
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises ServerStateError when it does not run."""
        if self._child is None or self._child.poll() is not None:
            raise ServerStateError(f"{self.name} does not run")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> Self:
        """Start and wait until connections are taken. Raises ServerError, in one line."""
        if self.running:
            raise ServerStateError(f"{self.name} already runs (pid {self.pid})")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._prepare()
        except OSError as error:
            raise ServerError(f"{self.name}: cannot prepare {self.directory}: {error}") from error
        if self._port is not None:
            require_free(self._port, self.name)
            self._start_once()
            return self
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self._start_once()
            except ServerPortInUseError:  # taken since we looked: choose again
                self._port = None
                if attempt == _PORT_ATTEMPTS:
                    raise
            else:
                break
        return self

    def _start_once(self) -> None:
        child = self._spawn()
        self._child = child
        ready = await_condition(
            lambda: child.poll() is not None or self._is_ready(child), self.start_timeout_s
        )
        if child.poll() is not None:
            raise self._why_it_ended(child)
        if not ready:
            self.kill()
            raise ServerError(
                f"{self.name} took no connections within {self.start_timeout_s:g} s: "
                f"{last_words(self.log_path)}"
            )

    def _why_it_ended(self, child: subprocess.Popen[bytes]) -> ServerError:
        words = last_words(self.log_path)
        if re.search(r"address already in use", words, re.IGNORECASE):
            return ServerPortInUseError(f"{self.name}: port {self._port} is in use")
        return ServerError(f"{self.name} ended at its start (code {child.returncode}): {words}")

    def stop(self) -> None:
        """End it in order; a server that does not run is left so."""
        if self._child is not None:
            end(self._child, self._stop_steps())

    def kill(self) -> None:
        """SIGKILL it and all its children, as a crash would; returns when they are gone."""
        if self._child is not None:
            kill_tree(self._child)

    def restart(self) -> Self:
        """Stop and start again, on the same port and data."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop it and remove its temporary directory, when it has one."""
        self.stop()
        if self._scratch is not None:
            self._scratch.remove()

    def __enter__(self) -> Self:
        try:
            return self.start() if not self.running else self
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


def last_words(log_path: Path) -> str:
    """Return the line of a log that best tells why its writer failed; never several lines.

    The last fatal one, else the last error, else the last; a cause beats its consequence
    ("no space left" is said before "child process exited").
    """
    lines = tail(log_path)
    for pattern in (
        r"no space left on device|address already in use|permission denied",
        r"FATAL|PANIC|\[FTL\]",
        r"error:|\[ERR\]|^ERROR",
    ):
        for line in reversed(lines):
            if re.search(pattern, line, re.IGNORECASE):
                return line.strip()
    return lines[-1].strip() if lines else "it said nothing"
