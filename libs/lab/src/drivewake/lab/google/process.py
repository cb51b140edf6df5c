"""The simulated Google as a child process, for tests and demos that must be able to kill it."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_STOP_S = 10.0


class GoogleProcess(NamedTuple):
    """A child process that serves at `base_url`."""

    base_url: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def start_google_process(args: Sequence[str] = (), port: int = 0) -> Iterator[GoogleProcess]:
    """Run `drivewake-google-sim` with `args` for the length of the block.

    Returns when it answers. Raises RuntimeError with what it said when it does not start.
    """
    command = [sys.executable, "-m", "drivewake.lab.google", "--port", str(port), *args]
    process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = process.stdout.readline()
        if "http://" not in first:
            raise RuntimeError(f"The simulated Google did not start: {process.stderr.read()}")
        yield GoogleProcess("http://" + first.strip().partition("http://")[2], process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
