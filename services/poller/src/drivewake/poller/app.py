"""The composition root: the only file that names adapters."""

import random

from drivewake.contracts import subjects
from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.capture import Capture
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.quota import Governor
from drivewake.gdrive.transport import Limits, Transport
from drivewake.poller import metrics
from drivewake.poller.answering import Answering
from drivewake.poller.asked import RequestHandler
from drivewake.poller.buckets import BusChannels, BusLogs
from drivewake.poller.connections import Connections
from drivewake.poller.control import Control
from drivewake.poller.handlers import SignalHandler
from drivewake.poller.memberships import BusMemberships
from drivewake.poller.outgoing import MAX_CLAIMED_BYTES, SOURCE, BusRaws, BusSignals
from drivewake.poller.polling import Polling
from drivewake.poller.ports import Outside
from drivewake.poller.pressure import Pressure
from drivewake.poller.reconciler import Reconciler
from drivewake.poller.replicas import Replicas
from drivewake.poller.settings import PollerSettings
from drivewake.poller.sources import ActivitySource, ChangesSource, Enrichment, Memory
from drivewake.poller.status import Status
from drivewake.runtime import telemetry
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.bus import Bus
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.http import HttpServer, application
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import configure, get_logger
from drivewake.runtime.nats import connect
from drivewake.runtime.payloads import ClaimingPublisher, Payloads

NAME = "poller"
STATUS_CONCURRENCY = 4
CONTROL_CONCURRENCY = 4


async def run(settings: PollerSettings) -> int:
    """Run the service until it is asked to stop; return the exit code."""
    configure(NAME, settings.log_level, settings.log_format)
    telemetry.configure(NAME, settings.otlp_endpoint)
    service = Service(NAME, shutdown_s=settings.shutdown_s)
    bus = await connect(settings, name=NAME)
    service.on_close("nats", bus.close)
    drive = google(settings)
    service.on_close("google", drive.close)
    logs = await assemble(service, bus, drive, settings)

    async def records_loaded() -> None:
        if not logs.loaded.is_set():
            raise BusUnavailableError("the log records are being read")

    app = application(service, readiness={"nats": bus.check, "records": records_loaded})
    server = HttpServer(app, settings.http_host, settings.http_port)
    service.add("http", server.run)
    service.add("nats", bus.watch_connection)
    return await service.run()


def google(settings: PollerSettings) -> DriveClient:
    """Return the client that asks Google."""
    debug = get_logger("drivewake.gdrive.capture").info if settings.google_debug else None
    return DriveClient(
        settings.google_api_url,
        activity_endpoint=settings.google_activity_url,
        transport=Transport(
            Limits(connections=settings.concurrency),
            capture=Capture(debug) if debug else None,
        ),
        governor=Governor(settings.budget()),
    )


def raws(bus: Bus, settings: PollerSettings, clock: Clock) -> BusRaws:
    """Return the way into DRIVE_RAW: past a place for blobs, if there is one."""
    graveyard = BusGraveyard(bus)
    if not settings.blobs_url:
        return BusRaws(bus, graveyard)
    payloads = Payloads(ObjectBlobs.open(settings.blobs_url), clock, source=SOURCE)
    return BusRaws(ClaimingPublisher(bus, payloads), graveyard, MAX_CLAIMED_BYTES)


async def assemble(
    service: Service, bus: Bus, drive: DriveClient, settings: PollerSettings
) -> BusLogs:
    """Put the poller together on a bus and add its tasks to the service."""
    clock = SystemClock()
    me, rules, rhythm = settings.owner(), settings.rules(), settings.rhythm()
    logs = BusLogs(await bus.key_value(subjects.LOGS))
    channels = BusChannels(await bus.key_value(subjects.CHANNELS))
    graveyard = BusGraveyard(bus)
    outside = Outside(
        logs=logs,
        raws=raws(bus, settings, clock),
        signals=BusSignals(bus, bus, clock),
        channels=channels,
        clock=clock,
    )
    tokens = TokenSource(bus, NAME, clock=clock)
    connections = Connections(bus, outside, tokens, activity=settings.activity)
    pressure = Pressure(settings.budget())
    enrichment = Enrichment(drive, tokens, settings.enrich, Memory())
    changes = ChangesSource(drive, tokens, clock, rules, enrichment, page_size=settings.page_size)
    activity = ActivitySource(drive, tokens, clock, settings.windows())
    polling = Polling(
        outside,
        [changes, activity],
        BusMemberships(outside, connections.follow_activity),
        me=me,
        rules=rules,
        rhythm=rhythm,
        pressure=pressure,
        draw=random.SystemRandom().random,
    )
    puller = await bus.puller(subjects.POLLER_SIGNALS)
    handler = SignalHandler(
        puller,
        polling,
        connections,
        graveyard,
        clock,
        settings.bounds(),
        beat=lambda: service.heartbeat("signals"),
    )
    requests = RequestHandler(
        await bus.puller(subjects.POLLER_REQUESTS),
        Answering(outside, drive, tokens, activity, settings.enrich),
        connections,
        bus,
        graveyard,
        clock,
        concurrency=settings.request_concurrency,
    )
    reconciler = Reconciler(
        outside,
        connections,
        settings.pace(),
        me=me,
        pressure=pressure,
        under_way=handler.under_way,
    )

    def share(replicas: int) -> None:
        drive.governor.share_among(replicas)
        for what in metrics.QUOTA_WAITS:
            metrics.QUOTA_WAITING.set(drive.governor.waiting[what], what=what)

    replicas = Replicas(await bus.key_value(subjects.POLLERS), me, clock, share)
    status = Status(outside, rhythm, drive.governor, pressure, me=me)
    control = Control(outside, handler.cut_off)

    async def follow_connections(stop: Stop) -> None:
        await logs.wait_loaded(stop)
        await connections.run(stop)

    await bus.serve(
        "poller-status", subjects.STATUS_RPC, status.answer, concurrency=STATUS_CONCURRENCY
    )
    await bus.serve(
        "poller-control", subjects.CONTROL_RPC, control.answer, concurrency=CONTROL_CONCURRENCY
    )
    service.add("records", logs.run)
    service.add("channels", channels.run)
    service.add("connections", follow_connections)
    service.add("signals", handler.run)
    service.add("requests", requests.run)
    service.add("keep", handler.keep)
    service.add("reconcile", reconciler.run)
    service.add("replicas", replicas.run)
    return logs
