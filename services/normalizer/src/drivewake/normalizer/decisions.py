"""Decides a batch in memory, threading heads from item to item, and gathers one append."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from drivewake.contracts.events import EventData, FilePermissionsChanged, SightingGained
from drivewake.contracts.ids import PARTITIONS, partition_of
from drivewake.contracts.keys import Part, connection_parts, log_parts
from drivewake.eventstore.store import ABSENT, ANY, Applied, Batch, HeadWrite, Mark, NewEvent
from drivewake.eventstore.store import Head as StoredHead
from drivewake.normalizer.domain.connections import (
    ConnectionHead,
    decide_connection,
    decode_connection_head,
    encode_connection_head,
)
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.head import EMPTY, Head, decode_head, encode_head
from drivewake.normalizer.domain.identity import parts_of
from drivewake.normalizer.domain.logs import BEGINNINGS, decide_fact, fact_id
from drivewake.normalizer.domain.observation import (
    Ended,
    Observation,
    Seen,
    Shared,
    microseconds,
)
from drivewake.normalizer.domain.parts import head_of
from drivewake.normalizer.domain.refetch import inherits_below
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import (
    ConnectionItem,
    FactItem,
    FileItem,
    Item,
    Origin,
    PartItem,
)
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.part_decisions import HeadKey, PartDecisions

FILE: Final = "file"
CONNECTION: Final = "connection"


def sighting_kind(connection: str, partition: int) -> str:
    """Return the kind of heads that lists the files of a partition a connection ever saw."""
    return f"sighting.{connection}.{partition}"


def heads_of(items: Iterable[Item]) -> dict[tuple[str, str], set[str]]:
    """Return which heads deciding the items needs: ids by (tenant, kind)."""
    wanted = defaultdict[tuple[str, str], set[str]](set)
    for item in items:
        if isinstance(item, FileItem):
            wanted[item.origin.tenant, FILE].add(item.file)
        elif isinstance(item, PartItem) and (head := head_of(item.part)) is not None:
            wanted[item.origin.tenant, head[0]].add(head[1])
    for tenant, connection in connections_of(items):
        wanted[tenant, CONNECTION].add(connection)
    return wanted


def connections_of(items: Iterable[Item]) -> set[tuple[str, str]]:
    """Return (tenant, connection) of all that the items rely on, or write themselves."""
    return {
        (item.origin.tenant, item.origin.connection)
        for item in items
        if not isinstance(item, FactItem)
    }


class Refetch(msgspec.Struct, frozen=True):
    """What lies below a folder should be read anew; `id` names the request, as its cause."""

    origin: Origin
    folder: str
    id: str


def _reaches_below(item: FileItem, before: Head, changed: FilePermissionsChanged) -> bool:
    """Whether descendants must be read anew: not for a listing, which reads them anyway."""
    if not item.cursor and not isinstance(item.observation, Shared):
        return False
    return inherits_below(before, changed)


def _applied(origin: Origin, cursor: str) -> Applied:
    return Applied(
        tenant=origin.tenant,
        connection=origin.connection,
        log=origin.log,
        partition=origin.partition,
        cursor=cursor,
        observed_at=origin.observed_at,
    )


class _Slot:
    """A file's head while a batch is decided."""

    __slots__ = ("expected", "head", "stored")

    def __init__(self, known: StoredHead | None) -> None:
        self.expected = ABSENT if known is None else known.revision
        self.stored = EMPTY if known is None else decode_head(known.state)
        self.head = self.stored


