"""Temporary directories that are removed even when their maker was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from drivewake.lab.servers.errors import ServerError

_PREFIX = "drivewake-lab-"
_LOCK = ".alive"


class ScratchDirectory:
    """A directory below the system's temporary one, ours until ``remove``.

    Others may enter it but not list it (mode 711), so that a server which runs as another user
    reaches its own folder inside. While its maker lives, a lock is held on a file in it; each new
    scratch directory first removes those of the same user whose maker is gone.
    """

    def __init__(self, kind: str) -> None:
        _sweep()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-"))
            self.path.chmod(0o711)
            # Locked before it has its name: a sweeper never sees an unlocked one of a living maker.
            fresh = self.path / f"{_LOCK}.new"
            self._lock = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(self.path / _LOCK)
        except OSError as error:
            raise ServerError(f"cannot make a temporary directory: {error}") from error
        self._removed = False

    def remove(self) -> None:
        """Delete the directory and all in it; a second call does nothing."""
        if self._removed:
            return
        self._removed = True
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _sweep() -> None:
    """Remove directories of ours whose maker is dead."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # somebody else's, or just removed
            if lock.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
