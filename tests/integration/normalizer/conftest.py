"""A normalizer in its world: real nats-server, real Postgres, raws published by hand.

`World` holds what a test touches; its normalizer is a process of its own, as in life.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.dead import DeadLetter, decode_dead
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.events import Event, decode_event
from drivewake.contracts.ids import PARTITIONS, partition_of
from drivewake.contracts.raw import RAW_TYPE, RAWS, LogFact, Raw
from drivewake.lab.servers import ManagedProcess, PostgresServer, free_port
from drivewake.lab.suites.eventstore import TEMPLATE, migrated
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusUnavailableError, NotFoundError
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TENANT = "acme"
CONNECTION = "c1"
LOG = "l1"
PATIENCE_S = 60.0
ROLES = "drivewake_writer, drivewake_reader, drivewake_projector"
HERE = Path(__file__).parent


class World:
    """Everything around normalizers. Time is counted in seconds since START."""

    def __init__(self, bus: NatsBus, nats_url: str, dsn: str, directory: Path) -> None:
        self.bus = bus
        self.nats_url = nats_url
        self.dsn = dsn
        self.directory = directory
        self.key = secrets.token_hex(16)
        self.keyring = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._numbers = itertools.count(1)
        self._processes: list[ManagedProcess] = []

    # -- Processes --

    def normalizer(self, fault: str = "", *, victim: int = 0, **settings: str) -> ManagedProcess:
        """Return a normalizer, not started; with `fault` one that kills itself, or a victim."""
        port = free_port()
        number = len(self._processes)
        env = {
            "DRIVEWAKE_NATS_URL": self.nats_url,
            "DRIVEWAKE_NATS_PREFIX": self.bus.link.prefix,
            "DRIVEWAKE_NATS_USER": "normalizer",
            "DRIVEWAKE_POSTGRES_DSN": self.dsn,
            "DRIVEWAKE_EVENT_KEY": self.key,
            "DRIVEWAKE_DATA_KEYRING": self.keyring,
            "DRIVEWAKE_HTTP_PORT": str(port),
            "DRIVEWAKE_LOG_FORMAT": "json",
            **({"FAULT": fault} if fault else {}),
            **({"VICTIM": str(victim)} if victim else {}),
            **{f"DRIVEWAKE_{name.upper()}": value for name, value in settings.items()},
        }
        process = ManagedProcess(
            f"normalizer-{number}",
            "normalizer_with_fault" if fault else "drivewake.normalizer",
            [] if fault else ["run"],
            log_path=self.directory / f"normalizer-{number}.log",
            env=env,
            ready=f"http://127.0.0.1:{port}/readyz",
            cwd=HERE,
        )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """Kill whatever still runs."""
        for process in self._processes:
            process.kill()

    # -- What comes in --

    async def raw(self, raw: Raw, connection: str = CONNECTION, tenant: str = TENANT) -> None:
        """Publish a raw into its partition; a fact of a log into all."""
        if connection != CONNECTION:
            raw = msgspec.structs.replace(raw, log=f"l-{connection}")
        partitions = range(PARTITIONS) if raw.source == "log" else [partition_of(tenant, raw.item)]
        messages = []
        for partition in partitions:
            envelope = Envelope(
                id=f"raw-{next(self._numbers)}",
                source="/test",
                type=RAW_TYPE,
                time=raw.observed_at,
                tenant=tenant,
                connection=connection,
                data=raw,
            )
            subject = subjects.raw(partition, tenant, connection)
            messages.append(Message(subject=subject, data=RAWS.encode(envelope)))
        await self._publish(messages)

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Publish as a poller does: again, until the broker says that it has them."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.bus.publish_batch(messages)
                except (BusUnavailableError, NotFoundError):
                    await asyncio.sleep(0.1)
                else:
                    return

    async def change(
        self,
        at: float,
        item: str,
        version: int,
        name: str = "n",
        *,
        gone: bool = False,
        connection: str = CONNECTION,
        tenant: str = TENANT,
    ) -> None:
        """Publish a change of a file."""
        body: dict[str, Any] = {"fileId": item, "removed": gone}
        if not gone:
            body["file"] = _resource(item, version, name)
        await self.raw(_raw("changes", at, item, body), connection, tenant)

    async def listed(self, at: float, item: str, version: int, snapshot: str) -> None:
        """Publish a file as a snapshot lists it."""
        await self.raw(_raw("snapshot", at, item, _resource(item, version, "n"), snapshot))

    async def fact(self, at: float, fact: LogFact) -> None:
        """Publish a fact of the log."""
        await self.raw(_raw("log", at, LOG, fact, fact.snapshot))

    async def history(
        self, files: int, versions: int, name: str = "f"
    ) -> Counter[tuple[str, str, int]]:
        """Publish the lives of some files, and return what must be told of them.

        Every file is made, renamed at each version, and every third one is removed at last.
        """
        expected: Counter[tuple[str, str, int]] = Counter()
        for version, number in itertools.product(range(1, versions + 1), range(files)):
            item = f"{name}{number}"
            await self.change(version, item, version, f"n{version}")
            expected["file.discovered" if version == 1 else "file.renamed", item, version] += 1
        for number in range(0, files, 3):
            item = f"{name}{number}"
            await self.change(versions + 1, item, 0, gone=True)
            expected["file.removed", item, versions] += 1
        return expected

    # -- What comes out --

    async def downstream(self) -> list[Event]:
        """Return all events of DRIVE_EVENT, in order."""
        found: list[Event] = []
        async with contextlib.aclosing(self.bus.follow(subjects.EVENT.name)) as messages:
            async for message in messages:
                if message is None:
                    break
                found.append(decode_event(message.data))
        return found

    async def dead(self) -> list[DeadLetter]:
        """Return all dead letters."""
        found: list[DeadLetter] = []
        async with contextlib.aclosing(self.bus.follow(subjects.DEAD.name)) as messages:
            async for message in messages:
                if message is None:
                    break
                found.append(decode_dead(message.data))
        return found

    async def rows(self, query: str) -> list[asyncpg.Record]:
        """Ask the database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def end_sessions(self) -> None:
        """Cut every session of the normalizers with the database."""
        await self.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and pid <> pg_backend_pid()"
        )

    async def unsettled(self) -> int:
        """Return how many raws are not settled in their partitions."""
        stands = [await self.bus.progress(consumer) for consumer in subjects.NORMALIZER_RAW]
        return sum(stand.waiting + stand.unsettled for stand in stands)

    async def kept(self) -> int:
        """Return how many raws are in their stream, settled or not."""
        info = await self.bus.link.api(f"STREAM.INFO.{self.bus.link.name(subjects.RAW.name)}")
        return int(info["state"]["messages"])

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something holds; a minute is for ever. Without an answer it does not yet."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(BusUnavailableError, NotFoundError):
                    if await holds():
                        return
                await asyncio.sleep(0.05)

    async def drained(self) -> list[Event]:
        """Wait until all raws are settled and all events are downstream; return these."""

        async def settled() -> bool:
            return await self.unsettled() == 0

        async def relayed() -> bool:
            (row,) = await self.rows("select head from eventstore.lane where id = 0")
            last = await self.bus.last(subjects.EVENT.name)
            position = decode_event(last.data).position if last else 0
            return bool(row["head"] == position)

        await self.until(settled)
        await self.until(relayed)
        return await self.downstream()


