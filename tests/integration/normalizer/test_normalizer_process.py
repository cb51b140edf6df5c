"""The normalizer as a process: from DRIVE_RAW to the store, downstream and the current tree."""

import asyncio
import datetime as dt
import itertools
import os
import re
import secrets
import signal
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from drivewake.contracts import subjects
from drivewake.contracts.events import Event
from drivewake.contracts.ids import partition_of
from drivewake.contracts.raw import LogFact
from drivewake.lab.servers import ManagedProcess
from drivewake.runtime.bus import Message

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

Told = Callable[[Sequence[Event]], Counter[tuple[str, str, int]]]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
pytestmark = pytest.mark.slow


def assert_exactly_once(events: Sequence[Event]) -> None:
    """Check what holds downstream whatever happened: no id twice, dense, in order per file."""
    assert len(events) == len({event.id for event in events})
    assert list(range(1, len(events) + 1)) == [event.position for event in events]
    versions = defaultdict(list)
    for event in events:
        if event.type.startswith("file."):
            versions[event.subject].append(event.data.file.version)  # type: ignore[union-attr]
    assert all(sorted(each) == each for each in versions.values())


async def test_raws_become_events_downstream_and_a_tree(world: "World", told: Told) -> None:
    """Every fact published is downstream once and in order, and the tree is what is left."""
    expected = await world.history(files=30, versions=4)
    world.normalizer().start()
    events = await world.drained()
    assert expected == told(events)
    assert_exactly_once(events)

    async def projected() -> bool:
        rows = await world.rows("select position from current_tree.checkpoint")
        return [len(events)] == [row["position"] for row in rows]

    await world.until(projected)
    rows = await world.rows("select file, name from current_tree.node where not removed")
    assert {(f"f{n}", "n4") for n in range(30) if n % 3} == {(r["file"], r["name"]) for r in rows}


STEPS = {
    "reset": 3,
    "fetch": 5,
    "bury": 1,
    "read heads": 4,
    "append": 2,
    "  lock": 2,
    "  advance": 2,
    "  copy": 2,
    "  cursors": 2,
    "  commit": 2,
    "ring": 2,
    "ack": 2,
    "trim": 1,
    "relay": 1,
}
"""Of each step of a batch, how often it surely happens while some raws are handled."""
FAULTS = st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(["before", "after"])).flatmap(
    lambda fault: st.tuples(st.just(fault[0]), st.just(fault[1]), st.integers(1, STEPS[fault[0]]))
)
PLANS = st.lists(FAULTS, min_size=8, max_size=8, unique_by=lambda fault: fault[0])


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=PLANS)
async def test_killed_between_any_two_steps(
    world: "World", told: Told, plan: list[tuple[str, str, int]]
) -> None:
    """SIGKILL at eight steps in turn, under load: nothing is lost or twice, order is kept.

    Hypothesis chooses steps, sides and which run of them; another example goes on in the same
    world with other files.
    """
    already = await world.downstream()
    letters = {letter.original() for letter in await world.dead()}
    example = secrets.token_hex(4)
    subject = subjects.raw(partition_of("acme", "f1"), "acme", "c1")
    expected = told(already)
    for number, (step, when, run) in enumerate(plan):
        expected += await world.history(files=10, versions=3, name=f"{example}-{number}-")
        body = f"poison {example} {number}".encode()
        letters.add(body)
        await world.bus.publish(Message(subject=subject, data=body))
        doomed = world.normalizer(fault=f"{step}:{when}:{run}", batch_least="1", batch_most="20")
        assert -9 == doomed.start(wait=False).wait(60), (step, when, run)
    last = world.normalizer().start()
    events = await world.drained()
    last.stop()
    assert expected == told(events)
    assert_exactly_once(events)
    # A letter may come twice (its message is acknowledged after it), never not at all.
    assert letters == {letter.original() for letter in await world.dead()}


@pytest.mark.parametrize("fault", ["find sightings:before:3", "append:after:4", "ack:before:3"])
async def test_killed_while_a_snapshot_is_settled(world: "World", told: Told, fault: str) -> None:
    """A sweep that is cut off is finished by the next process, and told once."""
    first = START + dt.timedelta(seconds=1)
    files = [f"f{number}" for number in range(40)]
    await world.fact(1, LogFact(fact="snapshot_started", started_at=first, snapshot="s1"))
    for file in files:
        await world.listed(2, file, 1, "s1")
    await world.fact(3, LogFact(fact="snapshot_completed", started_at=first, snapshot="s1"))
    second = START + dt.timedelta(seconds=10)
    await world.fact(10, LogFact(fact="snapshot_started", started_at=second, snapshot="s2"))
    for file in files[::2]:
        await world.listed(11, file, 1, "s2")
    await world.fact(12, LogFact(fact="snapshot_completed", started_at=second, snapshot="s2"))
    doomed = world.normalizer(fault=fault).start(wait=False)
    assert -9 == doomed.wait(30)
    world.normalizer().start()
    events = await world.drained()
    assert_exactly_once(events)
    expected = Counter({("file.discovered", file, 1): 1 for file in files})
    expected.update({("file.removed", file, 1): 1 for file in files[1::2]})
    assert expected == told(events)
    types = Counter(event.type for event in events)
    assert (2, 2) == (types["ingest.snapshot_started"], types["ingest.snapshot_completed"])


