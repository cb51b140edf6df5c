"""`drivewake-webhook run | check`, or `python -m drivewake.webhook run | check`."""

import sys

from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.lifecycle import run_service
from drivewake.runtime.settings import load
from drivewake.webhook.app import NAME, run
from drivewake.webhook.settings import WebhookSettings


def serve() -> int:
    """Serve until SIGTERM."""
    settings = load(WebhookSettings)
    return run_service(lambda: run(settings))


VERBS = {
    "run": Verb("serve until SIGTERM", serve),
    "check": Verb(
        "read the settings and say what they are, secrets masked",
        lambda: show_settings(WebhookSettings),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
