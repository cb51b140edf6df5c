"""Auth in its world: real nats-server and Postgres, and a Google that does as a test says.

`ScriptedGoogle` speaks OAuth over HTTP, with faults; the simulated Google stands in the
acceptance tests. `World` runs replicas of auth in this process, and plays the browser, the
operator and the services that ask for tokens.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from nacl.public import PrivateKey, SealedBox

from drivewake.auth.__main__ import MIGRATIONS, MIGRATIONS_TABLE
from drivewake.auth.app import compose
from drivewake.auth.settings import Settings
from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS, Connection
from drivewake.contracts.rpc import (
    Refusal,
    ReportAnswer,
    ReportReply,
    ReportRequest,
    TokenAnswer,
    TokenReply,
)
from drivewake.lab.issuer import DevIssuer, start_issuer
from drivewake.lab.servers import NatsServer, PostgresServer
from drivewake.runtime.bus import StoredMessage
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.lifecycle import Service
from drivewake.runtime.migrations import migrate
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

CLIENT_ID = "drivewake-test"
DRIVE = "https://www.googleapis.com/auth/drive.readonly"
ACTIVITY = "https://www.googleapis.com/auth/drive.activity.readonly"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
GRANTED = f"openid {EMAIL} {DRIVE} {ACTIVITY}"
KEY_ID = "signing-1"


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    """What the scripted Google signs id_tokens with."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def migrated(dsn: str) -> None:
    """Give a database the schema of auth; also inside a running loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(dsn, MIGRATIONS, table=MIGRATIONS_TABLE)).result()


@pytest.fixture(scope="session")
def database_template(template_database: Callable[..., str]) -> str:
    """The template with auth's schema, made once a worker."""
    return template_database("auth", migrated)


class ScriptedGoogle:
    """Google's token, revoke and key endpoints, doing what the test says.

    `answer_token` and `answer_revoke` replace the ordinary answers (status, body); `claims`
    go over those of the id_token, None removes one; `refresh_gate` holds the answers to refreshes
    back while it is unset.
    """

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key
        self.url = ""
        self.client_secret = f"client-secret-{secrets.token_hex(16)}"
        self.subject = "1001"
        self.scope = GRANTED
        self.claims: dict[str, Any] = {}
        self.answer_token: tuple[int, bytes] | None = None
        self.answer_headers: dict[str, str] = {}
        self.answer_revoke: tuple[int, bytes] | None = None
        self.refresh_gate = asyncio.Event()
        self.refresh_gate.set()
        self.lifetime_s: float = 3600
        self.gives_refresh_token = True
        self.rotates = False
        self.issued: list[str] = []
        self.refresh_tokens: dict[str, str] = {}
        self.forms: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def refreshes(self) -> int:
        """How often a refresh was asked for."""
        return sum(form.get("grant_type") == "refresh_token" for form in self.forms)

    def consent(self, url: str) -> dict[str, str]:
        """Consent as a person would; return what the browser brings back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"4/{secrets.token_urlsafe(24)}"
        self._codes[code] = query
        return {"state": query["state"], "code": code, "scope": self.scope}

    async def token(self, request: web.Request) -> web.Response:
        """Answer POST /token."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form.get("grant_type") == "refresh_token":
            await self.refresh_gate.wait()
        if self.answer_token is not None:
            status, body = self.answer_token
            return web.Response(
                status=status,
                body=body,
                content_type="application/json",
                headers=self.answer_headers,
            )
        if form.get("client_secret") != self.client_secret:
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] == "refresh_token":
            return self._refresh(form)
        return self._exchange(form)

    def _refresh(self, form: dict[str, str]) -> web.Response:
        if form["refresh_token"] not in self.refresh_tokens:
            return web.json_response({"error": "invalid_grant"}, status=400)
        answer = {"access_token": self._access_token(), "expires_in": self.lifetime_s}
        if self.rotates:
            del self.refresh_tokens[form["refresh_token"]]
            answer["refresh_token"] = self._refresh_token(self.subject)
        return web.json_response({**answer, "scope": self.scope, "token_type": "Bearer"})

    def _exchange(self, form: dict[str, str]) -> web.Response:
        query = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if query is None or query["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        answer: dict[str, Any] = {
            "access_token": self._access_token(),
            "expires_in": self.lifetime_s,
            "scope": self.scope,
            "id_token": self.id_token(query["nonce"]),
        }
        if self.gives_refresh_token:
            answer["refresh_token"] = self._refresh_token(self.subject)
        return web.json_response(answer)

    def _access_token(self) -> str:
        self.issued.append(f"ya29.{secrets.token_urlsafe(32)}")
        return self.issued[-1]

    def _refresh_token(self, subject: str) -> str:
        token = f"1//0{secrets.token_urlsafe(32)}"
        self.refresh_tokens[token] = subject
        return token

    def id_token(self, nonce: str) -> str:
        """Return a signed id_token with this test's claims."""
        now = dt.datetime.now(dt.UTC)
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": self.subject,
            "email": f"person-{self.subject}@example.com",
            "nonce": nonce,
            "iat": now,
            "exp": now + dt.timedelta(hours=1),
            **self.claims,
        }
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            self.key,
            "RS256",
            headers={"kid": KEY_ID},
        )

    async def revoke(self, request: web.Request) -> web.Response:
        """Answer POST /revoke: one token ends the whole grant of its principal."""
        token = str((await request.post()).get("token", ""))
        self.revoked.append(token)
        if self.answer_revoke is not None:
            status, body = self.answer_revoke
            return web.Response(status=status, body=body, content_type="application/json")
        subject = self.refresh_tokens.get(token)
        if subject is None:
            return web.json_response({"error": "invalid_token"}, status=400)
        self.end_grants(subject)
        return web.json_response({})

    def end_grants(self, subject: str) -> None:
        """End all grants of a principal, as from its account page."""
        self.refresh_tokens = {t: s for t, s in self.refresh_tokens.items() if s != subject}

    async def certs(self, _: web.Request) -> web.Response:
        """Answer GET /certs."""
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**jwk, "kid": KEY_ID, "alg": "RS256"}]})