def _resource(item: str, version: int, name: str) -> dict[str, Any]:
    return {
        "id": item,
        "version": str(version),
        "name": name,
        "mimeType": "text/plain",
        "parents": ["root"],
        "md5Checksum": "m1",
    }


def _raw(source: Any, at: float, item: str, body: object, snapshot: str = "") -> Raw:  # noqa: ANN401
    return Raw(
        source=source,
        log=LOG,
        item=item,
        observed_at=START + dt.timedelta(seconds=at),
        body=msgspec.Raw(msgspec.json.encode(body)),
        cursor=f"page-{at}",
        snapshot=snapshot,
    )


def facts_told(events: Sequence[Event]) -> Counter[tuple[str, str, int]]:
    """Return the state facts among events: type, file, version."""
    told: Counter[tuple[str, str, int]] = Counter()
    for event in events:
        if event.type.startswith("file."):
            told[event.type, event.subject, event.data.file.version] += 1  # type: ignore[union-attr]
    return told


@pytest.fixture(scope="session")
def database_template(template_database: Callable[..., str]) -> str:
    """The template with the store's schema, made once a worker."""
    return template_database(TEMPLATE, migrated)


@pytest.fixture
def least_user(postgres_server: PostgresServer) -> Callable[[str], str]:
    """Return the URL of a database for a user of its own, with the roles of a normalizer."""

    def make(dsn: str) -> str:
        name, password = f"n_{secrets.token_hex(4)}", secrets.token_hex(8)
        postgres_server.create_role(name, password)
        database = dsn.rpartition("/")[2]
        # Rights on a database are not copied from its template.
        postgres_server.execute(
            f"grant {ROLES} to {name}", f"grant create on database {database} to {name}"
        )
        return postgres_server.dsn(database, name, password)

    return make


@pytest.fixture
async def world(
    nats_url: str, prefix: str, database: str, least_user: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[World]:
    """A provisioned broker and a migrated database; no normalizer yet."""
    bus = await connect(name="test", url=nats_url, prefix=prefix)
    await provision(bus, scale=0.01)
    one = World(bus, nats_url, least_user(database), tmp_path)
    yield one
    one.stop()
    await bus.close()


@pytest.fixture
def told() -> Callable[[Sequence[Event]], Counter[tuple[str, str, int]]]:
    """Count the state facts among events: type, file, version."""
    return facts_told


@pytest.fixture
def make_world() -> type[World]:
    """Make a world of other servers than the worker's."""
    return World
