"""`drivewake-webhook run | check | openapi`, or `python -m drivewake.webhook …`."""

import sys
from importlib import metadata

from drivewake.runtime.command import Verb, run_command, show_settings
from drivewake.runtime.lifecycle import EXIT_OK, run_service
from drivewake.runtime.settings import load
from drivewake.webhook.app import NAME, run
from drivewake.webhook.openapi import document
from drivewake.webhook.settings import WebhookSettings


def serve() -> int:
    """Serve until SIGTERM."""
    settings = load(WebhookSettings)
    return run_service(lambda: run(settings))


def openapi() -> int:
    """Print the OpenAPI document."""
    sys.stdout.write(document(metadata.version("drivewake-webhook")))
    return EXIT_OK


VERBS = {
    "run": Verb("serve until SIGTERM", serve),
    "check": Verb(
        "read the settings and say what they are, secrets masked",
        lambda: show_settings(WebhookSettings),
    ),
    "openapi": Verb("print the OpenAPI document of the notifications", openapi),
}


def main(arguments: list[str] | None = None) -> int:
    """Do one verb; return the exit code."""
    return run_command(NAME, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
