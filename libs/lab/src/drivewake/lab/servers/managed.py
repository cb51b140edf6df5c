"""A Python module as a child process: for the demo, for chaos, for end-to-end tests."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from drivewake.lab.servers.errors import ServerError, ServerStateError
from drivewake.lab.servers.server import last_words
from drivewake.lab.servers.spawn import await_condition, end, kill_tree, spawn, tail

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_INHERITED_PREFIXES = ("COVERAGE_", "COV_CORE_")
_HTTP_TIMEOUT_S = 1.0


class ManagedProcess:
    """`python -m MODULE ARGUMENT…` with settings of its own, that dies with us.

    Its environment is ``env`` over the few variables that any program needs: what another
    process was told (its secrets above all) does not leak into it. Its output goes, line by
    line, to ``log_path``, over all its starts. It is ready when ``ready`` says so: a URL that
    answers 200, or a callback; without one, as soon as it runs.

    Not for use by several threads at once.
    """

    def __init__(  # noqa: PLR0913 - settings with names, most with defaults
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        ready: str | Callable[[], bool] | None = None,
        cwd: Path | None = None,
        start_timeout_s: float = 20.0,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.env = dict(env or {})
        self._argv = [sys.executable, "-m", module, *arguments]
        self._ready = ready
        self._cwd = cwd
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._peak_rss_bytes = 0

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Process id. Raises ServerStateError when it does not run."""
        if self._child is None or self._child.poll() is not None:
            raise ServerStateError(f"{self.name} does not run")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal); None while it runs or before its start."""
        return self._child.poll() if self._child is not None else None

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it is ready unless told not to. Raises ServerError."""
        if self.running:
            raise ServerStateError(f"{self.name} already runs (pid {self.pid})")
        self._child = spawn(
            self._argv, log_path=self.log_path, cwd=self._cwd, env=self._environment()
        )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until it is ready; one that is not in time is killed. Raises ServerError."""
        child = self._child
        if child is None:
            raise ServerStateError(f"{self.name} was never started")
        ready = await_condition(
            lambda: child.poll() is not None or self._says_ready(), self._start_timeout_s
        )
        if child.poll() is not None:
            raise ServerError(
                f"{self.name} ended at its start (code {child.returncode}): "
                f"{last_words(self.log_path)}"
            )
        if not ready:
            self.kill()
            raise ServerError(
                f"{self.name} was not ready within {self._start_timeout_s:g} s: "
                f"{last_words(self.log_path)}"
            )

    def wait(self, timeout_s: float) -> int:
        """Wait for its own end and return the exit code; one that is late is killed."""
        if self._child is None:
            raise ServerStateError(f"{self.name} was never started")
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"{self.name} did not end within {timeout_s:g} s") from None

    def stop(self) -> int | None:
        """SIGTERM, a deadline, SIGKILL; returns the exit code, None if it never started."""
        if self._child is None:
            return None
        self._note_peak()
        return end(self._child, ((signal.SIGTERM, self._stop_timeout_s),))

    def kill(self) -> None:
        """SIGKILL it and its children, as a crash would."""
        if self._child is not None:
            self._note_peak()
            kill_tree(self._child)

    def restart(self) -> Self:
        """Stop (if it runs) and start again with the same settings."""
        self.stop()
        return self.start()

    def peak_rss_bytes(self) -> int:
        """Return the most memory that any of its runs held, as last seen; 0 if never seen.

        The kernel's own high-water mark (VmHWM), which is gone with the process: it is read
        here, at ``stop`` and at ``kill``.
        """
        self._note_peak()
        return self._peak_rss_bytes

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines it wrote."""
        return tail(self.log_path, lines=lines)

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _note_peak(self) -> None:
        if self.running:
            self._peak_rss_bytes = max(self._peak_rss_bytes, peak_rss_bytes(self.pid))

    def _says_ready(self) -> bool:
        if self._ready is None:
            return True
        return answers_ok(self._ready) if isinstance(self._ready, str) else self._ready()

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        return {**inherited, "PYTHONUNBUFFERED": "1", **self.env}


def answers_ok(url: str) -> bool:
    """Whether a GET of an `http://` URL is answered with 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=_HTTP_TIMEOUT_S
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def peak_rss_bytes(pid: int) -> int:
    """Read a process's high-water mark of memory; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # the kernel's kB are KiB
    return 0
