"""The store's own schema: plain SQL, applied by dbmate, forward only."""

from pathlib import Path
from typing import Final

from drivewake.eventstore.queries import sql_directory
from drivewake.runtime import migrations

TABLE: Final = "eventstore.schema_migrations"


def directory() -> Path:
    """Return the folder of the migrations."""
    return sql_directory() / "migrations"


async def migrate(dsn: str) -> None:
    """Apply what is new; the user of `dsn` owns the schema and may create roles.

    Raises what `runtime.migrations.migrate` raises.
    """
    await migrations.migrate(dsn, directory(), table=TABLE)