@pytest.fixture
async def google(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[ScriptedGoogle]:
    """A scripted Google, over HTTP."""
    scripted = ScriptedGoogle(signing_key)
    app = web.Application()
    app.add_routes(
        [
            web.post("/token", scripted.token),
            web.post("/revoke", scripted.revoke),
            web.get("/certs", scripted.certs),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    scripted.url = f"http://{host}:{port}"
    yield scripted
    scripted.refresh_gate.set()
    await runner.cleanup()


class Replica:
    """One auth, running in this process."""

    def __init__(self, service: Service, bus: NatsBus, port: int) -> None:
        self.service = service
        self.bus = bus
        self.url = f"http://127.0.0.1:{port}"
        self.tasks = [asyncio.ensure_future(task(service.stop)) for task in service._tasks.values()]

    async def stop(self) -> None:
        """End it in order."""
        self.service.stop.request()
        try:
            await asyncio.wait_for(asyncio.gather(*self.tasks), 10)
        finally:
            await self.service._close()


class World:
    """Everything around auth, and the replicas of it that a test starts."""

    def __init__(
        self,
        google: ScriptedGoogle,
        issuer: DevIssuer,
        database: str,
        nats_url: str,
        bus: NatsBus,
    ) -> None:
        self.google = google
        self.issuer = issuer
        self.database = database
        self.nats_url = nats_url
        self.bus = bus
        self.keys = {"k1": secrets.token_bytes(32)}
        self.replicas: list[Replica] = []
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            # The server ends idle connections; a reused one could be ended just then.
            connector=aiohttp.TCPConnector(force_close=True),
        )
        self.private_key = PrivateKey.generate()

    def settings(self, **changes: object) -> Settings:
        """Return settings for a replica."""
        keyring = ",".join(f"{i}:{base64.b64encode(k).decode()}" for i, k in self.keys.items())
        given: dict[str, Any] = {
            "nats_url": self.nats_url,
            "nats_user": "",
            "nats_prefix": self.bus.link.prefix,
            "postgres_dsn": self.database,
            "auth_keyring": keyring,
            "oidc_issuer": self.issuer.url,
            "api_rate_per_s": 10_000,
            "api_burst": 10_000,
            "auth_revoke_grace_s": 0.2,
            "public_url": "http://127.0.0.1:1",
            "google_client_id": CLIENT_ID,
            "google_client_secret": self.google.client_secret,
            "google_issuer": self.google.url,
            "google_authorization_url": f"{self.google.url}/auth",
            "google_token_url": f"{self.google.url}/token",
            "google_revoke_url": f"{self.google.url}/revoke",
            "google_jwks_url": f"{self.google.url}/certs",
        }
        return Settings(**(given | changes))

    async def start(self, **changes: object) -> Replica:
        """Start a replica of auth; return it once it answers token requests."""
        settings = self.settings(**changes)
        bus = await connect(settings, name="auth")
        service = Service("auth", shutdown_s=5)
        service.on_close("nats", bus.close)
        server = await compose(service, settings, bus, SystemClock())
        replica = Replica(service, bus, server.port)
        self.replicas.append(replica)
        await self.until(lambda: self._answers(replica))
        return replica

    async def _answers(self, replica: Replica) -> bool:
        return len(replica.bus._services) == 2

    async def close(self) -> None:
        """Stop everything."""
        for replica in self.replicas:
            if not replica.service.stop.requested:
                await replica.stop()
        await self.http.close()
        await self.bus.close()

    @property
    def url(self) -> str:
        """The HTTP address of the first replica."""
        return self.replicas[0].url

    async def until(self, true: Callable[[], Any], within_s: float = 15.0) -> None:
        """Wait until something holds (a plain or an async check)."""
        async with asyncio.timeout(within_s):
            while True:
                held = true()
                if asyncio.iscoroutine(held):
                    held = await held
                if held:
                    return
                await asyncio.sleep(0.02)

    # -- The callers --

    async def api(
        self, method: str, path: str, body: object = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Call the HTTP API, as who runs the installation; return status and JSON."""
        bearer = self.issuer.access_token() if token is None else token
        async with self.http.request(
            method, f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {bearer}"}
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def link(self, tenant: str = "default", reauthorize: str = "") -> str:
        """Return a link token that connects an account."""
        path = f"/v1/connections/{reauthorize}/reauthorize" if reauthorize else "/v1/connections"
        status, body = await self.api("POST", path, None if reauthorize else {"tenant": tenant})
        assert 201 == status, body
        return str(body["url"]).partition("link=")[2]

    # -- The browser --

    async def depart(self, link: str) -> tuple[str, dict[str, str]]:
        """Open a link; return where Google is, and the cookies set."""
        async with self.http.get(
            f"{self.url}/v1/connect", params={"link": link}, allow_redirects=False
        ) as answer:
            assert 302 == answer.status, await answer.text()
            cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
            return answer.headers["Location"], cookies

    async def arrive(
        self, query: dict[str, str], cookies: dict[str, str]
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        """Come back from Google; return status, page and answer."""
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        async with self.http.get(
            f"{self.url}/v1/callback",
            params=query,
            headers={"Cookie": header} if header else {},
            allow_redirects=False,
        ) as answer:
            return answer.status, await answer.text(), answer

    async def sign_in(self, tenant: str = "default", reauthorize: str = "") -> tuple[int, str]:
        """Go the whole way; return the last status and page."""
        url, cookies = await self.depart(await self.link(tenant, reauthorize))
        status, page, _ = await self.arrive(self.google.consent(url), cookies)
        return status, page

    async def connect(self, tenant: str = "default") -> str:
        """Connect the current principal; return the id of the connection, once published."""
        status, page = await self.sign_in(tenant)
        assert 303 == status, page
        row = await self.one(
            "select id, revision from auth.connection where tenant = $1 and subject = $2",
            tenant,
            self.google.subject,
        )
        connection = str(row["id"])
        await self.published(connection, row["revision"])
        return connection

    # -- The services --

    async def ask(
        self,
        connection: str,
        tenant: str = "default",
        caller: str = "poller",
        **more: Any,  # noqa: ANN401 - other fields of the request
    ) -> TokenReply | Refusal:
        """Ask for a token."""
        public_key = base64.b64encode(bytes(self.private_key.public_key)).decode()
        question = {"tenant": tenant, "connection": connection, "public_key": public_key}
        body = await self.bus.request(
            subjects.token_rpc(caller), msgspec.json.encode(question | more), timeout_s=20
        )
        answer: TokenReply | Refusal = msgspec.json.decode(body, type=TokenAnswer)
        return answer

    async def token(self, connection: str, **more: Any) -> str:  # noqa: ANN401 - as `ask`
        """Ask for a token that must be given; return it opened."""
        reply = await self.ask(connection, **more)
        assert isinstance(reply, TokenReply), reply
        return self.opened(reply)

    def opened(self, reply: TokenReply) -> str:
        """Return the token of a reply."""
        return SealedBox(self.private_key).decrypt(base64.b64decode(reply.sealed)).decode()

    async def refused(self, connection: str, **more: Any) -> str:  # noqa: ANN401 - as `ask`
        """Ask for a token that must be refused; return the refusal's code."""
        reply = await self.ask(connection, **more)
        assert isinstance(reply, Refusal), reply
        return reply.code

    async def report(
        self,
        connection: str,
        finding: Any,  # noqa: ANN401 - a word of the contract
        tenant: str = "default",
        caller: str = "poller",
        reason: str = "Google said so",
    ) -> ReportReply | Refusal:
        """Report what Google said."""
        question = ReportRequest(
            tenant=tenant, connection=connection, finding=finding, reason=reason
        )
        body = await self.bus.request(
            subjects.report_rpc(caller), msgspec.json.encode(question), timeout_s=20
        )
        answer: ReportReply | Refusal = msgspec.json.decode(body, type=ReportAnswer)
        return answer

    # -- What can be seen --

    async def one(self, query: str, *values: object) -> asyncpg.Record:
        """Return the only row of a query."""
        (row,) = await self.rows(query, *values)
        return row

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a query, as the superuser sees them."""
        session = await asyncpg.connect(self.database)
        try:
            return await session.fetch(query, *values)
        finally:
            await session.close()

    async def messages(self) -> list[StoredMessage]:
        """Return everything on DRIVE_CONNECTION."""
        found = []
        following = self.bus.follow(subjects.CONNECTION.name)
        async with contextlib.aclosing(following) as messages:
            async for message in messages:
                if message is None:
                    break
                found.append(message)
        return found

    async def history(self, connection: str) -> list[Connection]:
        """Return the published states of a connection, in stream order."""
        decoded = [CONNECTIONS.decode(message.data) for message in await self.messages()]
        return [envelope.data for envelope in decoded if envelope.connection == connection]

    async def published(self, connection: str, revision: int) -> Connection:
        """Wait until a revision of a connection is the last one on the stream; return it."""
        async with asyncio.timeout(15):
            while True:
                history = await self.history(connection)
                if history and history[-1].revision >= revision:
                    assert revision == history[-1].revision
                    return history[-1]
                await asyncio.sleep(0.02)

    async def until_status(self, connection: str, status: str) -> Connection:
        """Wait until the last published state is this one; return it."""
        async with asyncio.timeout(15):
            while True:
                history = await self.history(connection)
                if history and history[-1].status == status:
                    return history[-1]
                await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
async def issuer() -> AsyncIterator[DevIssuer]:
    """The issuer of callers' tokens, one a worker."""
    async with start_issuer(f"issuer-secret-{secrets.token_hex(16)}") as made:
        yield made


@pytest.fixture
async def quiet_world(
    google: ScriptedGoogle, issuer: DevIssuer, database: str, nats_url: str, prefix: str
) -> AsyncIterator[World]:
    """A provisioned installation without a running auth."""
    bus = await connect(name="test", url=nats_url, prefix=prefix)
    await provision(bus, scale=0.01)
    made = World(google, issuer, database, nats_url, bus)
    yield made
    await made.close()


@pytest.fixture
async def world(quiet_world: World) -> World:
    """An installation with one running auth."""
    await quiet_world.start()
    return quiet_world


@pytest.fixture(scope="module")
async def shared_world(
    signing_key: rsa.RSAPrivateKey,
    issuer: DevIssuer,
    nats_server: NatsServer,
    postgres_server: PostgresServer,
    database_template: str,
) -> AsyncIterator[World]:
    """One installation for a file's tests that change nothing in it."""
    name, prefix = f"test_{secrets.token_hex(6)}", f"t{secrets.token_hex(4)}"
    postgres_server.create_database(name, template=database_template)
    bus = await connect(name="test", url=nats_server.url, prefix=prefix)
    await provision(bus, scale=0.01)
    google = ScriptedGoogle(signing_key)
    made = World(google, issuer, postgres_server.dsn(name), nats_server.url, bus)
    made.google.url = "http://127.0.0.1:9"
    await made.start()
    yield made
    await made.close()
    postgres_server.drop_database(name)
