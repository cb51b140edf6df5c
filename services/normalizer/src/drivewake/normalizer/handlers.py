"""Handles one batch: decode, decide, append in one transaction, acknowledge.

A batch holds what several partitions have ready. Within a partition order is kept: what
concerns a whole log (or ends a connection or a membership) is settled after all that stands
before it, and before all that stands behind it.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.claims import is_claim
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.normalizer import metrics
from drivewake.normalizer.burial import Burial, Corpse
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import (
    ConnectionItem,
    FactItem,
    Item,
    UndecidedError,
    decode_connection,
    decode_raw,
)
from drivewake.normalizer.sweeping import Sweeper, leaves_drive
from drivewake.runtime.bus import Acknowledger, Delivery
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import BlobCorruptError, BlobMissingError, BlobTooLargeError
from drivewake.runtime.payloads import Payloads

CONNECTIONS: int = -1
"""Stands for DRIVE_CONNECTION where a partition of DRIVE_RAW is asked for."""


class Taken(msgspec.Struct, frozen=True):
    """A message taken from a partition of DRIVE_RAW, or from DRIVE_CONNECTION."""

    partition: int
    delivery: Delivery


class BatchHandler:
    """Makes the effect of messages durable and acknowledges them.

    `handle` raises StoreError, BusError, BlobUnavailableError or ContendedError when it could
    not: whatever is not acknowledged then comes again, and is recognised. TooManyDeadError means
    stop.
    """

    def __init__(
        self,
        committer: Committer,
        sweeper: Sweeper,
        burial: Burial,
        acknowledger: Acknowledger,
        clock: Clock,
        payloads: Payloads | None = None,
    ) -> None:
        self._committer = committer
        self._sweeper = sweeper
        self._burial = burial
        self._acknowledger = acknowledger
        self._clock = clock
        self._payloads = payloads

    async def handle(self, batch: Sequence[Taken]) -> float:
        """Handle messages, in order within each partition; return how long it took, seconds."""
        began_s = time.perf_counter()
        queues = await self._decoded(batch)
        while queues:
            await self._settle_plain(queues)
            await self._settle_special(queues)
            queues = {partition: queue for partition, queue in queues.items() if queue}
        metrics.BATCH.observe(len(batch))
        return time.perf_counter() - began_s

    async def _decoded(self, batch: Sequence[Taken]) -> dict[int, deque[Item]]:
        """Decode; bury what cannot be. Returns the items of each partition in order."""
        queues: dict[int, deque[Item]] = {}
        verdicts: list[Corpse | None] = []
        lost: list[Delivery] = []
        now = self._clock.now()
        for taken in batch:
            queue = queues.setdefault(taken.partition, deque())
            corpse: Corpse | None = None
            try:
                if taken.partition == CONNECTIONS:
                    queue.append(decode_connection(taken.delivery))
                else:
                    body = None
                    if is_claim(taken.delivery.data):
                        body = await self._redeemed(taken.delivery)
                    queue.append(decode_raw(taken.delivery, taken.partition, now, body))
            except UndecidedError as error:
                corpse = _corpse(taken, error)
                queue.append(error.glimpse)
            except UndecidableError as error:
                corpse = _corpse(taken, error)
                lost.append(taken.delivery)
            verdicts.append(corpse)
        await self._burial.bury(verdicts)
        if lost:
            await self._acknowledger.acknowledge(lost)
        return queues

    async def _redeemed(self, delivery: Delivery) -> bytes:
        """Fetch what a claim stands for; UndecidableError if it is not there as it was kept."""
        if self._payloads is None:
            raise UndecidableError(
                "a claim of a large payload, and no place for blobs: set DRIVEWAKE_BLOBS_URL"
            )
        try:
            return await self._payloads.redeem(delivery.data)
        except (
            InvalidMessageError,
            BlobMissingError,
            BlobTooLargeError,
            BlobCorruptError,
        ) as error:
            raise UndecidableError(str(error)) from error

    async def _settle_plain(self, queues: dict[int, deque[Item]]) -> None:
        """Settle what stands before the next special item of each partition, in one append."""
        items: list[Item] = []
        for queue in queues.values():
            while queue and not _is_special(queue[0]):
                items.append(queue.popleft())
        await self._commit(items)
        await self._acknowledge(items)

    async def _settle_special(self, queues: dict[int, deque[Item]]) -> None:
        """Settle the special item that each partition has come to, with all that it ends."""
        items: list[Item] = []
        for queue in queues.values():
            if not queue:
                continue
            item = queue.popleft()
            if await self._swept(item, self._sweeper.before):
                items.append(item)
            else:
                await item.origin.delivery.ack()
        buried = {id(item) for item in await self._commit(items)}
        for item in items:
            if id(item) not in buried:
                await self._swept(item, self._sweeper.after)
        await self._acknowledge(items)

    async def _swept(self, item: Item, sweep: Callable[[Item], Awaitable[None]]) -> bool:
        """Sweep; bury the item and return False if that cannot be told."""
        try:
            await sweep(item)
        except UndecidableError as error:
            await self._bury(item, str(error))
            return False
        return True

    async def _commit(self, items: Sequence[Item]) -> list[Item]:
        """Commit items; return those that the store refuses for good, which are buried."""
        refused = await self._committer.commit(items)
        for each in refused:
            await self._bury(each.item, each.reason)
        metrics.MESSAGES.add(len(items) - len(refused), outcome="decided")
        return [each.item for each in refused]

    async def _acknowledge(self, items: Sequence[Item]) -> None:
        if items:
            await self._acknowledger.acknowledge([item.origin.delivery for item in items])

    async def _bury(self, item: Item, reason: str) -> None:
        stream = subjects.CONNECTION if isinstance(item, ConnectionItem) else subjects.RAW
        await self._burial.bury([Corpse(item.origin.delivery, stream.name, reason)])


def _corpse(taken: Taken, error: UndecidableError) -> Corpse:
    stream = subjects.CONNECTION if taken.partition == CONNECTIONS else subjects.RAW
    return Corpse(taken.delivery, stream.name, str(error))


def _is_special(item: Item) -> bool:
    if isinstance(item, ConnectionItem):
        return item.state.status == "revoked"
    return isinstance(item, FactItem) or leaves_drive(item)
