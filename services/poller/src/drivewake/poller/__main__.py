"""`python -m drivewake.poller run | check`."""

import sys

from drivewake.poller.app import run
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.errors import BusError, ConfigurationError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_OK, run_service
from drivewake.runtime.settings import load, masked

USAGE = "usage: python -m drivewake.poller run | check\n"


def main(arguments: list[str]) -> int:
    """Run the service, or check its settings; return the exit code."""
    if arguments not in (["run"], ["check"]):
        sys.stderr.write(USAGE)
        return EXIT_MISCONFIGURED
    try:
        settings = load(PollerSettings)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_MISCONFIGURED
    if arguments == ["check"]:
        for name, value in masked(settings).items():
            sys.stdout.write(f"{name}={value}\n")
        return EXIT_OK
    try:
        return run_service(lambda: run(settings))
    except BusError as error:
        sys.stderr.write(f"poller cannot start: {error}\n")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
