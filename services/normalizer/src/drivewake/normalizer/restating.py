"""Heads after the erasure of a connection: what it alone saw goes, what others see is told anew.

Events of a shared file that the erased connection was the first to see can no longer be read. So
that read models can still be rebuilt, what is known of the file is told again, in the name of
another connection that sees it.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from drivewake.contracts.events import (
    EVENT_SOURCE,
    Event,
    EventData,
    FileDiscovered,
    FilePermissionsChanged,
    type_of,
)
from drivewake.contracts.ids import PARTITIONS
from drivewake.contracts.keys import event_key
from drivewake.eventstore.codec import new_event
from drivewake.eventstore.erasing import Erasure, ErasureDesk
from drivewake.eventstore.errors import HeadMovedError
from drivewake.eventstore.store import Batch, EventStore, HeadWrite, NewEvent, lane_of
from drivewake.eventstore.store import Head as StoredHead
from drivewake.normalizer.decisions import FILE, sighting_kind
from drivewake.normalizer.domain import comments, revisions, shared_drives
from drivewake.normalizer.domain.head import Head, decode_head, encode_head
from drivewake.normalizer.errors import ContendedError
from drivewake.normalizer.part_decisions import membership_kind

CHUNK_FILES: Final = 500
MAX_ATTEMPTS: Final = 20


class Restating:
    """Settles the files that a connection ever saw. `secret` keys the ids of events."""

    def __init__(
        self, store: EventStore, desk: ErasureDesk, secret: bytes, *, lanes: int = 1
    ) -> None:
        self._store = store
        self._desk = desk
        self._secret = secret
        self._lanes = lanes

    async def settle(self, erasure: Erasure) -> int:
        """Settle all of them; return how many files are told anew. May be repeated."""
        told = 0
        for partition in range(PARTITIONS):
            kind, after = sighting_kind(erasure.connection, partition), ""
            while files := await self._store.head_ids(erasure.tenant, kind, after, CHUNK_FILES):
                told += await self._chunk(erasure, list(files))
                after = files[-1]
        await self._desk.drop_parts(erasure, (comments.KIND, revisions.KIND))
        await self._drives(erasure)
        return told

    async def _drives(self, erasure: Erasure) -> None:
        """Take the connection out of shared drives; forget those that had no other member."""
        kind, after = membership_kind(erasure.connection), ""
        while ids := await self._store.head_ids(erasure.tenant, kind, after, CHUNK_FILES):
            after = ids[-1]
            await self._some_drives(erasure, list(ids))

    async def _some_drives(self, erasure: Erasure, ids: list[str]) -> None:
        for _ in range(MAX_ATTEMPTS):
            stored = await self._store.heads(erasure.tenant, shared_drives.KIND, ids)
            gone: dict[str, int] = {}
            writes: list[HeadWrite] = []
            for id_, known in stored.items():
                head = shared_drives.decode_drive_head(known.state)
                members = {
                    name: one for name, one in head.members.items() if name != erasure.connection
                }
                if len(members) == len(head.members):
                    continue
                if not any(one.lasts for one in members.values()):
                    gone[id_] = known.revision
                    continue
                state = shared_drives.encode_drive_head(
                    msgspec.structs.replace(head, members=members)
                )
                writes.append(
                    HeadWrite(
                        tenant=erasure.tenant,
                        kind=shared_drives.KIND,
                        id=id_,
                        expected=known.revision,
                        state=state,
                    )
                )
            lane = lane_of(erasure.tenant, self._lanes)
            try:
                await self._store.append(Batch(heads=writes, lane=lane))
            except HeadMovedError:
                continue
            if not gone or not await self._desk.drop_heads(erasure, shared_drives.KIND, gone):
                return
        raise ContendedError

    async def _chunk(self, erasure: Erasure, files: list[str]) -> int:
        """Settle some files, again if somebody else advanced one of them meanwhile."""
        for _ in range(MAX_ATTEMPTS):
            heads = await self._store.heads(erasure.tenant, FILE, files)
            mine = {
                file: (stored, head)
                for file, stored in heads.items()
                if erasure.connection in (head := decode_head(stored.state)).sightings
            }
            others = {file: _without(head, erasure.connection) for file, (_, head) in mine.items()}
            gone = {file: mine[file][0].revision for file, head in others.items() if not head.seen}
            shared = {file: head for file, head in others.items() if head.seen}
            try:
                if shared:
                    await self._store.append(self._batch(erasure, mine, shared))
            except HeadMovedError:
                continue
            if not gone or not await self._desk.drop_heads(erasure, FILE, gone):
                return len(shared)
        raise ContendedError

    def _batch(
        self,
        erasure: Erasure,
        before: Mapping[str, tuple[StoredHead, Head]],
        shared: Mapping[str, Head],
    ) -> Batch:
        return Batch(
            events=[
                event
                for file, head in shared.items()
                for event in self._events(erasure, file, head)
            ],
            heads=[
                HeadWrite(
                    tenant=erasure.tenant,
                    kind=FILE,
                    id=file,
                    expected=before[file][0].revision,
                    state=encode_head(head),
                )
                for file, head in shared.items()
            ],
            lane=lane_of(erasure.tenant, self._lanes),
        )

    def _events(self, erasure: Erasure, file: str, head: Head) -> Iterable[NewEvent]:
        connection = min(name for name, sighting in head.sightings.items() if sighting.lasts)
        for data in _state_of(head):
            yield self.event(erasure, data, subject=file, connection=connection)

    def event(
        self, erasure: Erasure, data: EventData, *, subject: str, connection: str
    ) -> NewEvent:
        """Return an event that the erasure causes; made again it has the same key."""
        kind = type_of(data)
        parts = (erasure.tenant, "erasure", erasure.id, subject, kind)
        key: uuid.UUID = event_key(self._secret, erasure.asked_at, *parts)
        return new_event(
            Event(
                id=str(key),
                source=EVENT_SOURCE,
                type=kind,
                subject=subject,
                time=erasure.asked_at,
                tenant=erasure.tenant,
                connection=connection,
                cause=erasure.id,
                data=data,
            )
        )


def _without(head: Head, connection: str) -> Head:
    sightings = {name: one for name, one in head.sightings.items() if name != connection}
    return msgspec.structs.replace(head, sightings=sightings)


def _state_of(head: Head) -> Iterable[EventData]:
    """Say what is known of a file as if it were seen for the first time."""
    known = head.known
    if known is None:
        return
    yield FileDiscovered(
        file=known.file,
        content=known.content,
        created_at=known.created_at,
        modified_at=known.modified_at,
        trashed=known.trashed,
        metadata=known.metadata,
    )
    if known.acl:
        yield FilePermissionsChanged(file=known.file, added=tuple(known.acl))
