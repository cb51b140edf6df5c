"""The composition root: the only file that names adapters."""

from drivewake.contracts import subjects
from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.capture import Capture
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.port import GoogleDrive
from drivewake.gdrive.transport import Transport
from drivewake.runtime import telemetry
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.http import HttpServer, application
from drivewake.runtime.jwks import KnownKeys
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import configure, get_logger
from drivewake.runtime.nats import NatsBus, connect
from drivewake.webhook.commit import GroupCommit
from drivewake.webhook.http import notification, path_of, robots
from drivewake.webhook.ingress import Ingress
from drivewake.webhook.keeper import Keeper
from drivewake.webhook.keys import KeyFetcher
from drivewake.webhook.opener import Opener
from drivewake.webhook.registry import Channels, Registry
from drivewake.webhook.senders import Sender
from drivewake.webhook.senders.calendar import CalendarSender
from drivewake.webhook.senders.drive import DriveSender
from drivewake.webhook.senders.workspace import ALGORITHM, PushTokens, WorkspaceSender
from drivewake.webhook.settings import WebhookSettings
from drivewake.webhook.source import networks

NAME = "webhook"


async def run(settings: WebhookSettings) -> int:
    """Run the service until it is asked to stop; return the exit code."""
    configure(NAME, settings.log_level, settings.log_format)
    telemetry.configure(NAME, settings.otlp_endpoint)
    service = Service(NAME, shutdown_s=settings.shutdown_s)
    bus = await connect(settings, name=NAME)
    service.on_close("nats", bus.close)
    debug = get_logger("drivewake.gdrive.capture").info if settings.google_debug else None
    google = DriveClient(
        settings.google_api_url,
        transport=Transport(capture=Capture(debug) if debug else None),
    )
    service.on_close("google", google.close)
    await compose(service, settings, bus, google, SystemClock())
    return await service.run()


async def compose(
    service: Service, settings: WebhookSettings, bus: NatsBus, google: GoogleDrive, clock: Clock
) -> HttpServer:
    """Bind to the bus and add all tasks to the service; return its HTTP server, listening.

    Raises BusError if what it needs is not provisioned, ConfigurationError if the port is taken.
    """
    keys = settings.keyring()
    policy = settings.policy()
    logs = await bus.key_value(subjects.LOGS)
    bucket = await bus.key_value(subjects.CHANNELS)
    channels = Channels(bucket, Registry())
    opener = Opener(
        channels,
        google,
        TokenSource(bus, NAME, clock=clock),
        keys,
        address=settings.push_address + path_of(DriveSender.kind),
        policy=policy,
        clock=clock,
    )
    keeper = Keeper(bus, logs, bucket, channels, opener, policy=policy, clock=clock)
    commit = GroupCommit(bus, clock=clock)
    ingress = Ingress(keys, channels, commit, keeper, clock=clock)
    senders: list[Sender] = [DriveSender(ingress), CalendarSender(ingress)]
    if settings.workspace_push_account:
        senders.append(_workspace(service, settings, ingress, keeper, clock))

    async def registry_loaded() -> None:
        if not keeper.loaded:
            raise BusUnavailableError("the channels are being read")

    app = application(
        service,
        [robots],
        readiness={"nats": bus.check, "registry": registry_loaded},
    )
    server = HttpServer(
        app,
        settings.http_host,
        settings.http_port,
        public=True,
        direct={
            f"{path_of(sender.kind)}/": notification(sender, networks(settings.trusted_proxies))
            for sender in senders
        },
        tls=settings.tls(),
    )
    drained = Stop()

    async def http(stop: Stop) -> None:
        try:
            await server.run(stop)
        finally:
            # Pushes in flight still wait for their signals: commit ends after the last.
            drained.request()

    service.add("http", http)
    service.add("commit", lambda _: commit.run(drained))
    service.add("connections", keeper.connections_loop)
    service.add("logs", keeper.logs_loop)
    service.add("channels", keeper.channels_loop)
    service.add("tend", lambda stop: keeper.tend_loop(stop, service.heartbeat))
    service.add("review", keeper.review_loop)
    service.add("notes", keeper.notes_loop)
    service.add("nats", bus.watch_connection)
    return server


def _workspace(
    service: Service, settings: WebhookSettings, ingress: Ingress, keeper: Keeper, clock: Clock
) -> WorkspaceSender:
    """Return the sender of Workspace Events; Google's keys are had by a task of the service."""
    known = KnownKeys(frozenset({ALGORITHM}), clock.monotonic_s)
    fetcher = KeyFetcher(settings.google_jwks_url, known)
    service.add("google-keys", fetcher.loop)
    return WorkspaceSender(
        ingress,
        PushTokens(known, settings.workspace_push_account, fetcher.want),
        address=settings.push_address + path_of(WorkspaceSender.kind),
        knows=keeper.knows,
        clock=clock,
    )
