"""`drivewake-auth run | check | migrate | openapi`, or `python -m drivewake.auth …`."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from drivewake.auth import app
from drivewake.auth.keyring import Keyring
from drivewake.auth.settings import MigrateSettings, Settings
from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.lifecycle import EXIT_OK, run_service
from drivewake.runtime.logging import configure
from drivewake.runtime.migrations import PHASES, Phase, migrate
from drivewake.runtime.settings import load

MIGRATIONS: Final = Path(__file__).parent / "sql" / "migrations"
MIGRATIONS_TABLE: Final = "auth.schema_migrations"


def serve() -> int:
    """Serve until SIGTERM."""
    settings = load(Settings)
    return run_service(lambda: app.run(settings))


def check() -> int:
    """Read the settings and say what they are, secrets masked."""
    settings = load(Settings)
    keyring = Keyring.parse(settings.auth_keyring)
    return show_settings(
        Settings,
        lambda: f"keyring: {keyring}, current {keyring.current}",
        lambda: f"redirect address to register at Google: {settings.redirect_uri}",
    )


def migrate_database(phase: Phase) -> int:
    """Bring the schema `auth` up to date, in one phase of a deployment or in both."""
    settings = load(MigrateSettings)
    configure(app.NAME, settings.log_level, settings.log_format)
    dsn = settings.postgres_dsn.get_secret_value()
    asyncio.run(migrate(dsn, MIGRATIONS, table=MIGRATIONS_TABLE, phase=phase))
    return EXIT_OK


def openapi() -> int:
    """Print the OpenAPI document."""
    sys.stdout.write(app.openapi_document())
    return EXIT_OK


VERBS: Final = {
    "run": Verb("serve until SIGTERM", serve),
    "check": Verb("read the settings and say what they are, secrets masked", check),
    "migrate": Verb(
        "bring the database's schema `auth` up to date: `pre` before a deployment, `post` after",
        migrate_database,
        {"phase": PHASES},
    ),
    "openapi": Verb("print the OpenAPI document of the HTTP API", openapi),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(app.NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
