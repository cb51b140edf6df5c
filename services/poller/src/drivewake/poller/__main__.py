"""`drivewake-poller run | check`, or `python -m drivewake.poller run | check`."""

import sys

from drivewake.poller.app import NAME, run
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.lifecycle import run_service
from drivewake.runtime.settings import load


def serve() -> int:
    """Serve until SIGTERM."""
    settings = load(PollerSettings)
    return run_service(lambda: run(settings))


VERBS = {
    "run": Verb("serve until SIGTERM", serve),
    "check": Verb(
        "read the settings and say what they are, secrets masked",
        lambda: show_settings(PollerSettings),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
