"""Ends the sightings that a complete snapshot did not list, or that a connection took with it."""

from typing import Final

import msgspec

from drivewake.contracts.ids import PARTITIONS
from drivewake.eventstore.store import Head
from drivewake.normalizer import metrics
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.decisions import CONNECTION, sighting_kind
from drivewake.normalizer.domain.connections import decode_connection_head
from drivewake.normalizer.domain.observation import Absent, Ended, Observation, microseconds
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import ConnectionItem, FactItem, FileItem, Origin
from drivewake.normalizer.ports import Store

CHUNK_FILES: Final = 1000


class Sweeper:
    """Settles files in chunks. What a chunk decided is durable before the next one begins.

    A sweep that is cut off is begun again by the redelivery of its message; what was ended
    stays so and is told once. Raises what Committer and the store raise, and UndecidableError
    if the store refuses a file's end for good.
    """

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer

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

    async def _sweep(self, origin: Origin, partition: int, observation: Observation) -> None:
        kind, after = sighting_kind(origin.connection, partition), ""
        while files := await self._store.head_ids(origin.tenant, kind, after, CHUNK_FILES):
            items = [FileItem(origin, file, observation) for file in files]
            refused = await self._committer.commit(items)
            if refused:
                raise UndecidableError(f"a sighting cannot be ended: {refused[0].reason}")
            metrics.SWEPT.add(len(files))
            after = files[-1]
            await origin.delivery.in_progress()


def _revision(stored: Head) -> int:
    try:
        return decode_connection_head(stored.state).revision
    except msgspec.MsgspecError as error:
        raise UndecidableError(f"the stored head is unreadable: {error}") from error
