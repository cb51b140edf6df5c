"""Database migrations: plain SQL files, run by dbmate. Forward only."""

import asyncio
import os
import re
import shutil
import sysconfig
from pathlib import Path
from typing import Final

from drivewake.runtime.errors import ConfigurationError, DrivewakeError
from drivewake.runtime.logging import get_logger
from drivewake.runtime.redaction import redact_text

TIMEOUT_S: Final = 300.0
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


async def migrate(dsn: str, directory: Path, *, table: str) -> None:
    """Apply what is new in `directory`, noting it in `table` (`schema.table` or `table`).

    Each file is one transaction. Concurrent runs are safe: the second finds nothing to do,
    or fails on the table's key and changes nothing. The address, which may hold a
    password, goes by the environment: arguments are public on a machine.
    Raises MigrationError with the database's own words, ConfigurationError on bad input.
    """
    if _TABLE.fullmatch(table) is None:
        raise ConfigurationError(f"not a table name: {table!r}")
    if not any(directory.glob("*.sql")):  # noqa: ASYNC240 - once, before anything runs
        raise ConfigurationError(f"no migrations in {directory}")
    process = await asyncio.create_subprocess_exec(
        str(dbmate()),
        *("--no-dump-schema", "--migrations-dir", str(directory), "--migrations-table", table),
        *("migrate", "--strict"),
        env={"PATH": os.defpath, "DATABASE_URL": with_ssl_mode(dsn)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise MigrationError(f"migrations in {directory.name} took over {TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = redact_text(output.decode("utf-8", "replace"))
    if process.returncode:
        raise MigrationError(f"migrations in {directory}: {_reason(text)}")
    applied = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Applied")]
    _log.info("database migrated", action="migrated", table=table, applied=applied)


def _reason(text: str) -> str:
    """Return what failed as one line: the error, and the file it was in."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error:")]
    files = [line.partition(": ")[2] for line in lines if line.startswith("Applying")]
    where = f"{files[-1]}: " if files else ""
    return where + ("; ".join(errors) or (lines[-1] if lines else "failed without a word"))


def with_ssl_mode(dsn: str) -> str:
    """Return the address with `sslmode=prefer` semantics where it names none.

    dbmate's driver insists on TLS by default; libpq, which everything else follows, does not.
    """
    if "sslmode=" in dsn:
        return dsn
    return f"{dsn}{'&' if '?' in dsn else '?'}sslmode=disable"
