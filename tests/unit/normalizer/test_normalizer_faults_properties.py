"""Whatever is delivered twice, cut into batches or lost on its way back: the same events."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.store import Appended, Batch

if TYPE_CHECKING:
    from tests.unit.normalizer.conftest import Harness

Outcome = Literal["works", "fails before", "fails after"]
Step = tuple[str, str, int, bool]
"""Connection, file, how far the version rises, whether the file is gone."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["f1", "f2", "f3"]),
        st.integers(0, 2),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
outcomes = st.lists(
    st.sampled_from(["works", "fails before", "fails after"]), min_size=1, max_size=6
)


class Faulty(MemoryStore):
    """A store whose appends go as told, and work in the end."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__()
        self._outcomes: Iterator[Outcome] = itertools.chain(outcomes, itertools.repeat("works"))

    async def append(self, batch: Batch) -> Appended:
        """Append, or fail on one side of it."""
        outcome = next(self._outcomes)
        if outcome == "fails before":
            raise StoreUnavailableError
        result = await super().append(batch)
        if outcome == "fails after":
            raise StoreUnavailableError
        return result


async def publish(harness: "Harness", world: list[Step]) -> None:
    """Publish what two connections see of three files."""
    versions: dict[str, int] = {}
    for at, (connection, file, rise, gone) in enumerate(world, 1):
        versions[file] = version = versions.get(file, 1) + rise
        resource = {"version": str(version), "name": f"n{version % 3}"}
        await harness.change(at, None if gone else resource, item=file, connection=connection)


async def told(harness: "Harness") -> list[tuple[str, str, str, str]]:
    """Return what was told, file by file and in order."""
    events = await harness.events()
    return [
        (event.subject, event.type, event.connection, event.id)
        for event in sorted(events, key=lambda event: event.subject)
    ]


@given(steps, outcomes, st.integers(1, 5))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_faults_and_batches_change_nothing(
    new_harness: "type[Harness]", world: list[Step], faults: list[Outcome], batch: int
) -> None:
    """Appends that fail before or after their commit, in batches of any size: the same events."""
    calm = new_harness()
    await publish(calm, world)
    await calm.drain()

    rough = new_harness()
    rough.store = Faulty(faults)
    handler = rough.handler_on(rough.store)
    await publish(rough, world)
    for _ in range(len(faults) + 1):
        try:
            await rough.drain(batch, handler)
        except StoreUnavailableError:
            await rough.give_back()
    assert await told(calm) == await told(rough)
    assert 0 == await rough.unsettled()


@given(steps, st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_published_again_changes_nothing(
    new_harness: "type[Harness]", world: list[Step], data: st.DataObject
) -> None:
    """A poller that crashed publishes a stretch of its raws again, with other ids: nothing new."""
    cut = data.draw(st.integers(0, len(world)))
    one = new_harness()
    await publish(one, world)
    await one.drain()
    before = await told(one)
    await publish(one, world[:cut])
    await one.drain()
    assert before == await told(one)
