"""The store's own schema: plain SQL, applied by dbmate, forward only.

`python -m drivewake.eventstore.schema` migrates the database in DRIVEWAKE_POSTGRES_DSN, and with
`--describe` prints what is there: `sql/schema.txt` is that, of a fresh database.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from drivewake.eventstore.connections import READER, connect, translated
from drivewake.eventstore.queries import load_queries, sql_directory
from drivewake.runtime import migrations
from drivewake.runtime.migrations import Phase

TABLE: Final = "eventstore.schema_migrations"
DSN_VARIABLE: Final = "DRIVEWAKE_POSTGRES_DSN"


def directory() -> Path:
    """Return the folder of the migrations."""
    return sql_directory() / "migrations"


async def migrate(dsn: str, phase: Phase = "both") -> None:
    """Apply what is new; the user of `dsn` owns the schema and may create roles.

    Raises what `runtime.migrations.migrate` raises.
    """
    await migrations.migrate(dsn, directory(), table=TABLE, phase=phase)


async def describe(dsn: str) -> str:
    """Return every object of the store's schema in a database, as text."""
    session = await connect(dsn, READER)
    try:
        async with translated():
            rows = await session.fetch(load_queries("schema")["describe"])
    finally:
        await session.close()
    return "\n\n".join(row["definition"].rstrip() for row in rows) + "\n"


def committed() -> str:
    """Return what `describe` says of a database that has all migrations and nothing else."""
    return (sql_directory() / "schema.txt").read_text(encoding="utf-8")


async def _main(arguments: list[str], dsn: str) -> None:
    if arguments == ["--describe"]:
        sys.stdout.write(await describe(dsn))
    else:
        await migrate(dsn)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:], os.environ[DSN_VARIABLE]))
