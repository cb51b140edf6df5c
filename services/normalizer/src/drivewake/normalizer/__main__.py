"""`drivewake-normalizer run | check | migrate`, or `python -m drivewake.normalizer …`."""

import sys

from drivewake.eventstore import schema
from drivewake.normalizer.app import UNSEALED, run
from drivewake.normalizer.consuming import NAME
from drivewake.normalizer.settings import MigrateSettings, Settings
from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.lifecycle import EXIT_OK, run_service
from drivewake.runtime.logging import configure
from drivewake.runtime.migrations import PHASES, Phase
from drivewake.runtime.settings import load


def serve() -> int:
    """Serve until SIGTERM."""
    settings = load(Settings)
    return run_service(lambda: run(settings))


def migrate_database(phase: Phase) -> int:
    """Bring the event store's schema up to date, in one phase of a deployment or in both."""
    settings = load(MigrateSettings)
    configure(NAME, settings.log_level, settings.log_format)

    async def migrate() -> int:
        await schema.migrate(settings.postgres_dsn.get_secret_value(), phase)
        return EXIT_OK

    return run_service(migrate)


def _about_sealing() -> str:
    """Say under what events are sealed, or what is missing."""
    keyring = load(Settings).keyring()
    return UNSEALED if keyring is None else f"data keyring: {keyring}, current {keyring.current}"


VERBS = {
    "run": Verb("serve until SIGTERM", serve),
    "check": Verb(
        "read the settings and say what they are, secrets masked",
        lambda: show_settings(Settings, _about_sealing),
    ),
    "migrate": Verb(
        "bring the event store's schema up to date: `pre` before a deployment, `post` after",
        migrate_database,
        {"phase": PHASES},
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
