"""Puts auth together: the only file that names adapters."""

import asyncio
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from drivewake.auth import http, http_api
from drivewake.auth.audit import Trail
from drivewake.auth.callers import OidcCallers
from drivewake.auth.console import Client, Console
from drivewake.auth.database import Database
from drivewake.auth.desk import Desk
from drivewake.auth.google import GoogleHttp
from drivewake.auth.http_console import Doorman, console_handlers
from drivewake.auth.http_guard import Gate
from drivewake.auth.issuer import IssuerHttp
from drivewake.auth.jwks import KeySet
from drivewake.auth.keyring import Keyring
from drivewake.auth.kms import opened_keyring
from drivewake.auth.limits import Buckets
from drivewake.auth.outbox import Announcer, Reconciler
from drivewake.auth.revoker import Housekeeper, Revoker
from drivewake.auth.rotation import Rotator
from drivewake.auth.rpc import Rpc
from drivewake.auth.security_events import ALGORITHMS, Receiver, receiver_handlers
from drivewake.auth.service_accounts import ServiceAccountDesk
from drivewake.auth.settings import Settings
from drivewake.auth.signin import Consent, SignInService
from drivewake.auth.store import Store
from drivewake.auth.tokens import TokenService
from drivewake.auth.watcher import Watcher
from drivewake.runtime import telemetry
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.http import HttpServer, application
from drivewake.runtime.jwks import ASYMMETRIC
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import configure
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.probes import Check

NAME: Final = "auth"
DISTRIBUTION: Final = "drivewake-auth"
_ABSENT: Any = None
RETRY_S: Final = 1.0


async def run(settings: Settings) -> int:
    """Run the service until it is asked to stop; return the exit code."""
    configure(NAME, settings.log_level, settings.log_format)
    telemetry.configure(NAME, settings.otlp_endpoint)
    service = Service(NAME, shutdown_s=settings.shutdown_s)
    bus = await connect(settings, name=NAME)
    service.on_close("nats", bus.close)
    await compose(service, settings, bus, SystemClock())
    return await service.run()


async def compose(service: Service, settings: Settings, bus: NatsBus, clock: Clock) -> HttpServer:
    """Add all tasks to the service; return its HTTP server, listening.

    Raises ConfigurationError if the port is taken or the keyring cannot be read. Neither the
    database nor Google has to be there yet.
    """
    keyring = await opened_keyring(settings.auth_keyring, settings.kms())
    database = Database(settings.postgres_dsn)
    service.on_close("database", database.close)
    await database.open()
    google = GoogleHttp(
        settings.endpoints(),
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret,
        redirect_uri=settings.redirect_uri,
    )
    service.on_close("google", google.close)
    await google.open()

    store = Store(database)
    trail = Trail(store, clock)
    service.on_close("audit", trail.close)
    keyring.on_use = trail.key_used
    sign_ins = SignInService(store, google, keyring, _consent(settings), clock)
    desk = Desk(
        store,
        sign_ins,
        keyring,
        clock,
        revoke_grace=dt.timedelta(seconds=settings.auth_revoke_grace_s),
    )
    gate, console = await _entrances(service, settings, desk, keyring, clock, trail)
    tokens = TokenService(
        store,
        google,
        keyring,
        clock,
        trail,
        required=frozenset(settings.scopes),
        cache_size=settings.auth_token_cache_size,
    )
    service.on_close("tokens", tokens.close)
    watcher = Watcher(bus, tokens)
    rpc = Rpc(tokens, store, clock, trail)

    async def answer(stop: Stop) -> None:
        """Answer only once changes of connections are followed."""
        waiting = asyncio.create_task(watcher.ready.wait(), name="watcher-ready")
        stopping = asyncio.create_task(stop.wait(), name="answer-stop")
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        while not stop.requested:
            try:
                await rpc.serve(bus)
            except BusUnavailableError:
                await stop.sleep(RETRY_S)
            else:
                await stopping

    receiver = Receiver(
        store,
        KeySet(google.keys, ALGORITHMS),
        clock,
        trail,
        tokens.overtaken,
        issuer=settings.google_issuer,
        client_id=settings.google_client_id,
    )
    delegations = ServiceAccountDesk(store, google, keyring, clock, trail, required=settings.scopes)
    rotator = Rotator(store, keyring, clock, trail)
    app = http_application(
        service,
        [
            *http.public_handlers(sign_ins, trail, secure=settings.is_public_https),
            *receiver_handlers(receiver),
            *console,
            http_api.behind(
                gate,
                [
                    *http_api.tenant_handlers(desk),
                    *http_api.connection_handlers(desk, public_url=settings.public_url),
                    *http_api.service_account_handlers(delegations),
                    *http_api.audit_handlers(store, trail),
                    *http_api.key_handlers(rotator),
                ],
            ),
        ],
        trail,
        _readiness(database, bus),
    )
    server = HttpServer(app, settings.http_host, settings.http_port)
    service.add("http", server.run)
    service.add("nats", bus.watch_connection)
    service.add("watcher", watcher.run)
    service.add("answers", answer)
    announcer = Announcer(store, bus, lambda: service.heartbeat("outbox"), clock)
    service.add("outbox", announcer.run)
    service.add("reconciler", Reconciler(store, store, bus, clock).run)
    revoker = Revoker(store, google, keyring, clock, lambda: service.heartbeat("revoker"))
    service.add("revoker", revoker.run)
    service.add("audit", trail.run)
    service.add("rotation", rotator.run)
    service.add("housekeeper", Housekeeper(store, clock).run)
    # First of all that is closed: what is answered after that would be recorded nowhere.
    service.on_close("answers", bus.close)
    return server


