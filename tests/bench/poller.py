"""What reading Google costs: the client beside its rivals, the poller beside a fixed beat.

    just bench poller [--rounds 3] [--seconds 2] [--connections 100000] [--due 10000] [--json FILE]

Calls are made against pre-encoded pages of 100 changes that take 50 ms, served by another
process: sequential `.execute()`, 32 threads of it, aiohttp alone, and our client, interleaved.
Then: CPU of a page from Google's answer to DRIVE_RAW, memory of an idle connection, CPU of a
whole poller that drains many logs that are due at once, and the simulation of many connections
on one project's quota (no I/O: the poller's own rules).
"""

import asyncio
import gc
import time
from pathlib import Path
from typing import Final

import click
import msgspec
import psutil
import uvloop
from poller_clients import (
    AT_ONCE,
    NOW,
    THREADS,
    TOKEN,
    Rate,
    bare,
    one_core,
    ours,
    page_of,
    sequential,
    serving,
    threads,
)
from poller_drain import drain
from poller_simulation import DAY_S, MIX, Simulation

from drivewake.contracts import subjects
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.pages import decode_changes
from drivewake.gdrive.quota import LIST_UNITS, Budget, Governor
from drivewake.gdrive.token import AccessToken
from drivewake.lab import bench
from drivewake.lab.servers import NatsServer
from drivewake.poller import domain, listing
from drivewake.poller.buckets import BusLogs
from drivewake.poller.outgoing import BusRaws
from drivewake.poller.ports import Page, Step
from drivewake.poller.sources.changes import seen
from drivewake.runtime.bus import Entry
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.lifecycle import tune_collector
from drivewake.runtime.logging import configure
from drivewake.runtime.memory import MemoryBus
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision

CHANGES: Final = 100
BEAT_S: Final = 300.0


def measure_clients(rounds: int, span_s: float) -> dict[str, list[Rate]]:
    """Return the rates of every way to ask, interleaved."""
    found: dict[str, list[Rate]] = {}
    with serving(CHANGES) as address, one_core():
        for _ in range(rounds):
            found.setdefault("sequential", []).append(sequential(address, span_s))
            found.setdefault("threads", []).append(threads(address, span_s))
            found.setdefault("aiohttp", []).append(uvloop.run(bare(address, span_s)))
            found.setdefault("ours", []).append(uvloop.run(ours(address, span_s)))
    return found


async def page_to_raw(pages: int) -> tuple[float, float]:
    """Return CPU seconds of a page: all from Google's answer to DRIVE_RAW, and publishing alone."""
    with NatsServer() as server, serving(CHANGES) as address:
        bus = await connect(name="bench", url=server.url)
        await provision(bus, scale=0.1)
        raws = BusRaws(bus, BusGraveyard(bus))
        record = domain.new_log("t", "c", "user_changes", NOW)
        token = AccessToken(TOKEN, tenant="t", connection="c", id="i", expires_at=NOW)
        free = Budget(user_per_min=1e12, project_per_min=1e12, day_units=0.0)
        items, _, _ = decode_changes(page_of(CHANGES))
        async with DriveClient(address, governor=Governor(free)) as client:

            async def publish(found: Page) -> None:
                step = Step(record=listing.advanced(record, "2", CHANGES, NOW), pages=(found,))
                assert CHANGES == await raws.publish(record, step, NOW)

            ready = Page(source="changes", items=seen(items), observed_at=NOW, cursor="1")
            await publish(ready)
            began_s = time.process_time()
            for _ in range(pages):
                await publish(ready)
            published_s = (time.process_time() - began_s) / pages
            began_s = time.process_time()
            for _ in range(pages):
                page = await client.list_changes(token, "1")
                items = page.items
                await publish(
                    Page(source="changes", items=seen(items), observed_at=NOW, cursor="1")
                )
            whole_s = (time.process_time() - began_s) / pages
        await bus.close()
    return whole_s, published_s


async def idle_bytes(connections: int) -> float:
    """Return the memory that a process needs for each idle connection with its log."""
    logs = BusLogs(await MemoryBus().key_value(subjects.LOGS))
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    for number in range(connections):
        name = f"{number:032x}"
        record = msgspec.structs.replace(
            domain.new_log("default", name, "user_changes", NOW),
            phase="live",
            cursor=str(10_000_000 + number),
            last_success_at=NOW,
            last_change_at=NOW,
            drives_at=NOW,
            raws=1000,
            calls=1000,
            units=100_000,
        )
        key = subjects.log_key(name, record.log)
        logs._take(Entry(key=key, value=msgspec.json.encode(record), revision=1))
    gc.collect()
    return float(process.memory_info().rss - before) / connections


