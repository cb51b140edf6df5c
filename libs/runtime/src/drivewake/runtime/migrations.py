"""Database migrations: plain SQL files, run by dbmate. Forward only, in two phases.

A file belongs to the phase before the deployment of the version that needs it, unless its name
ends in `.post.sql`: then it takes away what only the version before needed, and is applied when
no process of that version runs any more. Between the two phases both versions work.
"""

import asyncio
import os
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from drivewake.runtime.errors import ConfigurationError, DrivewakeError
from drivewake.runtime.logging import get_logger
from drivewake.runtime.redaction import redact_text

TIMEOUT_S: Final = 300.0
LOCK_TIMEOUT: Final = "10s"
POST: Final = ".post.sql"
Phase = Literal["pre", "post", "both"]
PHASES: Final[tuple[Phase, ...]] = ("both", "pre", "post")

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")

_log = get_logger(__name__)


class MigrationError(DrivewakeError):
    """A migration failed; the database is as after the last one that succeeded."""


def dbmate() -> Path:
    """Return dbmate's program: it lies beside this environment's Python."""
    beside = Path(sysconfig.get_path("scripts")) / "dbmate"
    if beside.is_file():
        return beside
    if found := shutil.which("dbmate"):
        return Path(found)
    raise ConfigurationError("dbmate is not installed: install drivewake-runtime[migrations]")


async def migrate(dsn: str, directory: Path, *, table: str, phase: Phase = "both") -> None:
    """Apply what is new in `directory`, noting it in `table` (`schema.table` or `table`).

    Files are applied in the order of their names, each in one transaction. The phase `pre`
    leaves the `.post.sql` files of this version for later; `post` applies them too, and so does
    `both`, for an installation that stands still meanwhile. Phases are not skipped: `pre` is
    refused while an older `.post.sql` file waits, for it may take away what that one needs.

    Concurrent runs wait for each other, and the later ones find nothing to do. The address,
    which may hold a password, goes by the environment: arguments are public on a machine.
    Raises MigrationError with the database's own words, ConfigurationError on bad input.
    """
    if _TABLE.fullmatch(table) is None:
        raise ConfigurationError(f"not a table name: {table!r}")
    files = sorted(directory.glob("*.sql"))  # noqa: ASYNC240 - once, before anything runs
    if not files:
        raise ConfigurationError(f"no migrations in {directory}")
    if phase == "pre":
        pending = await _pending(dsn, directory, table)
        files = before_deployment(files, pending)
    with tempfile.TemporaryDirectory(prefix="drivewake-migrations-") as chosen:
        for file in files:
            shutil.copy(file, chosen)
        text = await _run(dsn, Path(chosen), table, "migrate", "--strict")
    applied = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Applied")]
    _log.info("database migrated", action="migrated", table=table, phase=phase, applied=applied)


def before_deployment(files: Sequence[Path], pending: Sequence[str]) -> list[Path]:
    """Return what the phase `pre` applies of sorted `files`; `pending` are names not applied.

    Raises MigrationError when a file of the phase stands behind one that must come first.
    """
    waiting = [file.name for file in files if file.name in pending and file.name.endswith(POST)]
    late = [
        file.name
        for file in files
        if waiting and file.name in pending and file.name > waiting[0] and file.name not in waiting
    ]
    if late:
        raise MigrationError(
            f"{waiting[0]} was never applied and {late[0]} comes after it: finish the former "
            "deployment first (`migrate --phase post` of that version), or stop everything and "
            "apply both phases"
        )
    return [file for file in files if file.name not in waiting]


async def _pending(dsn: str, directory: Path, table: str) -> list[str]:
    """Return the names of the files that the database has not."""
    text = await _run(dsn, directory, table, "status")
    return [line.removeprefix("[ ] ") for line in text.splitlines() if line.startswith("[ ] ")]


async def _run(dsn: str, directory: Path, table: str, *command: str) -> str:
    """Run dbmate and return what it said."""
    process = await asyncio.create_subprocess_exec(
        str(dbmate()),
        *("--no-dump-schema", "--migrations-dir", str(directory), "--migrations-table", table),
        *("--migration-lock", *command),
        env={"PATH": os.defpath, "DATABASE_URL": with_defaults(dsn)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise MigrationError(f"migrations into {table} took over {TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = redact_text(output.decode("utf-8", "replace"))
    if process.returncode:
        raise MigrationError(f"migrations into {table}: {_reason(text)}")
    return text


def _reason(text: str) -> str:
    """Return what failed as one line: the error, and the file it was in."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error:")]
    files = [line.partition(": ")[2] for line in lines if line.startswith("Applying")]
    where = f"{files[-1]}: " if files else ""
    return where + ("; ".join(errors) or (lines[-1] if lines else "failed without a word"))


def with_defaults(dsn: str) -> str:
    """Return the address with what dbmate's driver does not do by itself, where it names nothing.

    It insists on TLS; libpq, which everything else follows, does not. And a statement that
    waits for a lock makes all others wait behind it, so it gives up and the file is undone.
    """
    for name, value in (("sslmode", "disable"), ("lock_timeout", LOCK_TIMEOUT)):
        if f"{name}=" not in dsn:
            dsn += f"{'&' if '?' in dsn else '?'}{name}={value}"
    return dsn
