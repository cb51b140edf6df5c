"""Reads heads, decides and appends, until the store has the batch or refuses an item for good."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.eventstore.errors import ErasedError, HeadMovedError, PoisonError
from drivewake.eventstore.store import Appended, Head, lane_of
from drivewake.normalizer import metrics
from drivewake.normalizer.decisions import CONNECTION, Decisions, connections_of, heads_of
from drivewake.normalizer.errors import ContendedError, UndecidableError
from drivewake.normalizer.items import ConnectionItem, Item
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.part_decisions import HeadKey
from drivewake.normalizer.ports import Refetcher, Store
from drivewake.runtime.bus import Doorbell
from drivewake.runtime.clock import Clock
from drivewake.runtime.logging import get_logger

MAX_ATTEMPTS: Final = 8
"""How often a batch is decided anew because a head moved."""

_log = get_logger(__name__)


class Refused(msgspec.Struct, frozen=True):
    """An item that can never be appended, and why."""

    item: Item
    reason: str


class Committer:
    """Makes items durable. Returning means that each is, or is among the refused.

    Raises StoreUnavailableError and other StoreErrors as the store does; ContendedError when
    heads move faster than they are decided; BusError when requests cannot be written. Items
    stay as they are then: commit them again.
    """

    def __init__(
        self,
        store: Store,
        mint: Mint,
        doorbell: Doorbell,
        refetcher: Refetcher,
        clock: Clock,
        *,
        lanes: int = 1,
    ) -> None:
        self._store = store
        self._mint = mint
        self._doorbell = doorbell
        self._refetcher = refetcher
        self._clock = clock
        self._lanes = lanes

    async def commit(self, items: Sequence[Item]) -> list[Refused]:
        """Decide items in their order and append what they tell, one append a lane."""
        if self._lanes == 1:
            return await self._commit(0, list(items)) if items else []
        groups: dict[int, list[Item]] = {}
        for item in items:
            groups.setdefault(lane_of(item.origin.tenant, self._lanes), []).append(item)
        refused: list[Refused] = []
        for lane, group in groups.items():
            refused += await self._commit(lane, group)
        return refused

    async def _commit(self, lane: int, items: list[Item]) -> list[Refused]:
        refused: list[Refused] = []
        attempts = 0
        while items and attempts < MAX_ATTEMPTS:
            decisions = Decisions(self._mint, {})
            try:
                # A value may be poison to a query already, before there is any decision.
                heads = await self._read(items)
                decisions, undecided = self._decide(items, heads)
                refused += undecided
                items = _without(items, undecided)
                await self._append(decisions, lane, items)
            except HeadMovedError:
                metrics.RETRIES.add(reason="head_moved")
                attempts += 1
            except ErasedError as error:
                items = _without_erased(items, error)
            except PoisonError as error:
                metrics.RETRIES.add(reason="poison")
                at_fault = _at_fault(error, decisions, items)
                if not at_fault:
                    half = len(items) // 2
                    refused += await self._commit(lane, items[:half])
                    return refused + await self._commit(lane, items[half:])
                refused += at_fault
                items = _without(items, at_fault)
            else:
                if not await self._connection_moved(items, heads):
                    return refused
                metrics.RETRIES.add(reason="head_moved")
                attempts += 1
        if items:
            raise ContendedError
        return refused

    async def _read(self, items: Sequence[Item]) -> dict[HeadKey, Head]:
        """Read all heads that the items need: one query for each tenant and kind."""
        wanted = list(heads_of(items).items())
        found = await asyncio.gather(
            *(self._store.heads(tenant, kind, ids) for (tenant, kind), ids in wanted)
        )
        return {
            (tenant, kind, id_): head
            for ((tenant, kind), _), heads in zip(wanted, found, strict=True)
            for id_, head in heads.items()
        }

    async def _connection_moved(self, items: Sequence[Item], heads: Mapping[HeadKey, Head]) -> bool:
        """Say whether another replica changed a connection on whose word these items were told.

        A batch does not write the connections that it relies on. If one was revoked meanwhile,
        what it saw was ended before these came: deciding again, on top of what is stored now,
        ends these too. Because this looks after its commit, one of the two sees the other.
        """
        own = {item.origin.connection for item in items if isinstance(item, ConnectionItem)}
        others = defaultdict[str, set[str]](set)
        for tenant, connection in connections_of(items):
            if connection not in own:
                others[tenant].add(connection)
        for tenant, ids in others.items():
            now = await self._store.heads(tenant, CONNECTION, ids)
            if any(heads.get((tenant, CONNECTION, id_)) != head for id_, head in now.items()):
                return True
        return False

    def _decide(
        self, items: Sequence[Item], heads: dict[HeadKey, Head]
    ) -> tuple[Decisions, list[Refused]]:
        decisions = Decisions(self._mint, heads)
        refused: list[Refused] = []
        for item in items:
            try:
                decisions.add(item)
            except UndecidableError as error:
                refused.append(Refused(item, str(error)))
        return decisions, refused

    async def _append(self, decisions: Decisions, lane: int, items: Sequence[Item]) -> None:
        if decisions.refetches:
            # Before the append: what is decided anew after a crash is no change any more.
            await self._refetcher.refetch(decisions.refetches)
        began_s = time.perf_counter()
        appended = await self._store.append(decisions.batch(lane))
        metrics.APPEND_DURATION.observe(time.perf_counter() - began_s)
        if appended.stored:
            await self._doorbell.ring(subjects.DOORBELL)
            oldest = min(item.origin.observed_at for item in items)
            metrics.LAG.observe((self._clock.now() - oldest).total_seconds())
        _count(appended)


def _count(appended: Appended) -> None:
    metrics.EVENTS.add(appended.stored, outcome="stored")
    if appended.duplicates:
        metrics.EVENTS.add(len(appended.duplicates), outcome="duplicate")


def _at_fault(error: PoisonError, decisions: Decisions, items: Sequence[Item]) -> list[Refused]:
    """Return the items whose events the store refuses; the only one left is at fault itself."""
    if len(items) == 1:
        return [Refused(items[0], str(error))]
    found = {
        id(item): item for key in error.keys if (item := decisions.causes.get(key)) is not None
    }
    return [Refused(item, str(error)) for item in found.values()]


def _without_erased(items: list[Item], error: ErasedError) -> list[Item]:
    """Drop what was erased: it is told no more, and acknowledged with the rest."""
    kept = [item for item in items if not error.covers(item.origin.tenant, item.origin.connection)]
    if len(kept) == len(items):
        raise error
    metrics.ERASED.add(len(items) - len(kept))
    _log.warning(
        "messages of an erased tenant or connection are passed over",
        action="erased",
        messages=len(items) - len(kept),
    )
    return kept


def _without(items: list[Item], refused: Sequence[Refused]) -> list[Item]:
    gone = {id(each.item) for each in refused}
    return [item for item in items if id(item) not in gone] if gone else items
