"""The root command: built-in verbs, and those that other areas bring."""

import importlib.metadata
import os
import sys
from typing import Any, Final

import click as plain
import rich_click as click
from rich_click import rich_click as look

from drivewake.cli.audit import audit
from drivewake.cli.auth import auth
from drivewake.cli.blobs import blobs
from drivewake.cli.channels import channels
from drivewake.cli.connections import connections
from drivewake.cli.dead import dead
from drivewake.cli.events import events
from drivewake.cli.poller import pause, poll, resume, resync
from drivewake.cli.provision import provision
from drivewake.cli.session import EXIT_INTERRUPTED, Failure
from drivewake.cli.status import status

look.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
GROUP: Final = "drivewake.cli"
BUILT_IN: Final = {
    "audit": audit,
    "auth": auth,
    "blobs": blobs,
    "channels": channels,
    "connections": connections,
    "dead": dead,
    "events": events,
    "pause": pause,
    "poll": poll,
    "provision": provision,
    "resume": resume,
    "resync": resync,
    "status": status,
}


class Verbs(click.RichGroup):
    """Built-in verbs and those of the entry point group, which are loaded only when needed."""

    def list_commands(self, ctx: plain.Context) -> list[str]:
        """Return the names of all verbs."""
        del ctx
        return sorted({*BUILT_IN, *_brought()})

    def get_command(self, ctx: plain.Context, cmd_name: str) -> plain.Command | None:
        """Return a verb; one that cannot be loaded becomes a command that says so."""
        del ctx
        if cmd_name in BUILT_IN:
            return BUILT_IN[cmd_name]
        entry = _brought().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever a foreign package does on import
            return _broken(cmd_name, f"cannot load {entry.value}: {type(error).__name__}: {error}")
        if not isinstance(command, plain.Command):
            return _broken(cmd_name, f"{entry.value} is no click command")
        return command


def _brought() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the verbs of other areas by name; a built-in one cannot be replaced."""
    found = importlib.metadata.entry_points(group=GROUP)
    return {entry.name: entry for entry in found if entry.name not in BUILT_IN}


def _broken(name: str, reason: str) -> plain.Command:
    def fail() -> None:
        raise Failure(f"the verb {name} is broken: {reason}")

    return plain.Command(name, callback=fail, help="Cannot be loaded.")


HELP: Final = """Operate Drivewake: see how it goes, watch what happens, set it up.

The broker is found by DRIVEWAKE_NATS_URL (nats://127.0.0.1:4222 by default), the operator's
credentials by DRIVEWAKE_NATS_SEED or DRIVEWAKE_NATS_SEED_FILE, an installation that shares
its broker by DRIVEWAKE_NATS_PREFIX. Verbs about connections ask auth at DRIVEWAKE_AUTH_URL with
DRIVEWAKE_API_TOKEN (or …_FILE), a token of your OIDC issuer.

\b
drivewake provision        create what the services need at the broker
drivewake status           one look at everything
drivewake channels         the push channels, those in trouble first
drivewake status --check   for scripts: exit code 1 if something is wrong
drivewake events tail -f   what downstream receives, as it happens
drivewake connections list who is connected, and in which state
drivewake audit verify     nothing in the record of who did what was changed
drivewake events tail -n 5 --type file.renamed --json
drivewake dead list        what no service could handle, and why
drivewake pause CONNECTION         leave it alone, until resume
drivewake poll CONNECTION --wait   read now, and say what was found at what cost

Exit codes: 0 done, 1 failed or something is wrong, 2 misused or wrong settings, 3 the
broker cannot be reached, 130 interrupted.
"""


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]}, help=HELP)
def root() -> None:
    """Dispatch to a verb."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code. A reader that goes away ends it quietly."""
    options: dict[str, Any] = {"args": arguments, "prog_name": "drivewake"}
    try:
        code = root.main(standalone_mode=False, **options)
    except Failure as error:
        error.show()
        return error.code
    except plain.ClickException as error:
        error.show()
        return error.exit_code
    except plain.Abort:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nothing more can be written; keep the interpreter from trying at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0
