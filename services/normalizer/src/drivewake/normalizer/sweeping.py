"""Ends the sightings that a complete snapshot did not list, or that somebody took with it.

A connection takes all its sightings and memberships with it, leaving a shared drive those of
its files.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeGuard

import msgspec

from drivewake.contracts.ids import PARTITIONS, partition_of
from drivewake.eventstore.store import Head
from drivewake.normalizer import metrics
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.decisions import CONNECTION, sighting_kind
from drivewake.normalizer.domain import shared_drives
from drivewake.normalizer.domain.connections import decode_connection_head
from drivewake.normalizer.domain.logs import SWEEPING
from drivewake.normalizer.domain.observation import Absent, Ended, Left, Observation, microseconds
from drivewake.normalizer.domain.parts import DrivePart
from drivewake.normalizer.domain.shared_drives import (
    DriveLost,
    DriveObservation,
    DriveUnlisted,
)
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import ConnectionItem, FactItem, FileItem, Item, Origin, PartItem
from drivewake.normalizer.part_decisions import membership_kind
from drivewake.normalizer.ports import Store

CHUNK_FILES: Final = 1000


def leaves_drive(item: Item) -> TypeGuard[PartItem]:
    """Say whether an item ends a membership of a shared drive."""
    if not isinstance(item, PartItem) or not isinstance(item.part, DrivePart):
        return False
    return isinstance(item.part.observation, DriveLost)


class Sweeper:
    """Settles files in chunks. What a chunk decided is durable before the next one begins.

    A sweep that is cut off is begun again by the redelivery of its message; what was ended
    stays so and is told once. It beats at each chunk: there may be millions of files. Raises what
    Committer and the store raise, and UndecidableError if the store refuses a file's end for good.
    """

    def __init__(
        self, store: Store, committer: Committer, *, beat: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._committer = committer
        self._beat = beat

    async def before(self, item: Item) -> None:
        """Do what must be durable before the item's own event is told."""
        if isinstance(item, FactItem) and item.fact.fact == SWEEPING:
            await self.settle_snapshot(item)

    async def after(self, item: Item) -> None:
        """Do what follows from the item's own event."""
        if isinstance(item, ConnectionItem):
            await self.end_connection(item)
        elif leaves_drive(item):
            await self.leave_drive(item)

    async def settle_snapshot(self, item: FactItem) -> None:
        """End what the snapshot's log showed before it began, and not since, in a partition."""
        origin, fact = item.origin, item.fact
        absent = Absent(
            connection=origin.connection,
            log=origin.log,
            started=microseconds(fact.started_at),
            snapshot=fact.snapshot,
        )
        await self._sweep(origin, origin.partition, absent)
        if fact.drives is not None:
            await self._settle_drives(origin, absent)

    async def end_connection(self, item: ConnectionItem) -> None:
        """End all sightings of a connection, if this revoked state is its latest.

        UndecidableError if the stored state of the connection cannot be read.
        """
        origin = item.origin
        heads = await self._store.heads(origin.tenant, CONNECTION, [origin.connection])
        stored = heads.get(origin.connection)
        if stored is None or _revision(stored) != item.state.revision:
            return
        ended = Ended(connection=origin.connection, at=microseconds(item.state.since))
        for partition in range(PARTITIONS):
            await self._sweep(origin, partition, ended)
        await self._end_memberships(origin, ended.at)

    async def leave_drive(self, item: PartItem) -> None:
        """End what a connection saw of a shared drive until it left."""
        part = item.part
        if isinstance(part, DrivePart) and isinstance(part.observation, DriveLost):
            await self._leave(item.origin, part.drive, part.observation.at)

    async def _leave(self, origin: Origin, drive: str, at: int) -> None:
        left = Left(connection=origin.connection, drive=drive, at=at)
        for partition in range(PARTITIONS):
            await self._sweep(origin, partition, left)

    async def _settle_drives(self, origin: Origin, absent: Absent) -> None:
        """End the memberships of a partition's drives that the snapshot did not list."""
        unlisted = DriveUnlisted(started=absent.started, snapshot=absent.snapshot)
        async for drives in self._drives(origin):
            mine = [
                each for each in drives if partition_of(origin.tenant, each) == origin.partition
            ]
            await self._settle(origin, [_observed(origin, drive, unlisted) for drive in mine])
            heads = await self._store.heads(origin.tenant, shared_drives.KIND, mine)
            for drive, head in heads.items():
                if _ended_at(head, origin.connection) == absent.started:
                    await self._leave(origin, drive, absent.started)

    async def _end_memberships(self, origin: Origin, at: int) -> None:
        lost = DriveLost(at=at, cause="connection_ended")
        async for drives in self._drives(origin):
            await self._settle(origin, [_observed(origin, drive, lost) for drive in drives])

    async def _drives(self, origin: Origin) -> AsyncIterator[Sequence[str]]:
        """Yield all shared drives that a connection was ever in, in chunks."""
        kind, after = membership_kind(origin.connection), ""
        while drives := await self._store.head_ids(origin.tenant, kind, after, CHUNK_FILES):
            yield drives
            after = drives[-1]

    async def _sweep(self, origin: Origin, partition: int, observation: Observation) -> None:
        kind, after = sighting_kind(origin.connection, partition), ""
        while files := await self._store.head_ids(origin.tenant, kind, after, CHUNK_FILES):
            await self._settle(origin, [FileItem(origin, file, observation) for file in files])
            after = files[-1]

    async def _settle(self, origin: Origin, items: list[Item]) -> None:
        refused = await self._committer.commit(items)
        if refused:
            raise UndecidableError(f"what ended cannot be told: {refused[0].reason}")
        metrics.SWEPT.add(len(items))
        self._beat()
        await origin.delivery.in_progress()


def _observed(origin: Origin, drive: str, observation: DriveObservation) -> Item:
    return PartItem(origin, DrivePart(drive, observation))


def _ended_at(stored: Head, connection: str) -> int | None:
    """Return when (µs) a connection's membership ended, None if it lasts or never was.

    The head was just decided, so it can be read.
    """
    member = shared_drives.decode_drive_head(stored.state).members.get(connection)
    return None if member is None or member.lasts else member.at


def _revision(stored: Head) -> int:
    try:
        return decode_connection_head(stored.state).revision
    except msgspec.MsgspecError as error:
        raise UndecidableError(f"the stored head is unreadable: {error}") from error
