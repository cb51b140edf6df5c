"""`drivewake channels`: the push channels, and what ails them."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from drivewake.cli.rendering import harmless, span
from drivewake.cli.session import connected, run, settings
from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord
from drivewake.runtime.bus import KeyValue

STATUSES: Final = ("opening", "live", "silent", "refused", "stopping", "stopped")
ENDED: Final = frozenset({"stopped", "refused"})
SOON: Final = dt.timedelta(hours=1)
COLOURS: Final = {"live": "green", "silent": "yellow", "refused": "red", "stopped": "dim"}
_decoder = msgspec.json.Decoder(ChannelRecord)


@click.command()
@click.option("--tenant", help="Of this tenant alone.")
@click.option("--connection", help="Of this connection alone.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(STATUSES),
    help="In this status; may be given several times.",
)
@click.option("--all", "ended", is_flag=True, help="Those that have ended too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, whole records.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
def channels(
    tenant: str | None,
    connection: str | None,
    statuses: Sequence[str],
    ended: bool,
    as_json: bool,
    limit: int,
) -> None:
    """Show push channels, those that need attention first.

    `silent`: opened, but it tells nothing; `refused`: Google did not open it, with its reason.
    A log without a living channel is polled more often: slower, never less complete.
    """

    def wanted(record: ChannelRecord) -> bool:
        shown = record.status in statuses or (not statuses and record.status != "stopped") or ended
        mine = tenant in {None, record.tenant} and connection in {None, record.connection}
        return shown and mine

    async def work() -> None:
        now = dt.datetime.now(dt.UTC)
        async with connected(settings()) as bus:
            found, unreadable = await _read(await bus.key_value(subjects.CHANNELS))
        chosen = sorted(filter(wanted, found), key=_urgency(now))
        if as_json:
            for record in chosen:
                click.echo(msgspec.json.encode(record))
        else:
            show(chosen, now, limit)
        if unreadable:
            click.echo(f"drivewake: {unreadable} records cannot be read", err=True)

    run(work)


async def _read(bucket: KeyValue) -> tuple[list[ChannelRecord], int]:
    """Return all channels, and how many records are none."""
    found: list[ChannelRecord] = []
    unreadable = 0
    async for entry in bucket.watch():
        if entry is None:
            break
        if entry.value is None:
            continue
        try:
            found.append(_decoder.decode(entry.value))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            unreadable += 1
    return found, unreadable


def _urgency(now: dt.datetime) -> Callable[[ChannelRecord], tuple[int, dt.datetime]]:
    order = {"refused": 0, "silent": 1, "opening": 2, "stopping": 3, "live": 4, "stopped": 5}

    def key(record: ChannelRecord) -> tuple[int, dt.datetime]:
        near = record.status == "live" and record.expires_at - now < SOON
        return (0 if near else order[record.status], record.expires_at)

    return key


def show(records: Sequence[ChannelRecord], now: dt.datetime, limit: int) -> None:
    """Print channels as a table, and how many there are in each status."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, padding=(0, 2), title="channels", title_justify="left")
    for name in ("channel", "connection", "log", "status", "expires in", "last push", "reason"):
        table.add_column(name)
    for record in records[:limit]:
        heard_at = record.last_message_at or record.synced_at
        table.add_row(
            record.channel[:12],
            harmless(record.connection, 24),
            record.log[:12],
            Text(record.status, style=COLOURS.get(record.status, "")),
            "" if record.status in ENDED else span((record.expires_at - now).total_seconds()),
            "never" if heard_at is None else f"{span((now - heard_at).total_seconds())} ago",
            harmless(record.reason, 60),
        )
    console.print(table)
    if len(records) > limit:
        console.print(f"… and {len(records) - limit} more (--limit)")
    counts = {status: sum(r.status == status for r in records) for status in STATUSES}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(told or "no channels")
