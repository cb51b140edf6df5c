"""DRIVE_RAW makes room for what comes, and only of what is settled."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.events import Event
from drivewake.contracts.ids import PARTITIONS
from drivewake.normalizer.trimming import KeepRoom
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import StreamFullError
from drivewake.runtime.nats import NatsBus
from drivewake.runtime.provision import NatsProvisioner

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

Told = Callable[[Sequence[Event]], Counter[tuple[str, str, int]]]


async def publish(bus: NatsBus, partition: int, count: int) -> None:
    """Publish raws into a partition."""
    message = Message(subject=subjects.raw(partition, "acme", "c1"), data=b"x")
    await bus.publish_batch([message] * count)


async def take(bus: NatsBus, partition: int, count: int, *, settle: int) -> None:
    """Take raws of a partition, and settle some of them."""
    puller = await bus.puller(subjects.NORMALIZER_RAW[partition])
    for delivery in (await puller.fetch(count, 5.0))[:settle]:
        await delivery.ack(confirm=True)
    await puller.close()


async def test_only_what_is_settled_without_a_hole_is_removed(world: "World") -> None:
    """Each partition by its own consumer's word: a quiet or slow one keeps what is its own."""
    bus, room = world.bus, KeepRoom(world.bus, lambda: range(PARTITIONS))
    for partition in (0, 1, 2):
        await publish(bus, partition, 10)
    await take(bus, 0, 10, settle=10)
    await take(bus, 1, 10, settle=4)
    await room.once()
    assert 6 + 10 == await world.kept()
    await room.once()
    assert 6 + 10 == await world.kept()


async def test_consumer_that_is_missing_or_made_anew_has_settled_nothing(world: "World") -> None:
    """Without its consumer nothing of a partition is removed; a new one begins at the beginning."""
    bus, room = world.bus, KeepRoom(world.bus, lambda: range(PARTITIONS))
    await publish(bus, 3, 10)
    await take(bus, 3, 10, settle=7)
    consumer = subjects.NORMALIZER_RAW[3]
    stream = bus.link.name(consumer.stream)
    await bus.link.api(f"CONSUMER.DELETE.{stream}.{consumer.name}")
    await room.once()
    assert 10 == await world.kept()
    await NatsProvisioner(bus).ensure_consumer(consumer)
    await room.once()
    assert 10 == await world.kept()
    await take(bus, 3, 10, settle=2)
    await room.once()
    assert 8 == await world.kept()


@pytest.mark.slow
async def test_full_stream_refuses_until_a_normalizer_has_made_room(
    world: "World", told: Told
) -> None:
    """At its cap the stream loses nothing that it took, and takes more when that is settled."""
    expected: Counter[tuple[str, str, int]] = Counter()
    filler = Message(subject=subjects.raw(0, "acme", "c1"), data=b"x" * 100_000)
    expected += await world.history(files=20, versions=2, name="a")

    async def takes() -> bool:
        try:
            await world.bus.publish(filler)
        except StreamFullError:
            return False
        return True

    while await takes():
        pass
    assert 0 == await world.kept() - await world.unsettled()
    # What fills it is poison: buried, it is settled too.
    world.normalizer(dead_ratio="1", dead_in_a_row="1000000").start()
    await world.until(takes)
    expected += await world.history(files=20, versions=2, name="b")
    events = await world.drained()
    assert expected == told(events)

    async def empty() -> bool:
        return await world.kept() == 0

    await world.until(empty)
