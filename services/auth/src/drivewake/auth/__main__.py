"""`drivewake-auth run | check | migrate | new-key | openapi`, or `python -m drivewake.auth …`."""

import asyncio
import base64
import datetime as dt
import os
import sys
from pathlib import Path
from typing import Final

from drivewake.auth import app
from drivewake.auth.keyring import Keyring
from drivewake.auth.kms import new_entry, readable, wrapped_ids
from drivewake.auth.settings import KmsSettings, MigrateSettings, Settings
from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.keyring import KEY_BYTES
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
    keyring, wrapped = (
        Keyring.parse(readable(settings.auth_keyring)),
        wrapped_ids(settings.auth_keyring),
    )
    return show_settings(
        Settings,
        lambda: f"keyring: {keyring}, current {keyring.current}",
        lambda: f"keys that AWS KMS unwraps: {', '.join(wrapped) or 'none'}",
        lambda: f"redirect address to register at Google: {settings.redirect_uri}",
    )


def migrate_database(phase: Phase) -> int:
    """Bring the schema `auth` up to date, in one phase of a deployment or in both."""
    settings = load(MigrateSettings)
    configure(app.NAME, settings.log_level, settings.log_format)
    dsn = settings.postgres_dsn.get_secret_value()
    asyncio.run(migrate(dsn, MIGRATIONS, table=MIGRATIONS_TABLE, phase=phase))
    return EXIT_OK


def new_key() -> int:
    """Print an entry for the keyring: a fresh key, wrapped if a key management service is set."""
    kms = load(KmsSettings).kms()
    key_id = f"k{dt.datetime.now(dt.UTC):%Y%m%d%H%M}"
    plain = f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"
    sys.stdout.write(f"{asyncio.run(new_entry(kms, key_id)) if kms else plain}\n")
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
    "new-key": Verb("print a fresh key for the keyring, wrapped if a KMS key is set", new_key),
    "openapi": Verb("print the OpenAPI document of the HTTP API", openapi),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(app.NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
