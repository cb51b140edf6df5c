"""Become another program that dies with its parent; run by path, stdlib only.

    python -I -S _launch.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM [ARGUMENT ...]

It drops to UID:GID first (-1 keeps the user), because the kernel forgets the death signal on a
change of user; then it asks the kernel to be told of the parent's death, and becomes PROGRAM
under the same process id. A shim instead of ``preexec_fn``: that one runs Python between fork
and exec of a threaded process, which may deadlock and is deprecated.

Death signals are a Linux feature. Elsewhere a child outlives a parent that was killed outright.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent_pid: int, death_signal: int) -> None:
    """Ask the kernel for ``death_signal`` when the thread that started us ends."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # it died before the kernel knew that we care
        raise SystemExit(1)


def main(argv: list[str]) -> None:
    """Drop, bind to the parent's life, become the program."""
    parent_pid, death_signal, uid, gid = (int(value) for value in argv[:4])
    command = argv[4:]
    if gid >= 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
    if uid >= 0:
        os.setresuid(uid, uid, uid)
    _die_with(parent_pid, death_signal)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        raise SystemExit(127) from None


if __name__ == "__main__":
    main(sys.argv[1:])
