"""Erasing a tenant or a connection: step by step, each of which may be repeated after a crash.

1. The erasure is written down, in the database and in the bucket `erasures`.
2. Its data keys are deleted. From that commit on nothing of it is appended or opened.
3. Heads go; what others still see is told anew. `connection.erased` or `tenant.erased` is appended.
4. What waits for a service goes: raws, signals, schedules, requests, records.
5. When the relay has published the event of step 3 all that it opened before is in DRIVE_EVENT:
   the messages there are overwritten, and the dead letters too. Blobs are removed.
6. Read models notice the event and build themselves anew; their old files are removed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.events import ERASURES, ConnectionErased, TenantErased
from drivewake.contracts.ids import PARTITIONS
from drivewake.contracts.records import ChannelRecord, ErasureRecord, LogRecord
from drivewake.contracts.subjects import Bucket, Stream
from drivewake.eventstore.erasing import Erasure, ErasureDesk
from drivewake.eventstore.relay import resume
from drivewake.eventstore.sealing import FRESH_S
from drivewake.eventstore.store import Batch, EventStore, lane_of
from drivewake.normalizer.decisions import sighting_kind
from drivewake.normalizer.part_decisions import membership_kind
from drivewake.normalizer.restating import Restating
from drivewake.runtime.blobs import Blobs
from drivewake.runtime.bus import Bus, Eraser
from drivewake.runtime.errors import DrivewakeError

AT_ONCE: Final = 64
POLL_S: Final = 0.2

Tell = Callable[[str], None]
"""Hears in a few words what is being done and how far it is."""


class UnfinishedError(DrivewakeError):
    """The erasure is not finished; run the command again."""


class _Said(msgspec.Struct):
    """What tells whose a message of DRIVE_EVENT is."""

    type: str
    connection: str


_said = msgspec.json.Decoder(_Said)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where anything may be that is to be erased; `store` is the one that seals."""

    desk: ErasureDesk
    store: EventStore
    bus: Bus
    eraser: Eraser
    blobs: Blobs | None