def http_application(
    service: Service,
    handlers: Sequence[ControllerRouterHandler],
    trail: Trail,
    readiness: Mapping[str, Check],
) -> Litestar:
    """Return the HTTP application."""
    return application(
        service,
        handlers,
        readiness,
        openapi=http.openapi_config(metadata.version(DISTRIBUTION)),
        body_limit_bytes=http.BODY_LIMIT_BYTES,
        exception_handlers=http.exception_handlers(trail),
    )


async def _issuer(service: Service, settings: Settings) -> IssuerHttp:
    issuer = IssuerHttp(
        settings.oidc_issuer,
        jwks_url=settings.oidc_jwks_url,
        allow_plain_http=settings.allow_plain_http,
    )
    service.on_close("issuer", issuer.close)
    await issuer.open()
    return issuer


async def _entrances(
    service: Service, settings: Settings, desk: Desk, keyring: Keyring, clock: Clock, trail: Trail
) -> tuple[Gate, Sequence[ControllerRouterHandler]]:
    """Return what lets callers of the API in, and the console with its sign-in."""
    issuer = await _issuer(service, settings)
    keys = KeySet(issuer.keys, ASYMMETRIC)
    buckets = Buckets(settings.api_rate_per_s, settings.api_burst)
    gate = Gate(OidcCallers(settings.claims(settings.oidc_audience), keys), buckets, clock, trail)
    console = Console(
        issuer,
        OidcCallers(settings.claims(settings.oidc_client_id), keys),
        Client(
            client_id=settings.oidc_client_id,
            secret=settings.oidc_client_secret,
            redirect_uri=f"{settings.public_url}/console/callback",
        ),
        keyring,
        clock,
        trail,
    )
    doorman = Doorman(
        console, buckets, clock, origin=settings.origin, secure=settings.is_public_https
    )
    return gate, console_handlers(console, desk, doorman, trail, public_url=settings.public_url)


def _consent(settings: Settings) -> Consent:
    return Consent(
        authorization_url=settings.google_authorization_url,
        issuer=settings.google_issuer,
        client_id=settings.google_client_id,
        redirect_uri=settings.redirect_uri,
        scopes=settings.scopes,
    )


def _readiness(database: Database, bus: NatsBus) -> Mapping[str, Check]:
    return {"nats": bus.check, "postgres": database.ready}


def openapi_document() -> str:
    """Return the OpenAPI document of the HTTP API; needs no settings and no servers."""
    handlers = [
        *http.public_handlers(_ABSENT, _ABSENT, secure=True),
        *receiver_handlers(_ABSENT),
        http_api.behind(
            _ABSENT,
            [
                *http_api.tenant_handlers(_ABSENT),
                *http_api.connection_handlers(_ABSENT, public_url=""),
                *http_api.service_account_handlers(_ABSENT),
                *http_api.audit_handlers(_ABSENT, _ABSENT),
                *http_api.key_handlers(_ABSENT),
            ],
        ),
    ]
    documented = Litestar(
        route_handlers=handlers, openapi_config=http.openapi_config(metadata.version(DISTRIBUTION))
    )
    schema = documented.openapi_schema.to_schema()
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
