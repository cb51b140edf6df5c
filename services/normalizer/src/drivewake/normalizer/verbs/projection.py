"""`drivewake projection`: how read models stand, and building one anew beside the live one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from drivewake.cli.session import EXIT_MISUSED, Failure, run
from drivewake.eventstore.archive.files import open_files
from drivewake.eventstore.errors import StoreError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import Outlook, ProjectionRunner
from drivewake.eventstore.projections import PROJECTIONS
from drivewake.eventstore.store import EventReader
from drivewake.normalizer.app import sealed
from drivewake.normalizer.settings import Settings
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import load

WHO: Final = "(the database user needs the roles drivewake_reader and drivewake_projector)"


class ProjectionSettings(Settings):
    """As the normalizer's: a rebuild reads what it wrote."""

    log_level: str = "error"  # type: ignore[assignment] # the command speaks for itself


@click.group()
def projection() -> None:
    """See how read models stand, and build them anew from events alone.

    Needs the normalizer's settings, and a database user with the roles drivewake_reader and
    drivewake_projector.
    """


as_json = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@projection.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Show each read model: its version, its place, and how many events it is behind."""
    told = _settings()
    found: list[Outlook] = []

    async def work() -> None:
        async with _reader(told) as reader:
            for name in PROJECTIONS:
                found.extend([await one.outlook() for one in _runners(told, reader, name)])

    run(work)
    _show(found, as_json=as_json)


@projection.command("rebuild")
@click.argument("name", type=click.Choice(sorted(PROJECTIONS)))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@as_json
def rebuild(name: str, dry_run: bool, as_json: bool) -> None:
    """Build NAME anew beside the live one, then put it in its place in one step.

    Readers see the old one until then; the service goes on applying events to it meanwhile. A
    build that was interrupted is continued by the next.
    """
    told = _settings()
    found: list[Outlook] = []
    say = Console(stderr=True, highlight=False)

    async def work() -> None:
        async with _reader(told) as reader:
            for runner in _runners(told, reader, name):
                before = await runner.outlook()
                if not dry_run:
                    if not as_json:
                        say.print(_plan(before))
                    with _bar(say, before) as bar:
                        task = bar.add_task(name, completed=before.built or 0, total=before.head)
                        await runner.rebuild(
                            lambda position, head: bar.update(
                                task,  # noqa: B023 - called before the next lane's turn
                                completed=position,
                                total=head,
                            )
                        )
                    before = await runner.outlook()
                found.append(before)

    run(work)
    if dry_run and not as_json:
        for outlook in found:
            click.echo(_plan(outlook))
    else:
        _show(found, as_json=as_json)


def _settings() -> ProjectionSettings:
    try:
        return load(ProjectionSettings)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


@asynccontextmanager
async def _reader(told: ProjectionSettings) -> AsyncIterator[EventReader]:
    """Open the store for reading; raises Failure instead of its errors."""
    archive = open_files(told.archive_url) if told.archive_url else None
    dsn = told.postgres_dsn.get_secret_value()
    try:
        async with PostgresStore.open(dsn, archive=archive) as store:
            yield await sealed(store, told)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    except StoreError as error:
        raise Failure(f"{error} {WHO}") from None


def _runners(told: ProjectionSettings, reader: EventReader, name: str) -> list[ProjectionRunner]:
    dsn = told.postgres_dsn.get_secret_value()
    return [
        ProjectionRunner(dsn, reader, PROJECTIONS[name](), lane=lane) for lane in range(told.lanes)
    ]


def _plan(outlook: Outlook) -> str:
    """Say what a rebuild does."""
    live = (
        "nothing is live yet"
        if outlook.live_version is None
        else f"version {outlook.live_version} at position {outlook.live_position:,} stays live"
        " until the switch"
    )
    start = (
        f"continues the interrupted build at position {outlook.built:,}"
        if outlook.built is not None
        else "starts at the beginning"
    )
    return (
        f"{outlook.name}, lane {outlook.lane}: builds version {outlook.version}, {start}, applies"
        f" {outlook.events:,} events up to position {outlook.head:,}; {live}"
    )


def _bar(say: Console, outlook: Outlook) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=say,
        transient=True,
        disable=not say.is_terminal or outlook.head == 0,
    )


def _show(found: list[Outlook], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {**msgspec.structs.asdict(one), "lag": one.lag, "events": one.events} for one in found
        ]
        click.echo(msgspec.json.encode(rows))
        return
    table = Table(box=None, padding=(0, 2))
    for name in ("read model", "lane", "version", "position", "behind"):
        table.add_column(name, justify="left" if name == "read model" else "right")
    for one in found:
        version = "-" if one.live_version is None else str(one.live_version)
        table.add_row(one.name, str(one.lane), version, f"{one.live_position:,}", f"{one.lag:,}")
    Console(highlight=False).print(table)