def shares(replicas: Sequence[ManagedProcess]) -> list[int]:
    """Return how many partitions of raw each replica says that it consumes, fewest first."""
    found = []
    for replica in replicas:
        port = replica.env["DRIVEWAKE_HTTP_PORT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        line = re.search(r"^drivewake_normalizer_active ([0-9.]+)$", text, re.MULTILINE)
        assert line is not None
        found.append(int(float(line[1])))
    return sorted(found)


async def test_replicas_share_evenly_while_others_are_killed_and_paused(
    world: "World", told: Told
) -> None:
    """Three share; one is killed, one paused until its partitions are taken, and woken again.

    Under load all the time: nothing is lost, nothing twice, each file's versions in order.
    """

    async def until(expected: list[int], *living: ManagedProcess) -> None:
        async def even() -> bool:
            return expected == await asyncio.to_thread(shares, living)

        await world.until(even)

    replicas = [world.normalizer(batch_most="50").start(wait=False) for _ in range(3)]
    for replica in replicas:
        replica.wait_ready()
    await until([5, 5, 6], *replicas)
    expected = await world.history(files=20, versions=3, name="a")
    killed, paused, steady = replicas
    killed.kill()
    expected += await world.history(files=20, versions=3, name="b")
    await until([8, 8], paused, steady)
    expected += await world.history(files=20, versions=3, name="c")
    os.kill(paused.pid, signal.SIGSTOP)
    expected += await world.history(files=20, versions=3, name="d")
    await until([16], steady)
    expected += await world.history(files=20, versions=3, name="e")
    os.kill(paused.pid, signal.SIGCONT)
    expected += await world.history(files=20, versions=3, name="f")
    await until([8, 8], paused, steady)
    events = await world.drained()
    assert expected == told(events)
    assert_exactly_once(events)
    rows = await world.rows("select partition, cursor from eventstore.applied")
    cursors: dict[int, str] = {}
    for name, number in itertools.product("abcdef", range(20)):
        partition = partition_of("acme", f"{name}{number}")
        last = "page-3" if number % 3 else "page-4"
        cursors[partition] = max(last, cursors.get(partition, ""))
    assert cursors == {row["partition"]: row["cursor"] for row in rows}


async def test_frozen_replica_that_wakes_up_is_refused(world: "World") -> None:
    """A replica stopped in mid-batch loses its turn; awake again, it neither repeats nor undoes.

    A message that the broker handed to the sleeper arrives late: what it tells may have been
    superseded by then, but the end is the same.
    """
    frozen = world.normalizer(batch_most="50").start()
    await world.history(files=20, versions=3, name="a")
    os.kill(frozen.pid, signal.SIGSTOP)
    # What a database administrator, or idle_session_timeout, does to the session of the dead.
    await world.end_sessions()
    world.normalizer().start()
    await world.history(files=20, versions=3, name="b")
    await world.drained()
    os.kill(frozen.pid, signal.SIGCONT)
    await world.history(files=20, versions=3, name="c")
    events = await world.drained()
    assert_exactly_once(events)
    ends: dict[str, tuple[bool, int]] = {}
    for event in events:
        if event.type.startswith("file."):
            removed = event.type == "file.removed" or ends.get(event.subject, (False, 0))[0]
            ends[event.subject] = removed, event.data.file.version  # type: ignore[union-attr]
    assert {
        f"{name}{number}": (number % 3 == 0, 3) for name in "abc" for number in range(20)
    } == ends


async def test_terminated_under_load_loses_nothing(world: "World", told: Told) -> None:
    """SIGTERM ends the process orderly at any moment; the next one goes on."""
    first = world.normalizer(batch_most="50").start()
    expected = await world.history(files=20, versions=3)
    assert 0 == first.stop()
    world.normalizer().start()
    events = await world.drained()
    assert expected == told(events)
    assert_exactly_once(events)


async def test_too_many_dead_stop_the_process_with_a_clear_message(world: "World") -> None:
    """A stream of which nothing is understood is not drained, and the log says what to do."""
    for number in range(20):
        subject = subjects.raw(number % 16, "acme", "c1")
        await world.bus.publish(Message(subject=subject, data=b"of another release"))
    process = world.normalizer(dead_in_a_row="5").start(wait=False)
    assert 1 == process.wait(30)
    assert any("DRIVEWAKE_DEAD_IN_A_ROW" in line for line in process.log_tail(30))
    letters = await world.dead()
    assert len(letters) < 5
    assert 20 - len(letters) == await world.unsettled()
