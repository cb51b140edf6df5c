"""`drivewake erase`: takes a tenant, or one connection, out of everything we keep."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import rich_click as click

from drivewake.cli.session import EXIT_MISUSED, Failure, connected, run
from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS
from drivewake.contracts.ids import InvalidIdError, checked, new_id
from drivewake.eventstore.erasing import ErasureDesk
from drivewake.eventstore.errors import StoreError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.normalizer.erasing import Erasing, Places, UnfinishedError
from drivewake.normalizer.erasures import unfinished
from drivewake.normalizer.errors import ContendedError
from drivewake.normalizer.restating import Restating
from drivewake.normalizer.settings import Settings
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.errors import BlobError, ConfigurationError
from drivewake.runtime.nats import NatsBus
from drivewake.runtime.nats_erase import NatsEraser
from drivewake.runtime.settings import load

REPLAYED_BY: Final = "replay after a restore"


class EraseSettings(Settings):
    """As the normalizer's, with users of its own at the broker and the database."""

    nats_user: str = "eraser"
    log_level: str = "error"  # type: ignore[assignment] # the command speaks for itself


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    tenant: str
    connection: str
    by: str
    dry_run: bool
    yes: bool
    force: bool
    as_json: bool
    wait_s: float


@click.command()
@click.option("--tenant", default="", help="The tenant to erase, or whose connection to erase.")
@click.option("--connection", default="", help="Erase this connection alone.")
@click.option("--dry-run", is_flag=True, help="Say what there is to erase, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also what is not revoked: its news are ignored then.")
@click.option("--by", default="operator", help="Who asked: a ticket number rather than a name.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for relay and read models.",
)
@click.option("--replay", is_flag=True, help="Erase again what a restored database has back.")
@click.option("--json", "as_json", is_flag=True, help="What was done, as JSON.")
def erase(replay: bool, **options: object) -> None:
    """Erase a tenant or a connection: its data becomes unreadable and is removed. No way back.

    Data keys are deleted, so that events cannot be read any more, neither here nor in backups
    made since they were sealed; heads, read models, what waits in streams, DRIVE_EVENT and
    DRIVE_DEAD are purged. What other connections of the tenant still see is told anew. Events
    keep their place and become `event.erased`.

    Revoke the connection (or all of the tenant's) before. A run that was cut off is finished by
    the next. Needs the NATS user `eraser`, a database user with the roles `drivewake_eraser`,
    `drivewake_writer` and `drivewake_reader`, and the normalizer's DRIVEWAKE_EVENT_KEY and
    DRIVEWAKE_DATA_KEYRING.
    """
    wanted = msgspec.convert(options, Wanted)
    if replay == bool(wanted.tenant or wanted.connection):
        raise Failure("say --tenant, --connection or --replay", EXIT_MISUSED)
    try:
        for token in filter(None, (wanted.tenant, wanted.connection)):
            checked(token)
        told = load(EraseSettings)
    except (InvalidIdError, ConfigurationError) as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    if told.keyring() is None:
        raise Failure("DRIVEWAKE_DATA_KEYRING: is required", EXIT_MISUSED)

    async def work() -> None:
        try:
            async with _opened(told) as (bus, store, desk):
                await (_replay if replay else _erase)(wanted, told, bus, store, desk)
        except (StoreError, BlobError, UnfinishedError, ContendedError) as error:
            raise Failure(f"not finished: {error}; run the command again") from None

    run(work)


@contextlib.asynccontextmanager
async def _opened(
    told: EraseSettings,
) -> AsyncIterator[tuple[NatsBus, PostgresStore, ErasureDesk]]:
    dsn = told.postgres_dsn.get_secret_value()
    async with (
        connected(told) as bus,
        PostgresStore.open(dsn) as store,
        ErasureDesk.open(dsn) as desk,
    ):
        yield bus, store, desk


async def _erase(
    wanted: Wanted, told: EraseSettings, bus: NatsBus, store: PostgresStore, desk: ErasureDesk
) -> None:
    """Look, ask, and erase."""
    found = await _connections(bus, wanted.tenant or "*", wanted.connection or "*")
    tenant = wanted.tenant or (found[0][0] if found else "")
    if not tenant:
        raise Failure("DRIVE_CONNECTION has no such connection: say --tenant too", EXIT_MISUSED)
    keys, heads = await desk.plan(tenant, wanted.connection)
    what = (
        f"connection {wanted.connection} of {tenant}" if wanted.connection else f"tenant {tenant}"
    )
    click.echo(
        f"{what}: {len(found)} connections, {keys} data keys; the tenant has {heads} heads",
        err=True,
    )
    alive = [f"{name} is {status}" for _, name, status in found if status != "revoked"]
    if alive and not wanted.force:
        raise Failure(f"{', '.join(alive)}: revoke before erasing, or say --force")
    if wanted.dry_run:
        return
    if not wanted.yes:
        click.confirm(f"Erase {what} for good?", abort=True, err=True)
    await _carry_out(wanted, told, bus, store, desk, tenant, wanted.connection, wanted.by)


async def _replay(
    wanted: Wanted, told: EraseSettings, bus: NatsBus, store: PostgresStore, desk: ErasureDesk
) -> None:
    """Carry out whatever the broker remembers as erased and the database has not finished."""
    records = await unfinished(await bus.key_value(subjects.ERASURES), store)
    click.echo(f"{len(records)} erasures are to be made again", err=True)
    if wanted.dry_run:
        return
    for record in records:
        await _carry_out(
            wanted, told, bus, store, desk, record.tenant, record.connection, REPLAYED_BY
        )


async def _carry_out(
    wanted: Wanted,
    told: EraseSettings,
    bus: NatsBus,
    store: PostgresStore,
    desk: ErasureDesk,
    tenant: str,
    connection: str,
    by: str,
) -> None:
    keyring = told.keyring()
    assert keyring is not None  # noqa: S101 - asked for at the start
    sealed = SealedStore(store, store.data_keys(keyring))
    erasing = Erasing(
        Places(
            desk=desk,
            store=sealed,
            bus=bus,
            eraser=NatsEraser(bus),
            blobs=ObjectBlobs.open(told.blobs_url) if told.blobs_url else None,
        ),
        Restating(sealed, desk, told.secret(), lanes=told.lanes),
        lanes=told.lanes,
        wait_s=wanted.wait_s,
        tell=lambda text: click.echo(f"  {text}", err=True),
    )
    counts = await erasing.erase(new_id(), tenant, connection, by)
    if wanted.as_json:
        done = {"tenant": tenant, "connection": connection, "erased": counts}
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(
            "; ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
        )


async def _connections(
    bus: NatsBus, tenant: str, connection: str
) -> Sequence[tuple[str, str, str]]:
    """Return tenant, id and status of the connections that are meant."""
    found: list[tuple[str, str, str]] = []
    subject = f"drive.connection.v1.{tenant}.{connection}"
    messages = bus.follow(subjects.CONNECTION.name, subject=subject, latest=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            if message is None:
                break
            envelope = CONNECTIONS.decode(message.data)
            found.append((envelope.tenant, envelope.connection, envelope.data.status))
    return found
