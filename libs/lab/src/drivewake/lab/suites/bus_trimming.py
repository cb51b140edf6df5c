"""What every Trimmer must do."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import msgspec
import pytest

from drivewake.lab.suites.bus_world import LOG, LOGS, ROLLING, World, a_message, numbered, take
from drivewake.runtime.bus import Progress
from drivewake.runtime.errors import NotFoundError


class TrimmerContract:
    """Makes room in a stream that keeps what its consumers have settled."""

    async def test_progress_is_what_was_settled_without_a_hole(self, world: World) -> None:
        """What is settled behind something unsettled does not count yet."""
        assert Progress(settled_sequence=0, unsettled=0, waiting=0) == (
            await world.bus.progress(LOGS)
        )
        await world.bus.publish_batch(numbered("suite.log.a.b", 5))
        deliveries = await take(await world.bus.puller(LOGS), 4)
        for number in (0, 1, 3):
            await deliveries[number].ack(confirm=True)
        assert Progress(settled_sequence=2, unsettled=1, waiting=1) == (
            await world.other.progress(LOGS)
        )

    async def test_progress_of_a_missing_consumer_is_an_error(self, world: World) -> None:
        """No consumer is not a consumer that settled nothing."""
        missing = msgspec.structs.replace(LOGS, name="missing")
        with pytest.raises(NotFoundError):
            await world.bus.progress(missing)

    async def test_trim_removes_up_to_a_sequence_and_nothing_of_others(self, world: World) -> None:
        """Later messages and those of other filters stay; what is gone is never delivered."""
        await world.bus.publish_batch(numbered("suite.log.a.b", 3))
        await world.bus.publish_batch(numbered("suite.log.c.b", 2))
        await world.bus.publish_batch(numbered("suite.log.a.b", 2))
        some = msgspec.structs.replace(LOGS, filters=("suite.log.a.*",))
        assert 2 == await world.bus.trim(some, 2)
        assert 0 == await world.bus.trim(some, 2)
        rest = await take(await world.bus.puller(LOGS), 5)
        assert [3, 4, 5, 6, 7] == [delivery.stream_sequence for delivery in rest]
        assert 2 == await world.bus.trim(some, 6)
        assert 7 == await world.bus.last_sequence(LOG.name)

    async def test_trim_makes_room(self, world: World) -> None:
        """Fullness is the share of the size; one without a size is never full."""
        assert 0 == await world.bus.fullness(ROLLING)
        message = a_message("suite.rolling.a", b"x" * 10_000)
        for _ in range(5):
            ack = await world.bus.publish(message)
        assert 0.7 < await world.bus.fullness(ROLLING) < 1
        everything = msgspec.structs.replace(LOGS, stream=ROLLING.name, filters=ROLLING.subjects)
        assert 5 == await world.bus.trim(everything, ack.sequence)
        assert 0 == await world.bus.fullness(ROLLING)
        assert 0 == await world.bus.fullness(LOG)
