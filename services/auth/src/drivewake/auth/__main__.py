"""`python -m drivewake.auth run | check | migrate | openapi`."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from drivewake.auth import app
from drivewake.auth.keyring import Keyring
from drivewake.auth.settings import MigrateSettings, Settings
from drivewake.runtime.errors import BusError, ConfigurationError, DrivewakeError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_OK, run_service
from drivewake.runtime.logging import configure
from drivewake.runtime.migrations import migrate
from drivewake.runtime.settings import load, masked

USAGE: Final = """\
usage: python -m drivewake.auth VERB
  run      serve until SIGTERM
  check    read the settings and say what they are, secrets masked
  migrate  bring the database's schema `auth` up to date
  openapi  print the OpenAPI document of the HTTP API
"""
MIGRATIONS: Final = Path(__file__).parent / "sql" / "migrations"
MIGRATIONS_TABLE: Final = "auth.schema_migrations"


def run() -> int:
    """Serve until SIGTERM."""
    settings = load(Settings)
    return run_service(lambda: app.run(settings))


def check() -> int:
    """Read the settings and say what they are, secrets masked."""
    settings = load(Settings)
    keyring = Keyring.parse(settings.auth_keyring)
    for name, value in masked(settings).items():
        sys.stdout.write(f"{name}={value}\n")
    sys.stdout.write(f"keyring: {keyring}, current {keyring.current}\n")
    sys.stdout.write(f"redirect address to register at Google: {settings.redirect_uri}\n")
    return EXIT_OK


def migrate_database() -> int:
    """Bring the database's schema up to date."""
    settings = load(MigrateSettings)
    configure(app.NAME, settings.log_level, settings.log_format)
    dsn = settings.postgres_dsn.get_secret_value()
    asyncio.run(migrate(dsn, MIGRATIONS, table=MIGRATIONS_TABLE))
    return EXIT_OK


def openapi() -> int:
    """Print the OpenAPI document."""
    sys.stdout.write(app.openapi_document())
    return EXIT_OK


VERBS: Final[dict[str, Callable[[], int]]] = {
    "run": run,
    "check": check,
    "migrate": migrate_database,
    "openapi": openapi,
}


def main(arguments: list[str]) -> int:
    """Do one verb; return the exit code. What goes wrong is told in one line."""
    if len(arguments) != 1 or arguments[0] not in VERBS:
        sys.stderr.write(USAGE)
        return EXIT_MISCONFIGURED
    try:
        return VERBS[arguments[0]]()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_MISCONFIGURED
    except BusError as error:
        sys.stderr.write(f"auth cannot start: {error}\n")
        return EXIT_FAILED
    except DrivewakeError as error:
        sys.stderr.write(f"auth: {error}\n")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
