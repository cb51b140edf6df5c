"""Heads follow events that come back to a restored store.

The facts of a head follow from the file's events by `evolve`; how fresh they are is told by the
events too: the file's version, and when it was observed. So what was decided before is not
decided a second time when Google is asked again.
"""

import datetime as dt
from collections.abc import Sequence

import msgspec

from drivewake.contracts.events import (
    EventData,
    FileContentChanged,
    FileDiscovered,
    FileMoved,
    FilePermissionsChanged,
    SightingGained,
    SightingLost,
)
from drivewake.contracts.ids import partition_of
from drivewake.eventstore.store import (
    ABSENT,
    ANY,
    Appended,
    Appender,
    Batch,
    HeadReader,
    HeadWrite,
    NewEvent,
)
from drivewake.normalizer.decisions import FILE, sighting_kind
from drivewake.normalizer.domain.head import (
    ADVANCING,
    EMPTY,
    Head,
    decode_head,
    encode_head,
    evolve,
)
from drivewake.normalizer.domain.observation import microseconds

_replace = msgspec.structs.replace


class _Observed(msgspec.Struct):
    time: dt.datetime


_data = msgspec.json.Decoder(EventData)
_observed = msgspec.json.Decoder(_Observed)


class Recovering:
    """An Appender of events that were decided long ago: it advances the heads of their files."""

    def __init__(self, appender: Appender, heads: HeadReader) -> None:
        self._appender = appender
        self._heads = heads

    async def append(self, batch: Batch) -> Appended:
        """See store.Appender."""
        files: dict[tuple[str, str], list[tuple[NewEvent, EventData]]] = {}
        index: dict[tuple[str, str, str], HeadWrite] = {}
        for event in batch.events:
            data = _data.decode(event.data)
            file = file_of(data)
            if file:
                files.setdefault((event.tenant, file), []).append((event, data))
            if isinstance(data, SightingGained):
                kind = sighting_kind(event.connection, partition_of(event.tenant, file))
                index[event.tenant, kind, file] = HeadWrite(
                    tenant=event.tenant, kind=kind, id=file, expected=ANY, state=b""
                )
        writes = [await self._advanced(*place, told) for place, told in files.items()]
        return await self._appender.append(_replace(batch, heads=[*writes, *index.values()]))

    async def _advanced(
        self, tenant: str, file: str, told: Sequence[tuple[NewEvent, EventData]]
    ) -> HeadWrite:
        stored = (await self._heads.heads(tenant, FILE, [file])).get(file)
        head = EMPTY if stored is None else decode_head(stored.state)
        for event, data in told:
            at = microseconds(_observed.decode(event.metadata).time)
            head = advanced(head, event.connection, data, at)
        return HeadWrite(
            tenant=tenant,
            kind=FILE,
            id=file,
            expected=ABSENT if stored is None else stored.revision,
            state=encode_head(head),
        )


def file_of(data: EventData) -> str:
    """Return the file whose head an event advances, "" if it advances none."""
    file = getattr(data, "file", "") if type(data) in ADVANCING else ""
    return file if isinstance(file, str) else file.id


def advanced(head: Head, connection: str, data: EventData, at: int) -> Head:
    """Return the head after an event of it that was observed at an instant (µs since 1970)."""
    head = evolve(head, connection, data)
    if isinstance(data, SightingGained | SightingLost):
        sighting = head.sightings[connection]
        sighting = _replace(sighting, at=max(sighting.at, at))
        return _replace(head, sightings={**head.sightings, connection: sighting})
    fresh = (data.file.version, at)  # type: ignore[union-attr] # only events of files are left
    aspects = {"core": fresh}
    if isinstance(data, FileDiscovered):
        aspects |= {"parents": fresh, "content": fresh}
    elif isinstance(data, FileMoved):
        aspects["parents"] = fresh
    elif isinstance(data, FileContentChanged):
        aspects["content"] = fresh
    elif isinstance(data, FilePermissionsChanged):
        aspects["acl"] = fresh
    return _replace(head, **{name: max(getattr(head, name), new) for name, new in aspects.items()})
