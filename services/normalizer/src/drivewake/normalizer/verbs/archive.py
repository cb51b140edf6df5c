"""`drivewake archive`: months that are over for good go to files, proved before they go."""

import datetime as dt
from typing import Final

import asyncpg
import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from drivewake.cli.rendering import octets
from drivewake.cli.session import EXIT_MISUSED, Failure, run
from drivewake.eventstore.archive import writing
from drivewake.eventstore.archive.records import Manifest
from drivewake.eventstore.archive.writing import LEAST_MONTHS, Archivist, Step, verify
from drivewake.eventstore.connections import AnyConnection, translate
from drivewake.eventstore.errors import ArchiveError
from drivewake.normalizer.verbs.database import KeeperSettings, keeper, settings
from drivewake.normalizer.verbs.database import archive as files_of
from drivewake.runtime.clock import SystemClock

WORDS: Final[dict[Step, str]] = {
    "write": "writing",
    "verify": "reading back",
    "detach": "taking out of the table",
    "drop": "deleting its rows",
    "done": "archived",
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One month: `table` (in the store), `due`, `detached` (to be finished) or `archived`."""

    month: str
    state: str
    events: int | None = None
    bytes: int | None = None
    number: int | None = None


@click.group()
def archive() -> None:
    """Keep months that are over as compressed JSON lines, and delete them from the database.

    A month is written, read back and compared, and only then taken out of the table and
    deleted. A run that was interrupted is simply repeated. Services that are told where the
    archive is (DRIVEWAKE_ARCHIVE_URL) read it together with the store, so rebuilds see
    everything; others are refused what is not there any more.

    Needs DRIVEWAKE_POSTGRES_DSN, of a user with the role drivewake_keeper, and
    DRIVEWAKE_ARCHIVE_URL (s3://bucket/prefix with AWS_… in the environment, or file:///folder).
    """


older_than = click.option(
    "--older-than",
    "months",
    type=click.IntRange(1),
    default=13,
    show_default=True,
    help=f"Months that ended so many months ago or more; {LEAST_MONTHS} at least.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@archive.command("list")
@older_than
@as_json
def list_(months: int, as_json: bool) -> None:
    """Show every month: in the table, due to go, or archived."""
    rows: list[Row] = []

    async def work() -> None:
        async with keeper(settings(KeeperSettings)) as session:
            rows.extend(await _rows(session, months))
            stray = await writing.rest(session)
        if stray:
            click.echo(f"! {stray:,} events stand in eventstore.event_rest", err=True)

    run(work)
    _show(rows, as_json=as_json)


@archive.command("run")
@older_than
@click.option("--dry-run", is_flag=True, help="Say what would go, and do nothing.")
@as_json
def run_(months: int, dry_run: bool, as_json: bool) -> None:
    """Archive what is old enough, and finish what an interrupted run left."""
    rows: list[Row] = []
    told = settings(KeeperSettings)
    files = files_of(told)
    say = Console(stderr=True, highlight=False)

    def progress(month: dt.date, step: Step, events: int) -> None:
        if not as_json:
            say.print(f"{month:%Y-%m}  {WORDS[step]}" + (f" ({events:,} events)" if events else ""))

    async def work() -> None:
        async with keeper(told) as session:
            if dry_run:
                rows.extend(row for row in await _rows(session, months) if row.state == "due")
                return
            worker = Archivist(session, files, SystemClock(), progress=progress)
            try:
                done = await worker.run(months)
            except ValueError as error:
                raise Failure(str(error), EXIT_MISUSED) from None
            rows.extend(_of(manifest, "archived") for manifest in done)

    run(work)
    _show(rows, as_json=as_json)


@archive.command("verify")
@as_json
def verify_(as_json: bool) -> None:
    """Read every archived month back and compare it with what the store remembers of it."""
    rows: list[Row] = []
    told = settings(KeeperSettings)
    files = files_of(told)

    async def work() -> None:
        async with keeper(told) as session:
            for one in await writing.archived(session):
                try:
                    await verify(files, one.manifest)
                except ArchiveError as error:
                    raise Failure(str(error)) from None
                rows.append(_of(one.manifest, "verified"))

    run(work)
    _show(rows, as_json=as_json)


async def _rows(session: AnyConnection, months: int) -> list[Row]:
    try:
        due = await writing.due(session, SystemClock().now(), months)
        kept = [
            Row(month=f"{month:%Y-%m}", state="due" if month in due else "table")
            for month in await writing.months(session)
        ]
        gone = [
            _of(one.manifest, "archived" if one.state == "dropped" else "detached")
            for one in await writing.archived(session)
        ]
    except ValueError as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    except asyncpg.PostgresError as error:
        raise translate(error) from error
    return sorted([*gone, *kept], key=lambda row: (row.month, row.number or 0))


def _of(manifest: Manifest, state: str) -> Row:
    return Row(
        month=f"{manifest.month:%Y-%m}",
        state=state,
        events=manifest.events,
        bytes=sum(part.bytes for part in manifest.parts),
        number=manifest.number,
    )


def _show(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    if not rows:
        click.echo("nothing")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("month", "state", "events", "files"):
        table.add_column(column, justify="left" if column in ("month", "state") else "right")
    for row in rows:
        events = "" if row.events is None else f"{row.events:,}"
        table.add_row(row.month, row.state, events, "" if row.bytes is None else octets(row.bytes))
    Console(highlight=False).print(table)
