"""The stores against a trivial model of themselves."""

import asyncio
import datetime as dt
import itertools
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from drivewake.eventstore import appending
from drivewake.eventstore.errors import HeadMovedError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import ANY, EXISTS, Batch, EventStore, HeadWrite, Mark, NewEvent
from drivewake.lab.suites.eventstore import NOON, an_event

_lanes = itertools.count(1)
NUMBERS = st.lists(st.integers(0, 30), max_size=8)
HEADS = st.dictionaries(st.sampled_from("abc"), st.integers(EXISTS, 4), max_size=3)
OF = 3


class StoreMachine(RuleBasedStateMachine):
    """Appends of all kinds; the model is a list of keys and a dictionary of revisions.

    Every example has a lane and a tenant of its own, so that one database serves them all.
    """

    store: ClassVar[EventStore]
    runner: ClassVar[asyncio.Runner]

    @initialize()
    def begin(self) -> None:
        """Start in an empty lane."""
        self.lane = next(_lanes)
        self.tenant = f"t{self.lane}"
        self.log: list[str] = []
        self.revisions: dict[str, int] = {}
        self.marks: set[int] = set()

    def _event(self, number: int) -> NewEvent:
        """Return the same event for a number; later examples are of later times."""
        at = NOON + dt.timedelta(seconds=self.lane, milliseconds=number)
        return an_event(number, tenant=self.tenant, at=at)

    @rule(numbers=NUMBERS, expected=HEADS, marks=st.lists(st.integers(0, OF - 1), max_size=2))
    def append(self, numbers: list[int], expected: dict[str, int], marks: list[int]) -> None:
        """Append some events and heads, known and unknown ones."""
        done = self._event(999)
        batch = Batch(
            lane=self.lane,
            events=[self._event(number) for number in numbers],
            heads=[
                HeadWrite(tenant=self.tenant, kind="k", id=id_, expected=revision, state=b"s")
                for id_, revision in expected.items()
            ],
            marks=[
                Mark(tenant=self.tenant, log="l", fact="f", partition=mark, of=OF, then=done)
                for mark in marks
            ],
        )
        moved = {id_ for id_, revision in expected.items() if not self._as_expected(id_, revision)}
        if moved:
            with pytest.raises(HeadMovedError) as caught:
                self.runner.run(self.store.append(batch))
            assert moved == {head.id for head in caught.value.moved}
            return
        wanted = [str(self._event(number).key) for number in numbers]
        if len(self.marks) < OF and len(self.marks | set(marks)) == OF:
            wanted.append(str(done.key))
        new = [key for key in dict.fromkeys(wanted) if key not in self.log]
        result = self.runner.run(self.store.append(batch))
        assert (len(new), len(wanted) - len(new)) == (result.stored, len(result.duplicates))
        assert (len(self.log) + 1 if new else 0) == result.first_position
        self.log += new
        self.marks |= set(marks)
        for id_ in expected:
            self.revisions[id_] = self.revisions.get(id_, 0) + 1

    def _as_expected(self, id_: str, expected: int) -> bool:
        found = self.revisions.get(id_, 0)
        return expected in {ANY, found} or (expected == EXISTS and found > 0)

    @rule(after=st.integers(0, 40), limit=st.integers(1, 10))
    def read(self, after: int, limit: int) -> None:
        """Read a page."""
        page = self.runner.run(self.store.read(self.lane, after, limit))
        assert self.log[after : after + limit] == [str(event.key) for event in page]

    @invariant()
    def head_and_revisions_are_the_models(self) -> None:
        """The end of the lane and all revisions are as the model says."""
        if not hasattr(self, "lane"):
            return
        assert len(self.log) == self.runner.run(self.store.last_position(self.lane))
        heads = self.runner.run(self.store.heads(self.tenant, "k", list("abc")))
        assert self.revisions == {id_: head.revision for id_, head in heads.items()}


def test_memory_store_is_its_model() -> None:
    """Whatever is appended in whatever order, the store in memory does as the model."""
    with asyncio.Runner() as runner:

        class Machine(StoreMachine):
            store = MemoryStore()

        Machine.runner = runner
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=80, stateful_step_count=20, deadline=None)
        )


def test_postgres_store_is_its_model(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is appended in whatever order, the store in Postgres does as the model.

    From three events on a batch is treated as a large one.
    """
    monkeypatch.setattr(appending, "_MANY", 3)
    with asyncio.Runner() as runner:
        opened = PostgresStore.open(database)
        store = runner.run(opened.__aenter__())
        try:

            class Machine(StoreMachine):
                pass

            Machine.store, Machine.runner = store, runner
            run_state_machine_as_test(
                Machine, settings=settings(max_examples=25, stateful_step_count=15, deadline=None)
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