class Decisions:
    """One batch under decision. Heads are as they were read; `batch` compares them.

    An item that raises UndecidableError leaves no trace in the batch.
    """

    def __init__(self, mint: Mint, heads: Mapping[HeadKey, StoredHead]) -> None:
        self._mint = mint
        self._known = heads
        self._files: dict[HeadKey, _Slot] = {}
        self._connections: dict[HeadKey, ConnectionHead] = {}
        self._read_connections: dict[HeadKey, ConnectionHead | None] = {}
        self._parts = PartDecisions(mint, heads)
        self._events: list[NewEvent] = []
        self._first_seen: dict[HeadKey, None] = {}
        self._marks: list[Mark] = []
        self._applied: dict[tuple[str, str, int], tuple[Origin, str]] = {}
        self._causes: list[tuple[uuid.UUID, Item]] = []
        self.refetches: list[Refetch] = []

    def add(self, item: Item) -> None:
        """Decide one item on top of those before it."""
        if isinstance(item, FileItem):
            self._add_file(item)
        elif isinstance(item, PartItem):
            self._add_part(item)
        elif isinstance(item, ConnectionItem):
            self._add_connection(item)
        elif isinstance(item, FactItem):
            self._add_fact(item)

    @property
    def causes(self) -> dict[uuid.UUID, Item]:
        """The item that each event comes of, by its key; seldom asked, so made then."""
        return dict(self._causes)

    def batch(self, lane: int) -> Batch:
        """Return what is to be written."""
        return Batch(
            events=self._events,
            heads=[
                *self._file_writes(),
                *self._parts.writes(),
                *self._connection_writes(),
                *self._index_writes(),
            ],
            marks=self._marks,
            applied=[_applied(origin, cursor) for origin, cursor in self._applied.values()],
            lane=lane,
        )

    # -- Files --

    def _add_file(self, item: FileItem) -> None:
        origin = item.origin
        slot = self._slot((origin.tenant, FILE, item.file))
        minted: list[NewEvent] = []
        below: list[Refetch] = []
        head = slot.head
        for observation in self._with_end(origin, item.observation):
            before = head
            events, head = step(before, observation)
            at = microseconds(origin.observed_at) if events else 0
            for data in events:
                parts = parts_of(origin.tenant, origin.connection, at, before, head, data)
                minted.append(self._file_event(item, data, parts))
                if isinstance(data, SightingGained) and data.epoch == 1:
                    kind = sighting_kind(origin.connection, partition_of(origin.tenant, item.file))
                    self._first_seen[origin.tenant, kind, item.file] = None
                elif isinstance(data, FilePermissionsChanged) and _reaches_below(
                    item, before, data
                ):
                    below.append(Refetch(origin, item.file, minted[-1].key.hex))
        slot.head = head
        if below:
            self.refetches += below
        self._tell(item, minted)
        if item.cursor:
            self._apply(origin, item.cursor)

    def _tell(self, item: Item, minted: Sequence[NewEvent]) -> None:
        self._events += minted
        self._causes += [(event.key, item) for event in minted]

    def _slot(self, key: HeadKey) -> _Slot:
        slot = self._files.get(key)
        if slot is None:
            try:
                slot = _Slot(self._known.get(key))
            except msgspec.MsgspecError as error:
                raise UndecidableError(f"the stored head is unreadable: {error}") from error
            self._files[key] = slot
        return slot

    def _with_end(self, origin: Origin, observation: Observation) -> tuple[Observation, ...]:
        """Let what a revoked connection still tells end at once."""
        if not isinstance(observation, Seen) or (since := self._ended(origin)) is None:
            return (observation,)
        at = max(since, observation.at)
        return (observation, Ended(connection=origin.connection, at=at))

    def _ended(self, origin: Origin) -> int | None:
        """Return since when (µs) the connection is revoked, None if it is not."""
        connection = self._connection((origin.tenant, CONNECTION, origin.connection))
        return connection.since if connection and connection.status == "revoked" else None

    def _file_event(self, item: FileItem, data: EventData, parts: tuple[Part, ...]) -> NewEvent:
        return self._mint.event(
            item.origin,
            data,
            subject=item.file,
            identity_time=item.origin.observed_at,
            parts=parts,
            occurred_at=item.occurred_at,
        )

    def _apply(self, origin: Origin, cursor: str) -> None:
        place = (origin.tenant, origin.log, origin.partition)
        known = self._applied.get(place)
        if known is None or known[0].observed_at <= origin.observed_at:
            self._applied[place] = origin, cursor

    def _file_writes(self) -> Iterable[HeadWrite]:
        for (tenant, kind, id_), slot in self._files.items():
            if slot.head is not slot.stored and slot.head != slot.stored:
                state = encode_head(slot.head)
                yield HeadWrite(
                    tenant=tenant, kind=kind, id=id_, expected=slot.expected, state=state
                )

    def _index_writes(self) -> Iterable[HeadWrite]:
        for tenant, kind, id_ in self._first_seen:
            yield HeadWrite(tenant=tenant, kind=kind, id=id_, expected=ANY, state=b"")

    def _add_part(self, item: PartItem) -> None:
        minted = self._parts.add(item, self._ended(item.origin))
        self._tell(item, minted)
        if item.cursor:
            self._apply(item.origin, item.cursor)

    # -- Connections --

    def _connection(self, key: HeadKey) -> ConnectionHead | None:
        if (decided := self._connections.get(key)) is not None:
            return decided
        if key not in self._read_connections:
            self._read_connections[key] = self._stored_connection(key)
        return self._read_connections[key]

    def _stored_connection(self, key: HeadKey) -> ConnectionHead | None:
        stored = self._known.get(key)
        if stored is None:
            return None
        try:
            return decode_connection_head(stored.state)
        except msgspec.MsgspecError as error:
            raise UndecidableError(f"the stored head is unreadable: {error}") from error

    def _add_connection(self, item: ConnectionItem) -> None:
        origin, state = item.origin, item.state
        key = (origin.tenant, CONNECTION, origin.connection)
        known = self._connection(key)
        if known is not None and state.revision <= known.revision:
            return
        data = decide_connection(known, state)
        if data is not None:
            event = self._mint.event(
                origin,
                data,
                subject=origin.connection,
                identity_time=state.since,
                parts=connection_parts(origin.tenant, origin.connection, state.revision),
                occurred_at=state.since,
            )
            self._tell(item, [event])
        self._connections[key] = ConnectionHead(
            status=state.status, revision=state.revision, since=microseconds(state.since)
        )

    def _connection_writes(self) -> Iterable[HeadWrite]:
        for key, head in self._connections.items():
            tenant, kind, id_ = key
            stored = self._known.get(key)
            yield HeadWrite(
                tenant=tenant,
                kind=kind,
                id=id_,
                expected=ABSENT if stored is None else stored.revision,
                state=encode_connection_head(head),
            )

    # -- Logs --

    def _add_fact(self, item: FactItem) -> None:
        """Mark a fact as settled by its partition; what begins needs one partition only."""
        origin, fact = item.origin, item.fact
        id_ = fact_id(fact)
        event = self._mint.event(
            origin,
            decide_fact(fact),
            subject=origin.log,
            identity_time=fact.started_at,
            parts=log_parts(origin.tenant, origin.log, id_, fact.fact),
        )
        begins = fact.fact in BEGINNINGS
        self._marks.append(
            Mark(
                tenant=origin.tenant,
                log=origin.log,
                fact=f"{fact.fact}.{id_}",
                partition=0 if begins else origin.partition,
                of=1 if begins else PARTITIONS,
                then=event,
            )
        )
        self._causes.append((event.key, item))
