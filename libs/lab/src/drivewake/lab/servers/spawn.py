"""Children that never outlive us, and how they are ended."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psutil

from drivewake.lab.servers.errors import ServerError

_LAUNCHER = Path(__file__).with_name("_launch.py")
_TAIL_BYTES = 16_384
_POLL_S = 0.005


@dataclass(frozen=True)
class SystemUser:
    """A user that a child runs as, instead of ours."""

    name: str
    uid: int
    gid: int


class _Spawner:
    """One thread, as old as this process, that starts every child.

    The kernel sends a death signal when the starting *thread* ends, not the process. A child
    started from a pool's thread would die with the pool; one started here dies with us.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="lab-spawner", daemon=True).start()

    def _serve(self) -> None:
        while True:
            order, answer = self._orders.get()
            try:
                answer.set_result(order())
            except BaseException as error:  # noqa: BLE001 - it belongs to who asked
                answer.set_exception(error)

    def run(self, order: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a child on the spawner's thread and wait until it is started."""
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((order, answer))
        return answer.result()


_spawner: _Spawner | None = None
_spawner_lock = threading.Lock()


def _the_spawner() -> _Spawner:
    global _spawner  # noqa: PLW0603 - one thread a process, made when first needed
    with _spawner_lock:
        if _spawner is None:
            _spawner = _Spawner()
        return _spawner


def _forget_spawner() -> None:
    """In a forked child the thread does not exist: make a new one on demand."""
    global _spawner, _spawner_lock  # noqa: PLW0603
    _spawner = None
    _spawner_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_spawner)


def spawn(
    argv: Sequence[str | Path],
    *,
    log_path: Path,
    death_signal: signal.Signals = signal.SIGKILL,
    user: SystemUser | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv``, its output appended to ``log_path``; it gets ``death_signal`` when we die.

    The child leads a session of its own, so that Ctrl-C in a terminal reaches us alone and we
    end our children in order. ``argv[0]`` is a path. Raises ServerError when the log cannot be
    written or no process can be made.
    """
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    command = [
        *(sys.executable, "-I", "-S", str(_LAUNCHER)),
        *(str(os.getpid()), str(int(death_signal)), str(uid), str(gid)),
        *(str(part) for part in argv),
    ]

    def order() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own launcher, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )

    try:
        return _the_spawner().run(order)
    except OSError as error:
        raise ServerError(f"cannot start {argv[0]}: {error}") from error


def end(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> int:
    """Send each signal and give it its seconds; who survives them all is killed with its children.

    Returns the exit code (negative: the signal).
    """
    for step, deadline_s in steps:
        if child.poll() is not None:
            break
        child.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=deadline_s)
    return kill_tree(child)


def kill_tree(child: subprocess.Popen[bytes], *, deadline_s: float = 10.0) -> int:
    """SIGKILL the child and everything below it; return when all of them are gone.

    The child is frozen first, so that it cannot make another process while we count.
    """
    family: list[psutil.Process] = []
    if child.poll() is None:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            child.send_signal(signal.SIGSTOP)
            family = psutil.Process(child.pid).children(recursive=True)
        child.kill()
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    code = child.wait(timeout=deadline_s)
    if not await_condition(lambda: not any(alive(member) for member in family), deadline_s):
        raise ServerError(f"processes below {child.pid} survived SIGKILL for {deadline_s:g} s")
    return code


def alive(process: psutil.Process) -> bool:
    """Whether a process still holds anything: a zombie waits for its parent and holds nothing."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def await_condition(
    condition: Callable[[], bool], deadline_s: float, *, poll_s: float = _POLL_S
) -> bool:
    """Ask until it is true or ``deadline_s`` have passed; returns the last answer."""
    give_up_at = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(poll_s)
    return True


def tail(log_path: Path, *, lines: int = 20) -> list[str]:
    """Return the last non-empty lines of a log, oldest first; empty when there is no log."""
    try:
        with log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
