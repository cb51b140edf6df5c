"""`drivewake status`: one look at everything."""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import rich_click as click
from click.exceptions import Exit
from rich.console import Console
from rich.table import Table
from rich.text import Text

from drivewake.cli.rendering import harmless, octets, span
from drivewake.cli.report import ConnectionState, ConsumerState, LogState, Report, gather
from drivewake.cli.session import EXIT_FAILED, connected, run, settings

COLOURS = {
    "active": "green",
    "live": "green",
    "snapshot": "cyan",
    "new": "cyan",
    "degraded": "yellow",
    "paused": "yellow",
    "stopped": "dim",
    "revoked": "dim",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document.")
@click.option("--check", is_flag=True, help="Exit with 1 if something is wrong.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Connections and logs to list, those in trouble first; --json has all.",
)
def status(as_json: bool, check: bool, limit: int) -> None:
    """Show streams, who lags behind them, connections and their logs.

    A log's line says how it goes, when it was last read, when it will be next, and why then.
    What is wrong stands at the end in words.
    """
    wrong: list[str] = []

    async def work() -> None:
        async with connected(settings()) as bus:
            report = await gather(bus)
        wrong.extend(report.wrong)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(report)))
        else:
            show(report, limit)

    run(work)
    if check and wrong:
        raise Exit(EXIT_FAILED)


def show(report: Report, limit: int, console: Console | None = None) -> None:
    """Print a report as tables."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    tables = (
        _streams(report),
        _consumers(report.consumers),
        _connections(report.connections, limit),
        _logs(report, limit),
    )
    for table in tables:
        console.print(table)
        console.print()
    if not report.wrong:
        console.print(Text("All is well.", style="green"))
    for line in itertools.islice(report.wrong, limit):
        console.print(Text(f"! {harmless(line, 300)}", style="red"))
    if len(report.wrong) > limit:
        console.print(Text(f"! and {len(report.wrong) - limit} more", style="red"))


def _table(title: str, *columns: str, numbers: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    right = set(numbers)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _streams(report: Report) -> Table:
    numbers = ("messages", "size", "full", "last sequence")
    table = _table("Streams", "stream", *numbers, "last message", numbers=numbers)
    for one in report.streams:
        full = f"{one.bytes / one.max_bytes:.0%}" if one.max_bytes else "-"
        table.add_row(
            one.name,
            f"{one.messages:,}",
            octets(one.bytes),
            full,
            f"{one.last_sequence:,}",
            _ago(one.last_at, report.at),
        )
    return table


def _consumers(consumers: Sequence[ConsumerState]) -> Table:
    """Show consumers; the partitions of one stream and owner stand on one line."""
    numbers = ("waiting", "unacknowledged", "redelivered")
    table = _table("Consumers", "owner", "stream", *numbers, numbers=numbers)
    groups: dict[tuple[str, str], list[ConsumerState]] = {}
    for one in consumers:
        groups.setdefault((one.owner, one.stream), []).append(one)
    for (owner, stream), members in groups.items():
        many = f" ({len(members)} partitions)" if len(members) > 1 else ""
        table.add_row(
            f"{owner}{many}",
            stream,
            f"{sum(one.waiting for one in members):,}",
            f"{sum(one.pending for one in members):,}",
            f"{sum(one.redelivered for one in members):,}",
        )
    return table


def _connections(connections: Sequence[ConnectionState], limit: int) -> Table:
    counts = Counter[str](one.status for one in connections)
    title = f"Connections: {_counted(counts, len(connections))}"
    table = _table(title, "tenant", "connection", "status", "since", "reason")
    for one in connections[:limit]:
        table.add_row(
            one.tenant,
            one.connection,
            Text(one.status, style=COLOURS.get(one.status, "red")),
            f"{one.since:%Y-%m-%d %H:%M}",
            harmless(one.reason),
        )
    return table


def _logs(report: Report, limit: int) -> Table:
    counts = Counter[str](one.state for one in report.logs)
    title = f"Logs: {_counted(counts, len(report.logs))}"
    columns = ("connection", "log", "state", "last read", "next", "every", "why")
    table = _table(title, *columns, numbers=("every",))
    for one in report.logs[:limit]:
        table.add_row(
            one.connection,
            f"{one.kind} {one.log[:8]}",
            Text(one.state, style=COLOURS.get(one.state, "red")),
            _ago(one.last_success_at, report.at),
            _ahead(one, report.at),
            span(one.interval_s),
            harmless(one.last_error or one.why),
        )
    return table


def _counted(counts: Counter[str], total: int) -> str:
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    return f"{total:,}" + (f" ({parts})" if parts else "")


def _ago(instant: dt.datetime | None, now: dt.datetime) -> str:
    if instant is None:
        return "never"
    return f"{span(max((now - instant).total_seconds(), 0.0))} ago"


def _ahead(log: LogState, now: dt.datetime) -> str:
    if log.state in {"stopped", "paused"} or log.next_poll_at is None:
        return "-"
    left_s = (log.next_poll_at - now).total_seconds()
    return f"in {span(left_s)}" if left_s > 0 else "now"
