"""`python -m drivewake.webhook run | check`."""

import sys

from drivewake.runtime.errors import BusError, ConfigurationError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_OK, run_service
from drivewake.runtime.settings import load, masked
from drivewake.webhook.app import run
from drivewake.webhook.settings import WebhookSettings

USAGE = "usage: python -m drivewake.webhook run | check\n"


def main(arguments: list[str]) -> int:
    """Run the service, or check its settings; return the exit code."""
    if arguments not in (["run"], ["check"]):
        sys.stderr.write(USAGE)
        return EXIT_MISCONFIGURED
    try:
        settings = load(WebhookSettings)
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
        sys.stderr.write(f"webhook cannot start: {error}\n")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
