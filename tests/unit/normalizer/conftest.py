"""A normalizer in memory: raws go in by hand, events come out."""

import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection, Status
from drivewake.contracts.dead import DeadLetter, decode_dead
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.events import Event
from drivewake.contracts.ids import PARTITIONS, partition_of
from drivewake.contracts.raw import RAW_TYPE, RAWS, LogFact, Raw, Source
from drivewake.eventstore.codec import to_event
from drivewake.eventstore.memory import MemoryStore
from drivewake.normalizer.adapters import BusRefetcher
from drivewake.normalizer.burial import Burial
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.handlers import CONNECTIONS as CONNECTION_FEED
from drivewake.normalizer.handlers import BatchHandler, Taken
from drivewake.normalizer.limits import DeadBound, DeadRule
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.ports import Store
from drivewake.normalizer.sweeping import Sweeper
from drivewake.runtime.bus import Message
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.memory import MemoryBus

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECRET = b"0123456789abcdef"


class Harness:
    """A bus, a store and a handler in memory, and builders of what comes in.

    Time is counted in seconds since START. `drain` handles all that is there, in batches of
    `batch` messages, and raises what handling raises.
    """

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.store = MemoryStore()
        self.refetcher = BusRefetcher(self.bus, BusGraveyard(self.bus), SystemClock())
        self.rule = DeadRule(window=1000, ratio=1.0, in_a_row=1000)
        self._numbers = itertools.count(1)
        self._pullers: dict[int, Any] = {}
        self.handler = self.handler_on(self.store)

    def handler_on(self, store: Store, clock: Clock | None = None) -> BatchHandler:
        """Return a handler that writes to a store."""
        clock = clock or SystemClock()
        committer = Committer(store, Mint(SECRET), self.bus, self.refetcher, clock)
        burial = Burial(BusGraveyard(self.bus), DeadBound(self.rule), clock)
        return BatchHandler(committer, Sweeper(store, committer), burial, self.bus, clock)

    async def raw(
        self,
        at: float,
        item: str,
        body: object,
        *,
        source: Source = "changes",
        connection: str = "c1",
        log: str = "",
        snapshot: str = "",
        tenant: str = "t1",
        **more: Any,  # noqa: ANN401 - other fields of a Raw
    ) -> None:
        """Publish a raw into its partition."""
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        raw = Raw(
            source=source,
            log=log or f"log-{connection}",
            item=item,
            observed_at=START + dt.timedelta(seconds=at),
            body=msgspec.Raw(encoded),
            cursor=f"page-{at}",
            snapshot=snapshot,
            **more,
        )
        partitions = (
            range(PARTITIONS) if source == "log" else [partition_of(tenant, item, PARTITIONS)]
        )
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
            await self.publish(subjects.raw(partition, tenant, connection), RAWS.encode(envelope))

    async def publish(self, subject: str, data: bytes) -> None:
        """Publish bytes."""
        await self.bus.publish(Message(subject=subject, data=data))

    async def change(
        self,
        at: float,
        file: dict[str, Any] | None,
        item: str = "f1",
        **where: Any,  # noqa: ANN401 - whatever `raw` takes
    ) -> None:
        """Publish a change of a file; None for one that was removed."""
        body: dict[str, Any] = {"changeType": "file", "fileId": item, "removed": file is None}
        if file is not None:
            body |= {"file": resource(item, **file)}
        await self.raw(at, item, body, **where)

    async def listed(self, at: float, item: str, snapshot: str, **fields: object) -> None:
        """Publish a file as a snapshot of connection c1 lists it."""
        await self.raw(at, item, resource(item, **fields), source="snapshot", snapshot=snapshot)

    async def fact(self, at: float, fact: LogFact, connection: str = "c1") -> None:
        """Publish a fact of the connection's log into every partition."""
        log = f"log-{connection}"
        await self.raw(at, log, fact, source="log", connection=connection)

    async def connection(
        self, at: float, status: Status, revision: int, connection: str = "c1", reason: str = ""
    ) -> None:
        """Publish a connection's state."""
        since = START + dt.timedelta(seconds=at)
        state = Connection(
            status=status,
            principal_kind="user",
            scopes=("drive.readonly",),
            revision=revision,
            since=since,
            reason=reason,
        )
        envelope = Envelope(
            id=f"connection-{revision}",
            source="/test",
            type=CONNECTION_TYPE,
            time=since,
            tenant="t1",
            connection=connection,
            data=state,
        )
        await self.publish(subjects.connection("t1", connection), CONNECTIONS.encode(envelope))

    async def take(self, most: int = 10_000) -> list[Taken]:
        """Return what all consumers have ready, up to `most` messages."""
        consumers = {CONNECTION_FEED: subjects.NORMALIZER_CONNECTIONS} | dict(
            enumerate(subjects.NORMALIZER_RAW)
        )
        batch: list[Taken] = []
        for partition, consumer in consumers.items():
            if partition not in self._pullers:
                self._pullers[partition] = await self.bus.puller(consumer)
            if len(batch) < most:
                got = await self._pullers[partition].fetch(most - len(batch), 0)
                batch += [Taken(partition, delivery) for delivery in got]
        return batch

    async def give_back(self) -> None:
        """Let all that is not acknowledged come again."""
        for puller in self._pullers.values():
            await puller.reset()

    async def drain(self, batch: int = 10_000, handler: BatchHandler | None = None) -> None:
        """Handle all that is there."""
        while taken := await self.take(batch):
            await (handler or self.handler).handle(taken)

    async def events(self) -> list[Event]:
        """Return all events of the store, in order."""
        return [to_event(stored) for stored in await self.store.read(0, 0, 10_000)]

    async def types(self) -> list[str]:
        """Return the types of all events, in order."""
        return [event.type for event in await self.events()]

    async def dead(self) -> list[DeadLetter]:
        """Return all dead letters."""
        found: list[DeadLetter] = []
        async with contextlib.aclosing(self.bus.follow(subjects.DEAD.name)) as messages:
            async for message in messages:
                if message is None:
                    break
                found.append(decode_dead(message.data))
        return found

    async def unsettled(self) -> int:
        """Return how many raws were not acknowledged; they come again."""
        await self.give_back()
        left = await self.take()
        await self.give_back()
        return len([taken for taken in left if taken.partition != CONNECTION_FEED])


def resource(item: str, **fields: object) -> dict[str, Any]:
    """Return a File resource of drive.v3."""
    return {
        "id": item,
        "version": "1",
        "name": "a.txt",
        "mimeType": "text/plain",
        "parents": ["root"],
        "md5Checksum": "m1",
    } | fields


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    """A normalizer in memory."""
    one = Harness()
    yield one
    await one.bus.close()


@pytest.fixture
def new_harness() -> type[Harness]:
    """Make as many normalizers in memory as a property wants to compare."""
    return Harness
