"""`python -m drivewake.normalizer run | check | migrate`."""

import sys

from drivewake.eventstore import schema
from drivewake.eventstore.errors import StoreError
from drivewake.normalizer.app import run
from drivewake.normalizer.settings import MigrateSettings, Settings
from drivewake.runtime.errors import BusError, ConfigurationError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_OK, run_service
from drivewake.runtime.logging import configure
from drivewake.runtime.migrations import MigrationError
from drivewake.runtime.settings import load, masked

USAGE = "usage: python -m drivewake.normalizer run | check | migrate\n"


def main(arguments: list[str]) -> int:
    """Run the service, check its settings, or migrate the event store; return the exit code."""
    if arguments not in (["run"], ["check"], ["migrate"]):
        sys.stderr.write(USAGE)
        return EXIT_MISCONFIGURED
    try:
        if arguments == ["migrate"]:
            return _migrate(load(MigrateSettings))
        settings = load(Settings)
        if arguments == ["check"]:
            for name, value in masked(settings).items():
                sys.stdout.write(f"{name}={value}\n")
            return EXIT_OK
        return run_service(lambda: run(settings))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_MISCONFIGURED
    except (BusError, StoreError, MigrationError) as error:
        sys.stderr.write(f"normalizer cannot {arguments[0]}: {error}\n")
        return EXIT_FAILED


def _migrate(settings: MigrateSettings) -> int:
    configure("normalizer", settings.log_level, settings.log_format)
    dsn = settings.postgres_dsn.get_secret_value()

    async def migrate() -> int:
        await schema.migrate(dsn)
        return EXIT_OK

    return run_service(migrate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
