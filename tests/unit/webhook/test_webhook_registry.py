"""The registry over a bucket that others write too, and the agenda."""

import asyncio
import datetime as dt

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord
from drivewake.runtime.bus import Entry
from drivewake.runtime.memory import MemoryBus
from drivewake.webhook.agenda import Agenda
from drivewake.webhook.registry import Channels, Registry
from drivewake.webhook.tokens import Subject

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
SUBJECT = Subject("acme", "ann", "log1")
RECORD = ChannelRecord(
    channel="ch", tenant="acme", connection="ann", log="log1", created_at=NOW, expires_at=NOW
)
replace = msgspec.structs.replace


@pytest.fixture
async def bus() -> MemoryBus:
    """A provisioned bus."""
    return MemoryBus()


async def replica(bus: MemoryBus) -> Channels:
    """Return one replica's view of the bucket, loaded."""
    channels = Channels(await bus.key_value(subjects.CHANNELS), Registry())
    channels.loaded.set()
    return channels


async def test_one_of_two_creators_wins(bus: MemoryBus) -> None:
    """The other learns of the record that is there."""
    first, second = await replica(bus), await replica(bus)

    assert await first.create(RECORD)
    assert not await second.create(replace(RECORD, reason="mine"))
    assert second.registry.get("ch") == RECORD


async def test_updates_of_two_replicas_add_up(bus: MemoryBus) -> None:
    """A lost race is run again on top of what the other wrote."""
    first, second = await replica(bus), await replica(bus)
    await first.create(RECORD)
    await asyncio.gather(
        first.update("ch", lambda old: replace(old, resource="res")),
        second.update("ch", lambda old: replace(old, synced_at=NOW)),
    )
    record = await first.look_up("ch")
    entry = await (await bus.key_value(subjects.CHANNELS)).get("ch")

    assert record is not None
    assert entry is not None
    assert entry.value == msgspec.json.encode(replace(RECORD, resource="res", synced_at=NOW))


async def test_a_look_up_finds_what_no_watch_told(bus: MemoryBus) -> None:
    """Read from the bucket, then remembered by log too."""
    first, second = await replica(bus), await replica(bus)
    await first.create(RECORD)

    assert [] == second.registry.of(SUBJECT)
    assert await second.look_up("ch") == RECORD
    assert [RECORD] == second.registry.of(SUBJECT)
    assert await second.look_up("none") is None


async def test_a_forgotten_channel_is_gone_everywhere(bus: MemoryBus) -> None:
    """From the bucket, the memory and its log."""
    channels = await replica(bus)
    await channels.create(RECORD)
    await channels.forget("ch")

    assert await channels.look_up("ch") is None
    assert [] == channels.registry.of(SUBJECT)
    assert 0 == len(channels.registry)


def test_an_older_entry_does_not_undo_a_newer() -> None:
    """A watcher may tell late what this process wrote itself."""
    registry = Registry()
    live = replace(RECORD, status="live")
    registry.apply(Entry(key="ch", value=msgspec.json.encode(live), revision=5))
    registry.apply(Entry(key="ch", value=msgspec.json.encode(RECORD), revision=4))

    assert live == registry.get("ch")


async def test_an_unreadable_record_is_no_crash(bus: MemoryBus) -> None:
    """It is left out, whoever meets it."""
    bucket = await bus.key_value(subjects.CHANNELS)
    await bucket.put("ch", b"\xffrubbish", revision=0)
    channels = await replica(bus)

    assert await channels.look_up("ch") is None
    assert await channels.update("ch", lambda old: old) is None


async def test_the_agenda_gives_each_log_once_at_its_earliest() -> None:
    """Later wishes for a log that is due before add nothing."""
    agenda = Agenda()
    other = Subject("acme", "bob", "log2")
    minute = dt.timedelta(minutes=1)
    agenda.put(SUBJECT, NOW + minute)
    agenda.put(SUBJECT, NOW)
    agenda.put(SUBJECT, NOW + 2 * minute)
    agenda.put(other, NOW + minute)
    await agenda.wait(NOW + minute, 10.0)

    assert SUBJECT == agenda.pop(NOW)
    assert agenda.pop(NOW) is None
    assert other == agenda.pop(NOW + minute)
    assert agenda.pop(NOW + 5 * minute) is None
