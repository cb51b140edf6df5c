"""The composition root: the only file that names adapters."""

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from drivewake.contracts import subjects
from drivewake.eventstore.archive.files import open_files
from drivewake.eventstore.errors import StoreMismatchError, StoreUnavailableError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.relay import Relay, resume
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.sharing import Sharing
from drivewake.eventstore.store import EventStore
from drivewake.normalizer.adapters import BusRefetcher
from drivewake.normalizer.burial import SERVICE, Burial
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.consuming import Consumption
from drivewake.normalizer.erasures import unerased
from drivewake.normalizer.handlers import CONNECTIONS, BatchHandler
from drivewake.normalizer.limits import DeadBound
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.months import KeepMonths
from drivewake.normalizer.ports import Store
from drivewake.normalizer.settings import Settings
from drivewake.normalizer.sweeping import Sweeper
from drivewake.normalizer.trimming import KeepRoom
from drivewake.runtime import telemetry
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.bus import Bus
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.http import HttpServer, application
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import configure, get_logger
from drivewake.runtime.nats import connect
from drivewake.runtime.payloads import Payloads

STORE_PATIENCE_S: Final = 60.0
STORE_RETRY_S: Final = 0.5
RESTARTS: Final = "restarts"
UNSEALED: Final = (
    "events are stored unsealed and cannot be erased: set DRIVEWAKE_DATA_KEYRING to"
    " id:base64 of 32 random bytes to seal what comes from now on"
)

_log = get_logger(__name__)


async def run(settings: Settings) -> int:
    """Run the service until it is asked to stop; return the exit code."""
    configure(SERVICE, settings.log_level, settings.log_format)
    telemetry.configure(SERVICE, settings.otlp_endpoint)
    service = Service(SERVICE, shutdown_s=settings.shutdown_s)
    bus = await connect(settings, name=SERVICE)
    service.on_close("nats", bus.close)
    stack = AsyncExitStack()
    service.on_close("postgres", stack.aclose)
    postgres = await open_store(settings, stack)
    store = await sealed(postgres, settings)
    await see_to_restore(postgres, bus, settings.lanes)
    await refuse_what_was_erased(bus, postgres)
    assemble(service, bus, store, postgres, settings)
    host_readers(service, bus, store, settings)
    service.add("months", KeepMonths(postgres, SystemClock()).run)
    app = application(service, readiness={"nats": bus.check, "postgres": postgres.check})
    service.add("http", HttpServer(app, settings.http_host, settings.http_port).run)
    service.add("nats", bus.watch_connection)
    return await service.run()


async def open_store(settings: Settings, stack: AsyncExitStack) -> PostgresStore:
    """Connect to Postgres; waits a while for one that is starting.

    Raises StoreUnavailableError after that, StoreMismatchError at once.
    """
    dsn = settings.postgres_dsn.get_secret_value()
    archive = open_files(settings.archive_url) if settings.archive_url else None
    deadline_s = time.monotonic() + STORE_PATIENCE_S
    while True:
        try:
            return await stack.enter_async_context(PostgresStore.open(dsn, archive=archive))
        except StoreUnavailableError as error:
            if time.monotonic() > deadline_s:
                raise
            _log.warning(f"waiting for Postgres: {error}", action="store_wait")
            await asyncio.sleep(STORE_RETRY_S)


async def sealed(store: PostgresStore, settings: Settings) -> EventStore:
    """Return the store as it is used: sealing, if there is a keyring.

    Raises ConfigurationError without one if the store holds what only a keyring can open.
    """
    keyring = settings.keyring()
    if keyring is not None:
        return SealedStore(store, store.data_keys(keyring))
    if await store.is_sealed():
        raise ConfigurationError(
            "the store holds sealed events: set DRIVEWAKE_DATA_KEYRING or"
            " DRIVEWAKE_DATA_KEYRING_FILE to the keyring that it was filled with"
        )
    _log.warning(UNSEALED, action="unsealed")
    return store


async def refuse_what_was_erased(bus: Bus, store: PostgresStore) -> None:
    """Raise StoreMismatchError if the database was restored to before an erasure."""
    forgotten = await unerased(await bus.key_value(subjects.ERASURES), store)
    if forgotten:
        raise StoreMismatchError(
            f"the database is older than {len(forgotten)} erasures: run `drivewake erase --replay`"
        )


async def see_to_restore(store: PostgresStore, bus: Bus, lanes: int) -> None:
    """Refuse to append to a store that was restored to older data, until that was seen to.

    After it was, let all states of connections come again: the store may have lost some.
    Raises StoreBehindError, which says what to do.
    """
    for lane in range(lanes):
        await resume(store, bus, lane)
    await store.load_recovered()
    restarts = await store.restarts()
    if await store.checkpoint(RESTARTS, 0) < restarts:
        puller = await bus.puller(subjects.NORMALIZER_CONNECTIONS)
        await puller.reset(1)
        await puller.close()
        await store.save_checkpoint(RESTARTS, 0, restarts)
        _log.warning("states of connections come again after a restore", action="restored")


def assemble(
    service: Service, bus: Bus, store: Store, sharing: Sharing, settings: Settings
) -> None:
    """Put the normalizer together on a bus and a store; add its tasks to the service."""
    clock = SystemClock()
    graveyard = BusGraveyard(bus)
    refetcher = BusRefetcher(bus, graveyard, clock)
    mint = Mint(settings.secret())
    beat = partial(service.heartbeat, "consume")
    committer = Committer(store, mint, bus, refetcher, clock, lanes=settings.lanes)
    handler = BatchHandler(
        committer,
        Sweeper(store, committer, beat=beat),
        Burial(graveyard, DeadBound(settings.dead_rule()), clock),
        bus,
        clock,
        Payloads(ObjectBlobs.open(settings.blobs_url), clock) if settings.blobs_url else None,
    )
    consumers = {CONNECTIONS: subjects.NORMALIZER_CONNECTIONS} | dict(
        enumerate(subjects.NORMALIZER_RAW)
    )
    consumption = Consumption(
        sharing,
        lambda partition: bus.puller(consumers[partition]),
        consumers,
        handler,
        settings.bounds(),
        beat=beat,
    )
    service.add("consume", consumption.run)
    service.add("room", KeepRoom(bus, lambda: consumption.owned).run)


def host_readers(service: Service, bus: Bus, store: EventStore, settings: Settings) -> None:
    """Add the relay and the projections, if this process hosts them."""
    dsn = settings.postgres_dsn.get_secret_value()
    for lane in range(settings.lanes):
        if settings.relay:
            name = f"relay-{lane}"
            relay = Relay(store, bus, lane=lane, beat=partial(service.heartbeat, name))
            service.add(name, relay.run)
        if settings.projections:
            name = f"current-tree-{lane}"
            runner = ProjectionRunner(
                dsn,
                store,
                CurrentTree(),
                lane=lane,
                beat=partial(service.heartbeat, name),
            )

            async def follow(stop: Stop, runner: ProjectionRunner = runner) -> None:
                await runner.run(bus, stop)

            service.add(name, follow)