class Erasing:
    """Carries out erasures. Raises UnfinishedError, and errors of the store and the bus.

    `forget_s`: how long readers may remember keys that were deleted.
    """

    def __init__(
        self,
        places: Places,
        restating: Restating,
        *,
        lanes: int,
        wait_s: float,
        tell: Tell,
        forget_s: float = FRESH_S,
    ) -> None:
        self._forget_s = forget_s
        self._desk = places.desk
        self._store = places.store
        self._bus = places.bus
        self._eraser = places.eraser
        self._blobs = places.blobs
        self._restating = restating
        self._lanes = lanes
        self._wait_s = wait_s
        self._tell = tell

    async def erase(self, id_: str, tenant: str, connection: str, asked_by: str) -> dict[str, int]:
        """Erase, or go on erasing; return counts of what was removed this time.

        Raises StoreBehindError, before anything is done, if the store was restored to older data.
        """
        # A store that was restored first takes back what it lost: ours would stand in its place.
        await resume(self._store, self._bus, lane_of(tenant, self._lanes))
        erasure = await self._desk.begin(id_, tenant, connection, asked_by)
        await self._remember(erasure)
        counts = {"data_keys": await self._desk.erase_keys(erasure)}
        self._tell(f"{counts['data_keys']} data keys deleted")
        # A read model that is begun behind the announcement takes the erasure for settled: by
        # then no reader may remember the keys.
        await asyncio.sleep(self._forget_s)
        counts["files_told_anew"] = await self._heads(erasure)
        announced = await self._announce(erasure)
        counts["waiting_messages"] = await self._purge_waiting(erasure)
        counts["records"] = await self._purge_records(erasure)
        await self._until(
            lambda: self._published(erasure, announced), "the relay has published up to here"
        )
        counts["events_downstream"] = await self._purge_events(erasure)
        counts["dead_letters"] = await self._purge_dead(erasure)
        counts["blobs"] = await self._purge_blobs(erasure)
        await self._projections(erasure)
        await self._desk.finish(erasure, counts)
        return counts

    async def _remember(self, erasure: Erasure) -> None:
        """Write it down where no restored database can forget it."""
        bucket = await self._bus.key_value(subjects.ERASURES)
        key = subjects.erasure_key(erasure.tenant, erasure.connection)
        if await bucket.get(key) is None:
            record = ErasureRecord(
                id=erasure.id,
                tenant=erasure.tenant,
                connection=erasure.connection,
                asked_at=erasure.asked_at,
            )
            await bucket.put(key, msgspec.json.encode(record), revision=0)

    # -- The store --

    async def _heads(self, erasure: Erasure) -> int:
        told = await self._restating.settle(erasure) if erasure.connection else 0
        kinds = [sighting_kind(erasure.connection, number) for number in range(PARTITIONS)]
        kinds.append(membership_kind(erasure.connection))
        removed = 0
        while chunk := await self._desk.drop_chunk(erasure, kinds):
            removed += chunk
            self._tell(f"{removed} heads removed")
        return told

    async def _announce(self, erasure: Erasure) -> int:
        """Append the event that tells readers to forget; return a position not before it."""
        event = self._restating.event(
            erasure,
            ConnectionErased(erasure=erasure.id)
            if erasure.connection
            else TenantErased(erasure=erasure.id),
            subject=erasure.connection or erasure.tenant,
            connection=erasure.connection,
        )
        lane = lane_of(erasure.tenant, self._lanes)
        await self._store.append(Batch(events=[event], lane=lane))
        await self._bus.ring(subjects.DOORBELL)
        return await self._store.last_position(lane)

    # -- The broker --

    async def _purge_waiting(self, erasure: Erasure) -> int:
        """Remove what services would still do."""
        whose = f"{erasure.tenant}.{erasure.connection or '*'}"
        purged = 0
        for stream, subject in (
            (subjects.RAW, f"drive.raw.v1.*.{whose}"),
            (subjects.SIGNAL, f"drive.signal.v1.{whose}.*"),
            (subjects.SIGNAL, f"drive.schedule.v1.{whose}.*"),
            (subjects.REQUEST, f"drive.request.v1.{whose}.*"),
        ):
            purged += await self._eraser.purge(stream, subject)
        return purged

    async def _purge_records(self, erasure: Erasure) -> int:
        logs = await self._forget(subjects.LOGS, LogRecord, erasure)
        return logs + await self._forget(subjects.CHANNELS, ChannelRecord, erasure)

    async def _forget(
        self, bucket: Bucket, kind: type[LogRecord | ChannelRecord], erasure: Erasure
    ) -> int:
        entries = (await self._bus.key_value(bucket)).watch()
        found: list[str] = []
        async with contextlib.aclosing(entries):  # type: ignore[type-var] # generators all
            async for entry in entries:
                if entry is None:
                    break
                if entry.value is None:
                    continue
                record = msgspec.json.decode(entry.value, type=kind)
                if record.tenant == erasure.tenant and erasure.connection in {
                    "",
                    record.connection,
                }:
                    found.append(entry.key)
        for key in found:
            await self._eraser.forget(bucket, key)
        return len(found)

    async def _published(self, erasure: Erasure, announced: int) -> bool:
        """Return whether the relay is past a position; others may have announced theirs since."""
        place = await resume(self._store, self._bus, lane_of(erasure.tenant, self._lanes))
        return place.position >= announced

    async def _purge_events(self, erasure: Erasure) -> int:
        def is_mine(_: str, data: bytes) -> bool:
            said = _said.decode(data)
            mine = erasure.connection in {"", said.connection}
            return mine and said.type not in ERASURES and said.type != "event.erased"

        return await self._overwrite(
            subjects.EVENT, f"drive.event.v1.{erasure.tenant}.>", is_mine, "events downstream"
        )

    async def _purge_dead(self, erasure: Erasure) -> int:
        def is_mine(_: str, data: bytes) -> bool:
            try:
                owner = subjects.owner_of(decode_dead(data).subject)
            except InvalidMessageError:
                return False
            if owner is None or owner[0] != erasure.tenant:
                return False
            return erasure.connection in {"", owner[1]}

        return await self._overwrite(subjects.DEAD, "drive.dead.v1.*", is_mine, "dead letters")

    async def _overwrite(
        self, stream: Stream, subject: str, is_mine: Callable[[str, bytes], bool], what: str
    ) -> int:
        """Overwrite the messages that are meant, some at a time."""
        removed = 0
        async with contextlib.aclosing(self._chosen(stream, subject, is_mine)) as chosen:
            async for sequences in chosen:
                await asyncio.gather(*(self._eraser.erase(stream, one) for one in sequences))
                removed += len(sequences)
                self._tell(f"{removed} {what} removed")
        return removed

    async def _chosen(
        self, stream: Stream, subject: str, is_mine: Callable[[str, bytes], bool]
    ) -> AsyncGenerator[list[int], None]:
        messages = self._bus.follow(stream.name, subject=subject)
        chosen: list[int] = []
        async with contextlib.aclosing(messages):  # type: ignore[type-var] # generators all
            async for message in messages:
                if message is None:
                    break
                if is_mine(message.subject, message.data):
                    chosen.append(message.sequence)
                if len(chosen) == AT_ONCE:
                    yield chosen
                    chosen = []
        if chosen:
            yield chosen

    # -- Blobs and read models --

    async def _purge_blobs(self, erasure: Erasure) -> int:
        """Remove the payloads that were too large for a message."""
        if self._blobs is None:
            return 0
        prefix = f"{erasure.tenant}/{erasure.connection}".removesuffix("/")
        names = [info.name async for info in self._blobs.list(prefix)]
        for start in range(0, len(names), AT_ONCE):
            chunk = names[start : start + AT_ONCE]
            await asyncio.gather(*(self._blobs.delete(name) for name in chunk))
            self._tell(f"{start + len(chunk)} blobs removed")
        return len(names)

    async def _projections(self, erasure: Erasure) -> None:
        """Wait until every read model has been built anew, past the announcing event."""
        lane = lane_of(erasure.tenant, self._lanes)
        target = await self._store.last_position(lane)
        for name in await self._desk.projections():

            async def built(name: str = name) -> bool:
                return await self._desk.projected(name, lane) >= target

            await self._until(built, f"the read model {name} is built anew")

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        self._tell(f"waiting until {what}")
        try:
            async with asyncio.timeout(self._wait_s):
                while not await holds():  # noqa: ASYNC110 - other processes set no event of ours
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise UnfinishedError(
                f"waited {self._wait_s:g} s until {what}: let a normalizer run that hosts it, "
                "and run the command again"
            ) from None
