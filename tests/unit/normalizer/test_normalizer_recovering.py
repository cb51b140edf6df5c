"""Heads follow events that come back, as if they had just been decided."""

import datetime as dt

from drivewake.contracts.events import (
    EVENT_SOURCE,
    Content,
    Event,
    EventData,
    FileDiscovered,
    FileRef,
    FileRenamed,
    SightingGained,
    SightingLost,
    type_of,
)
from drivewake.contracts.ids import partition_of
from drivewake.contracts.keys import event_key
from drivewake.eventstore.codec import new_event
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.store import Batch, NewEvent
from drivewake.normalizer.decisions import FILE, sighting_kind
from drivewake.normalizer.domain.head import Head, decode_head
from drivewake.normalizer.domain.observation import microseconds
from drivewake.normalizer.recovering import Recovering

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


def told(minute: int, data: EventData) -> NewEvent:
    """Return an event as it stood in the stream, observed at a minute."""
    at = NOON + dt.timedelta(minutes=minute)
    return new_event(
        Event(
            id=str(event_key(b"a secret of the test", at, "acme", minute, type_of(data))),
            source=EVENT_SOURCE,
            type=type_of(data),
            subject="f1",
            time=at,
            tenant="acme",
            connection="c1",
            data=data,
        )
    )


def ref(version: int) -> FileRef:
    """Return the file at a version."""
    return FileRef(id="f1", name=f"name {version}", mime_type="text/plain", version=version)


async def head_of(store: MemoryStore) -> Head:
    """Return the head of the file."""
    return decode_head((await store.heads("acme", FILE, ["f1"]))["f1"].state)


async def test_a_head_is_what_its_events_say_and_as_fresh() -> None:
    """Over several batches: version, name, freshness of each aspect, sighting and its index."""
    store = MemoryStore()
    recovering = Recovering(store, store)
    discovered = FileDiscovered(file=ref(1), content=Content())
    first = [told(0, SightingGained(file="f1", epoch=1)), told(1, discovered)]
    await recovering.append(Batch(events=first))
    renamed = told(2, FileRenamed(file=ref(5), before="name 1", after="name 5"))
    appended = await recovering.append(Batch(events=[renamed]))
    assert (3, 1) == (appended.first_position, appended.stored)
    head = await head_of(store)
    assert head.known is not None
    assert ref(5) == head.known.file
    assert (5, microseconds(NOON + dt.timedelta(minutes=2))) == head.core
    assert (1, microseconds(NOON + dt.timedelta(minutes=1))) == head.content
    assert head.seen
    kind = sighting_kind("c1", partition_of("acme", "f1"))
    assert ["f1"] == list(await store.head_ids("acme", kind, "", 9))
    lost = told(3, SightingLost(file="f1", epoch=1, cause="removed"))
    await recovering.append(Batch(events=[lost]))
    assert not (await head_of(store)).seen
