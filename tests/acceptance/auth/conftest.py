"""Auth as its own process, with the permissions it has in life, and the simulated Google.

nats-server knows each service's NKEY user with exactly what the contracts allow it; Postgres
knows a login role that is a member of `drivewake_auth` and nothing else.
"""

import asyncio
import base64
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS, Connection
from drivewake.lab.demo.browser import consent
from drivewake.lab.demo.nats_users import make_users
from drivewake.lab.google import Options, RunningGoogle, start_google
from drivewake.lab.issuer import DevIssuer, start_issuer
from drivewake.lab.servers import ManagedProcess, NatsServer, PostgresServer, free_port
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

ALICE, BOB = "alice@example.com", "bob@example.com"
DATABASE = "drivewake"


class Installation:
    """One auth process with its servers."""

    def __init__(self, directory: Path, google: RunningGoogle, issuer: DevIssuer) -> None:
        self.directory = directory
        self.google = google
        self.issuer = issuer
        self.users = make_users(directory / "seeds")
        self.nats = NatsServer(config=self.users.config)
        self.postgres = PostgresServer()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.operator_token = issuer.access_token()
        self.password = f"password-{secrets.token_urlsafe(24)}"
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.open = AsyncExitStack()
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self.auth = self.process({})

    def environment(self) -> dict[str, str]:
        """Return what auth is told."""
        google = self.google.base_url
        options = self.google.world.options
        return {
            "DRIVEWAKE_NATS_URL": self.nats.url if self.nats.running else "nats://127.0.0.1:1",
            "DRIVEWAKE_NATS_SEED_FILE": str(self.users.seeds["auth"]),
            "DRIVEWAKE_POSTGRES_DSN": self.postgres.dsn(DATABASE, "auth", self.password)
            if self.postgres.running
            else "postgresql://127.0.0.1:1/x",
            "DRIVEWAKE_HTTP_PORT": str(self.port),
            "DRIVEWAKE_LOG_LEVEL": "debug",
            "DRIVEWAKE_LOG_FORMAT": "json",
            "DRIVEWAKE_AUTH_KEYRING": f"k1:{self.key}",
            "DRIVEWAKE_OIDC_ISSUER": self.issuer.url,
            "DRIVEWAKE_AUTH_REVOKE_GRACE_S": "1",
            "DRIVEWAKE_PUBLIC_URL": self.url,
            "DRIVEWAKE_GOOGLE_CLIENT_ID": options.client_id,
            "DRIVEWAKE_GOOGLE_CLIENT_SECRET": options.client_secret,
            "DRIVEWAKE_GOOGLE_AUTHORIZATION_URL": f"{google}/o/oauth2/v2/auth",
            "DRIVEWAKE_GOOGLE_TOKEN_URL": f"{google}/token",
            "DRIVEWAKE_GOOGLE_REVOKE_URL": f"{google}/revoke",
            "DRIVEWAKE_GOOGLE_JWKS_URL": f"{google}/oauth2/v3/certs",
        }

    def process(self, env: Mapping[str, str]) -> ManagedProcess:
        """Return an auth process, not started."""
        return ManagedProcess(
            "auth",
            "drivewake.auth",
            ["run"],
            log_path=self.directory / "auth.log",
            env=env,
            ready=f"{self.url}/readyz",
        )

    async def start(self) -> None:
        """Start the servers, prepare them, and start auth."""
        self.nats.start()
        self.postgres.start()
        await asyncio.to_thread(self._prepare_database)
        await provision(await self.bus("provision"), scale=0.01)
        self.auth = self.process(self.environment())
        await asyncio.to_thread(self.auth.start)

    def _prepare_database(self) -> None:
        self.postgres.create_database(DATABASE)
        self.postgres.create_role("auth", self.password)
        for _ in range(2):  # migrating again is fine
            done = self.run("migrate", {"DRIVEWAKE_POSTGRES_DSN": self.postgres.dsn(DATABASE)})
            assert 0 == done.returncode, done.stderr
        self.postgres.execute("grant drivewake_auth to auth", database=DATABASE)

    def run(self, verb: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end with this environment."""
        return subprocess.run(
            [sys.executable, "-m", "drivewake.auth", *verb.split()],
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def close(self) -> None:
        """Stop everything."""
        await self.open.aclose()
        await self.http.close()
        await asyncio.to_thread(self.auth.stop)
        self.nats.close()
        self.postgres.close()

    async def bus(self, user: str) -> NatsBus:
        """Connect to NATS as one of the contracts' users."""
        seed = self.users.seeds[user].read_text()
        bus = await connect(name="test", url=self.nats.url, seed=seed, user=user)
        self.open.push_async_callback(bus.close)
        return bus

    async def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call the HTTP API as who runs the installation."""
        headers = {"Authorization": f"Bearer {self.operator_token}"}
        async with self.http.request(
            method, f"{self.url}{path}", json=body, headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def connect(self, email: str = ALICE) -> str:
        """Connect an account through Google's pages; return the connection's id."""
        before = await self.connections()
        status, link = await self.api("POST", "/v1/connections", {})
        assert 201 == status
        page = await consent(link["url"], self.url, email)
        assert "Google Drive is connected" in page
        (made,) = {*await self.connections()} - {*before}
        return made

    async def connections(self) -> list[str]:
        """Return the ids of all connections."""
        _, body = await self.api("GET", "/v1/connections")
        return [connection["id"] for connection in body["connections"]]

    async def history(self, connection: str) -> list[Connection]:
        """Return the published states of a connection, in stream order."""
        reader = await self.bus("operator")
        found = []
        messages = reader.follow(subjects.CONNECTION.name)
        async for message in messages:
            if message is None:
                break
            envelope = CONNECTIONS.decode(message.data)
            if envelope.connection == connection:
                found.append(envelope.data)
        await messages.aclose()
        await reader.close()
        return found

    async def until_status(self, connection: str, status: str) -> list[Connection]:
        """Wait until the last published state is this one; return the history."""
        async with asyncio.timeout(30):
            while True:
                history = await self.history(connection)
                if history and status == history[-1].status:
                    return history
                await asyncio.sleep(0.1)

    async def rows(self, query: str, *values: object, user: str = "") -> list[asyncpg.Record]:
        """Return the rows of a query, as superuser or as auth."""
        dsn = (
            self.postgres.dsn(DATABASE, user, self.password)
            if user
            else (self.postgres.dsn(DATABASE))
        )
        session = await asyncpg.connect(dsn)
        try:
            return await session.fetch(query, *values)
        finally:
            await session.close()

    async def until(self, true: Callable[[], Any], within_s: float = 30.0) -> None:
        """Wait until something holds (a plain or an async check)."""
        async with asyncio.timeout(within_s):
            while True:
                held = true()
                if asyncio.iscoroutine(held):
                    held = await held
                if held:
                    return
                await asyncio.sleep(0.05)

    async def ready(self) -> int:
        """Return the status of /readyz."""
        async with self.http.get(f"{self.url}/readyz") as answer:
            return answer.status


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """A running installation with Alice and Bob at Google."""
    async with AsyncExitStack() as stack:
        google = stack.enter_context(start_google(Options(users=(ALICE, BOB))))
        issuer = await stack.enter_async_context(start_issuer(secrets.token_urlsafe(24)))
        made = Installation(tmp_path, google, issuer)
        try:
            await made.start()
            yield made
        finally:
            await made.close()
