"""`drivewake connections`: see, connect, renew and end accounts."""

from collections.abc import AsyncIterator
from typing import Any, Final, TextIO

import msgspec
import rich_click as click
from click.exceptions import Exit
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from drivewake.cli.api import api
from drivewake.cli.rendering import harmless
from drivewake.cli.session import EXIT_FAILED, run
from drivewake.cli.status import COLOURS

PAGE: Final = 500
BATCH: Final = 50


@click.group()
def connections() -> None:
    """Accounts whose Drive is read: see their state, connect, renew, end.

    Auth is found by DRIVEWAKE_AUTH_URL; DRIVEWAKE_API_TOKEN (or …_FILE) is your token.
    """


@connections.command("list")
@click.option("--tenant", help="Connections of one tenant alone.")
@click.option("--status", help="Only those in this state, such as reauthorization_required.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def list_(tenant: str | None, status: str | None, as_json: bool) -> None:
    """List connections with their state."""

    async def work() -> None:
        found = [one async for one in _all(tenant) if status is None or one.get("status") == status]
        if as_json:
            for one in found:
                click.echo(msgspec.json.encode(one).decode())
        else:
            _console().print(_table(found))

    run(work)


@connections.command()
@click.argument("connection")
def show(connection: str) -> None:
    """Show one connection, as JSON."""
    _act("GET", f"connections/{connection}")


@connections.command()
@click.option("--tenant", default="default", show_default=True)
def connect(tenant: str) -> None:
    """Print a link with which a person connects one account, within 15 minutes."""
    _act("POST", "connections", {"tenant": tenant}, show="url")


@connections.command()
@click.argument("connection")
def reauthorize(connection: str) -> None:
    """Print a link with which the same person renews a connection."""
    _act("POST", f"connections/{connection}/reauthorize", show="url")


@connections.command()
@click.argument("connection")
@click.confirmation_option(prompt="End this connection and its grant at Google?")
def revoke(connection: str) -> None:
    """End a connection: channels stop, Google is told, its tokens are deleted."""
    _act("POST", f"connections/{connection}/revoke", show="status")


@connections.command("watch-folders")
@click.argument("connection")
@click.argument("folders", nargs=-1)
def watch_folders(connection: str, folders: tuple[str, ...]) -> None:
    """Choose the FOLDERS (ids) whose activity is read, in the place of those before."""
    _act("PUT", f"connections/{connection}/watched-folders", {"folders": list(folders)})


@connections.command("import")
@click.argument("file", type=click.File("r"))
@click.option("--service-account", "account", required=True, help="Id of the service account.")
@click.option("--json", "as_json", is_flag=True, help="Every outcome, one JSON document a line.")
def import_(file: TextIO, account: str, as_json: bool) -> None:
    """Connect the people in FILE (one address a line; - is stdin) by a service account.

    The service account (`drivewake auth add-service-account`) needs domain-wide delegation. May
    be repeated: who is connected already is renewed. Exit code 1 if somebody could not be.
    """
    subjects = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    refused: list[dict[str, Any]] = []

    async def work() -> None:
        async with api() as auth:
            with Progress(transient=True, console=Console(stderr=True)) as progress:
                bar = progress.add_task("connecting", total=len(subjects))
                for start in range(0, len(subjects), BATCH):
                    body = {"subjects": subjects[start : start + BATCH]}
                    path = f"service-accounts/{account}/connections"
                    answer = await auth.call("POST", path, body)
                    for outcome in answer["outcomes"]:
                        if as_json:
                            click.echo(msgspec.json.encode(outcome).decode())
                        if outcome["connection"] is None:
                            refused.append(outcome)
                    progress.advance(bar, len(body["subjects"]))

    run(work)
    if not as_json:
        for outcome in refused:
            about = f"{harmless(outcome['subject'])}: {harmless(outcome['reason'])}"
            click.echo(f"drivewake: {about}", err=True)
        click.echo(f"{len(subjects) - len(refused):,} of {len(subjects):,} are connected")
    if refused:
        raise Exit(EXIT_FAILED)


def _act(method: str, path: str, body: object = None, *, show: str = "") -> None:
    """Call auth and print one field of the answer, or all of it as JSON."""

    async def work() -> None:
        async with api() as auth:
            answer = await auth.call(method, path, body)
        encoded = msgspec.json.format(msgspec.json.encode(answer)).decode()
        click.echo(str(answer[show]) if show else encoded)

    run(work)


async def _all(tenant: str | None) -> AsyncIterator[dict[str, Any]]:
    async with api() as auth:
        after = ""
        while after is not None:
            query = {"after": after, "limit": str(PAGE)}
            if tenant is not None:
                query["tenant"] = tenant
            page = await auth.call("GET", "connections", query=query)
            for one in page["connections"]:
                yield one
            after = page["next"]


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Connections: {len(found):,}", title_justify="left", box=None)
    for column in ("tenant", "connection", "account", "state", "since", "reason"):
        table.add_column(column, overflow="fold")
    for one in found:
        status = str(one["status"])
        table.add_row(
            harmless(str(one["tenant"])),
            harmless(str(one["id"])),
            harmless(str(one["account"] or "")),
            Text(status, style=COLOURS.get(status, "red")),
            harmless(str(one["since"]))[:16],
            harmless(str(one["reason"])),
        )
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