def beside_a_beat(connections: int, hours: float) -> tuple[float, float, float]:
    """Return list calls a change of ours and of a fixed beat with the same median delay.

    Without pushes and without want of quota, so that the rhythm alone is compared.
    """
    plenty = Budget(project_per_min=1e12, day_units=1e15)
    result = Simulation(connections, pushed=0.0, seed=1, budget=plenty).run(3600, hours * 3600)
    everything = result.all_delays()
    median_s = everything.percentile(0.5)
    beat_calls = connections * hours * 3600 / (2 * median_s)
    changes = len(everything.delays)
    return everything.calls / changes, beat_calls / changes, median_s


def tell_simulation(connections: int, hours: float) -> list[bench.Row]:
    """Print freshness by class of log, and what a day costs, beside a fixed beat."""
    rows: list[bench.Row] = []
    for pushed in (0.9, 0.0):
        began_s = time.perf_counter()
        world = Simulation(connections, pushed=pushed, seed=1, budget=Budget())
        result = world.run(2 * 3600, hours * 3600)
        took_s = time.perf_counter() - began_s
        click.echo(
            f"\n{connections:,} connections, {pushed:.0%} with push, {hours:g} h simulated in "
            f"{took_s:.0f} s: timers stretched {result.stretch:.1f}x"
        )
        for kind in MIX:
            one = result.found[kind.name]
            p50, p99 = one.percentile(0.5), one.percentile(0.99)
            calls = one.calls / max(len(one.delays), 1)
            click.echo(
                f"  {kind.name:7} a change every {kind.every_s:>9,.0f} s: fresh after "
                f"p50 {p50:>7,.0f} s, p99 {p99:>7,.0f} s; {calls:.1f} calls a change"
            )
        beat = connections * DAY_S / BEAT_S * LIST_UNITS
        click.echo(
            f"  {result.units_a_day / 1e6:,.0f} M units a day (threshold 400 M); a fixed beat of "
            f"5 minutes: {beat / 1e6:,.0f} M, fresh after p50 {BEAT_S / 2:.0f} s"
        )
        name = f"units_per_day_push_{pushed * 100:.0f}"
        ratio = result.units_a_day / beat
        rows.append(
            bench.Row(
                row=name, value=result.units_a_day, unit="units", ratio=ratio, to="beat_300_s"
            )
        )
    return rows


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each way to ask, a round.")
@click.option("--connections", default=100_000, show_default=True, help="Of the simulation.")
@click.option("--hours", default=0.5, show_default=True, help="Simulated, after a warm-up of two.")
@click.option("--due", default=10_000, show_default=True, help="Logs that are due at once.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    rounds: int, seconds: float, connections: int, hours: float, due: int, json_path: Path | None
) -> None:
    """Measure, print, and perhaps write JSON."""
    configure("bench", "warning")
    tune_collector()
    click.echo(f"{CHANGES} changes a page, {THREADS} threads, {AT_ONCE} calls at once")
    found = measure_clients(rounds, seconds)
    per_s = {name: bench.median([one.per_s for one in rates]) for name, rates in found.items()}
    cpu_us = {
        name: 1e6 * bench.median([one.cpu_s for one in rates]) for name, rates in found.items()
    }
    rows = [
        bench.Row(
            row=f"calls_vs_{name}",
            value=per_s["ours"],
            unit="calls/s",
            ratio=per_s["ours"] / per_s[name],
            to=name,
        )
        for name in ("sequential", "threads", "aiohttp")
    ]
    rows += [
        bench.Row(
            row=f"cpu_per_call_{name}",
            value=value,
            unit="µs",
            ratio=value / cpu_us["aiohttp"],
            to="aiohttp",
        )
        for name, value in cpu_us.items()
    ]
    whole_s, published_s = uvloop.run(page_to_raw(200))
    rows += [
        bench.Row(row="page_of_100_to_raw", value=1000 * whole_s, unit="ms CPU"),
        bench.Row(row="page_of_100_publish", value=1000 * published_s, unit="ms CPU"),
        bench.Row(row="idle_connection", value=asyncio.run(idle_bytes(20_000)), unit="bytes"),
    ]
    drained = uvloop.run(drain(due))
    click.echo(f"{due:,} due logs were drained in {drained.took_s:.1f} s")
    rows.append(bench.Row(row=f"drain_{due}_due", value=drained.cpu_s, unit="s CPU"))
    mine, beat, median_s = beside_a_beat(max(connections // 50, 200), 4.0)
    click.echo(f"median delay of the comparison with a fixed beat: {median_s:.0f} s")
    rows.append(
        bench.Row(
            row="calls_per_change", value=mine, unit="calls", ratio=mine / beat, to="equal_beat"
        )
    )
    rows += tell_simulation(connections, hours)
    bench.publish(
        bench.Report(
            name="poller",
            machine=bench.machine(),
            versions=bench.versions("aiohttp", "google-api-python-client", "nats-py", "msgspec"),
            rows=rows,
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
