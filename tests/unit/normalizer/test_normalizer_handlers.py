"""Handling batches: what becomes durable, in which order, and what is acknowledged when."""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import Status
from drivewake.contracts.dead import DeadLetter
from drivewake.contracts.events import (
    ConnectionEstablished,
    ConnectionRestored,
    SightingLost,
    SnapshotCompleted,
)
from drivewake.contracts.ids import PARTITIONS, partition_of
from drivewake.contracts.raw import LogFact
from drivewake.eventstore.errors import PoisonError, StoreUnavailableError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.store import ABSENT, Appended, Batch, Head, HeadWrite
from drivewake.normalizer import sweeping
from drivewake.normalizer.adapters import BusRefetcher
from drivewake.normalizer.burial import Burial
from drivewake.normalizer.committing import Committer
from drivewake.normalizer.errors import ContendedError, TooManyDeadError, UndecidableError
from drivewake.normalizer.handlers import BatchHandler
from drivewake.normalizer.items import decode_connection
from drivewake.normalizer.limits import DeadBound, DeadRule
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.sweeping import Sweeper
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.memory import MemoryBus

if TYPE_CHECKING:
    from tests.unit.normalizer.conftest import Harness

Kind = Literal["snapshot_started", "snapshot_completed", "gap_opened", "gap_closed"]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECRET = b"0123456789abcdef"


def fact(kind: Kind, at: float, *, snapshot: str = "", gap: str = "", files: int = 0) -> LogFact:
    """Return a fact of a log that began `at` seconds after START."""
    started_at = START + dt.timedelta(seconds=at)
    return LogFact(fact=kind, started_at=started_at, snapshot=snapshot, gap=gap, files=files)


async def test_change_becomes_durable_events_with_provenance(harness: "Harness") -> None:
    """An event tells who saw it, where, when and through which raw; the raw is settled."""
    await harness.change(5, {"name": "b"})
    await harness.drain()
    gained, discovered = await harness.events()
    assert ("sighting.gained", "file.discovered") == (gained.type, discovered.type)
    assert ("t1", "c1", "log-c1", "f1", "raw-1") == (
        discovered.tenant,
        discovered.connection,
        discovered.log,
        discovered.subject,
        discovered.cause,
    )
    assert START + dt.timedelta(seconds=5) == discovered.time
    assert 0 == await harness.unsettled()


async def test_several_raws_of_a_file_in_one_batch_build_on_each_other(harness: "Harness") -> None:
    """Heads are threaded through a batch: three versions are one append and three facts."""
    for version in (1, 2, 3):
        await harness.change(version, {"version": str(version), "name": f"n{version}"})
    await harness.drain()
    assert ["sighting.gained", "file.discovered", "file.renamed", "file.renamed"] == (
        await harness.types()
    )
    heads = await harness.store.heads("t1", "file", ["f1"])
    assert 1 == heads["f1"].revision


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
async def test_batching_does_not_matter(new_harness: "type[Harness]", batch: int) -> None:
    """The same raws give the same events, with the same keys, in batches of any size."""

    async def told(size: int) -> list[tuple[str, str]]:
        one = new_harness()
        for at in range(1, 8):
            file = {"version": str(at), "name": f"n{at % 3}"} if at % 4 else None
            await one.change(at, file)
            await one.change(at, file, item="f2", connection="c2")
        await one.drain(size)
        return sorted((event.id, event.type) for event in await one.events())

    assert await told(10_000) == await told(batch)


async def test_redelivery_adds_nothing(harness: "Harness") -> None:
    """What comes again after its commit, because its ack was lost, changes nothing."""
    await harness.change(1, {})
    await harness.change(2, {"version": "2", "name": "b"})
    taken = await harness.take()
    await harness.handler.handle(taken)
    before = await harness.events()
    await harness.handler.handle(taken)
    assert before == await harness.events()


async def test_applied_cursor_is_kept_with_the_batch(harness: "Harness") -> None:
    """The store knows up to which page of the log a partition has come."""
    await harness.change(1, {})
    await harness.change(2, {"version": "2"})
    await harness.drain()
    applied = await harness.store.applied("t1", "c1")
    assert [("page-2", partition_of("t1", "f1"))] == [
        (cursor.cursor, cursor.partition) for cursor in applied
    ]


async def test_listed_files_leave_the_applied_cursor_alone(harness: "Harness") -> None:
    """The page token of a listing is no place to resume the changes at, however late it comes."""
    await harness.listed(1, "f1", "s1")
    await harness.drain()
    assert [] == list(await harness.store.applied("t1", "c1"))
    await harness.change(2, {"version": "2"})
    await harness.listed(3, "f1", "s1", version="3")
    await harness.drain()
    assert ["page-2"] == [each.cursor for each in await harness.store.applied("t1", "c1")]


# -- Poison ----------------------------------------------------------------------------------

UNDECODABLE = {
    "no JSON": b"\xff\xfe not json",
    "invalid UTF-8": b'{"specversion":"1.0","id":"\xff"}',
    "too deep": b"[" * 10_000 + b"]" * 10_000,
    "another major version": b'{"specversion":"2.0","id":"1","source":"s","type":"t"}',
    "empty": b"",
}


@pytest.mark.parametrize("poison", UNDECODABLE)
async def test_undecodable_raw_is_buried_whole_and_its_neighbours_flow(
    harness: "Harness", poison: str
) -> None:
    """A dead letter keeps reason, bytes and place; what stands around it is stored."""
    subject = subjects.raw(partition_of("t1", "f1"), "t1", "c1")
    await harness.change(1, {})
    await harness.publish(subject, UNDECODABLE[poison])
    await harness.change(2, {"version": "2", "name": "b"})
    await harness.drain()
    assert ["sighting.gained", "file.discovered", "file.renamed"] == await harness.types()
    (letter,) = await harness.dead()
    assert UNDECODABLE[poison] == letter.original()
    assert ("normalizer", "DRIVE_RAW", 2, subject) == (
        letter.service,
        letter.stream,
        letter.sequence,
        letter.subject,
    )
    assert letter.reason
    assert 0 == await harness.unsettled()


UNDECIDABLE: dict[str, dict[str, Any]] = {
    "a file without a version": {"body": {"fileId": "f1", "file": {"id": "f1", "name": "n"}}},
    "a change of another file": {"body": {"fileId": "f2", "removed": True}},
    "no file in a change": {"body": {"fileId": "f1"}},
    "another file in a change": {
        "body": {"fileId": "f1", "file": {"id": "f2", "version": "1", "name": "n", "mimeType": "m"}}
    },
    "a version beyond 64 bits": {
        "body": {
            "fileId": "f1",
            "file": {"id": "f1", "version": "9" * 30, "name": "n", "mimeType": "m"},
        }
    },
    "a source of tomorrow": {"body": {}, "source": "comments"},
    "a fact that names no snapshot": {
        "body": {"fact": "snapshot_completed", "started_at": "2026-01-01T00:00:00Z"},
        "source": "log",
    },
    "an observation from the future": {"body": {"fileId": "f1", "removed": True}, "at": 1e9},
    "an event too large": {
        "body": {
            "fileId": "f1",
            "file": {
                "id": "f1",
                "version": "1",
                "name": "n",
                "mimeType": "m",
                "description": "x" * (700 << 10),
            },
        }
    },
}


@pytest.mark.parametrize("poison", UNDECIDABLE)
async def test_undecidable_raw_is_buried(harness: "Harness", poison: str) -> None:
    """What decodes but cannot be decided is dead, with the reason; nothing of it is stored."""
    case = dict(UNDECIDABLE[poison])
    await harness.raw(case.pop("at", 1), "f1", case.pop("body"), **case)
    await harness.drain()
    assert [] == await harness.events()
    expected = PARTITIONS if case.get("source") == "log" else 1
    letters = await harness.dead()
    assert expected == len(letters)
    assert all(letter.reason for letter in letters)
    assert 0 == await harness.unsettled()


@pytest.mark.parametrize("where", ["tenant", "connection", "log"])
async def test_names_that_could_not_stand_in_a_subject_are_dead(
    harness: "Harness", where: str
) -> None:
    """A tenant, connection or log with a meaning in subjects would stop the relay for all."""
    good = {"tenant": "t1", "connection": "c1", "log": "l1"}
    body = (
        '{"specversion":"1.0","id":"i","source":"s","type":"drive.raw","time":"2026-01-01T00:00:00Z",'
        '"tenant":"%(tenant)s","connection":"%(connection)s","data":{"source":"changes","log":"%(log)s",'
        '"item":"f1","observed_at":"2026-01-01T00:00:00Z","body":{"fileId":"f1","removed":true}}}'
    )
    await harness.publish(subjects.raw(0, "t1", "c1"), (body % good).encode())
    await harness.drain()
    assert [] == await harness.dead()
    await harness.publish(subjects.raw(0, "t1", "c1"), (body % (good | {where: "a.>"})).encode())
    await harness.drain()
    assert 1 == len(await harness.dead())


async def test_too_many_dead_stop_the_service_with_the_stream_left_as_it_is(
    harness: "Harness",
) -> None:
    """Past the bound nothing is buried or acknowledged: a bad release must not drain the stream."""
    harness.rule = DeadRule(window=100, ratio=1.0, in_a_row=5)
    handler = harness.handler_on(harness.store)
    for _ in range(5):
        await harness.publish(subjects.raw(0, "t1", "c1"), b"?")
    with pytest.raises(TooManyDeadError, match="the last 5 messages cannot be decoded"):
        await harness.drain(handler=handler)
    assert (5, []) == (await harness.unsettled(), await harness.dead())


class Closed(BusGraveyard):
    """A graveyard that is away for the first `refusals` times."""

    def __init__(self, bus: MemoryBus, refusals: int) -> None:
        super().__init__(bus)
        self._refusals = refusals

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Refuse, or bury."""
        self._refusals -= 1
        if self._refusals >= 0:
            raise BusUnavailableError
        await super().bury(letters)


async def test_dead_message_counts_once_however_often_its_burial_is_tried(
    harness: "Harness",
) -> None:
    """While DRIVE_DEAD is away one corpse stays one: the service waits, it does not stop."""
    clock = SystemClock()
    refetcher = BusRefetcher(harness.bus, BusGraveyard(harness.bus), clock)
    committer = Committer(harness.store, Mint(SECRET), harness.bus, refetcher, clock)
    bound = DeadBound(DeadRule(window=100, ratio=1.0, in_a_row=3))
    burial = Burial(Closed(harness.bus, refusals=5), bound, clock)
    handler = BatchHandler(committer, Sweeper(harness.store, committer), burial, harness.bus, clock)
    await harness.publish(subjects.raw(0, "t1", "c1"), b"?")
    for _ in range(5):
        with pytest.raises(BusUnavailableError):
            await handler.handle(await harness.take())
        await harness.give_back()
    await harness.drain(handler=handler)
    assert (0, 1) == (await harness.unsettled(), len(await harness.dead()))


async def test_dead_message_counts_once_however_often_it_comes_again(harness: "Harness") -> None:
    """An undecodable listing that waits for the store is one corpse, not one a retry."""
    harness.rule = DeadRule(window=100, ratio=1.0, in_a_row=3)
    harness.store = Flaky(failures=5)
    handler = harness.handler_on(harness.store)
    await harness.listed(1, "f1", "s1", version="not a number")
    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            await handler.handle(await harness.take())
        await harness.give_back()
    await harness.drain(handler=handler)
    assert 0 == await harness.unsettled()


class Refusing(MemoryStore):
    """A store that refuses any batch with an event of some files for good.

    `tells` says whether it names the events at fault.
    """

    def __init__(self, streams: set[str], *, tells: bool) -> None:
        super().__init__()
        self._streams = streams
        self._tells = tells

    async def append(self, batch: Batch) -> Appended:
        """Refuse, or append."""
        keys = tuple(event.key for event in batch.events if event.stream in self._streams)
        if keys:
            raise PoisonError("a value", keys if self._tells else ())
        return await super().append(batch)


@pytest.mark.parametrize("tells", [True, False])
async def test_what_the_store_refuses_for_good_is_buried_alone(
    harness: "Harness", tells: bool
) -> None:
    """A poison that only the database knows costs its own message, not the batch."""
    harness.store = Refusing({"f3", "f7"}, tells=tells)
    for number in range(10):
        await harness.change(1, {}, item=f"f{number}")
    await harness.drain(handler=harness.handler_on(harness.store))
    assert {f"f{n}" for n in range(10)} - {"f3", "f7"} == {
        event.subject for event in await harness.events()
    }
    assert 2 == len(await harness.dead())
    assert 0 == await harness.unsettled()


class RefusingToLook(MemoryStore):
    """A store that cannot even look for a file of a certain id."""

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """Refuse, or read."""
        if "f3" in ids:
            raise PoisonError("an id")
        return await super().heads(tenant, kind, ids)


async def test_what_the_store_cannot_look_for_is_buried_alone(harness: "Harness") -> None:
    """A poison in a query costs its own message too, and no crash."""
    harness.store = RefusingToLook()
    for number in range(6):
        await harness.change(1, {}, item=f"f{number}")
    await harness.drain(handler=harness.handler_on(harness.store))
    assert {f"f{n}" for n in range(6)} - {"f3"} == {
        event.subject for event in await harness.events()
    }
    assert ["the database refuses a value: an id"] == [
        letter.reason for letter in await harness.dead()
    ]
    assert 0 == await harness.unsettled()


# -- The store moves or is away -----------------------------------------------------------------


class Racing(MemoryStore):
    """A store in which somebody else advances a head, `times` times, before our append."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.rival: list[Batch] = []

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """Read, then let the rival write."""
        found = await super().heads(tenant, kind, ids)
        if self.rival and kind == "file" and self.times:
            self.times -= 1
            await super().append(self.rival.pop(0))
        return found


class Recording(MemoryStore):
    """Keeps batches instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []

    async def append(self, batch: Batch) -> Appended:
        """Keep and append."""
        self.batches.append(batch)
        return await super().append(batch)


async def test_head_moved_by_another_replica_is_decided_again(new_harness: "type[Harness]") -> None:
    """A stale decision is refused by the head's revision, and made anew on what is there."""
    other = new_harness()
    other.store = Recording()
    await other.change(1, {})
    await other.drain(handler=other.handler_on(other.store))

    one = new_harness()
    one.store = Racing(times=1)
    one.store.rival = list(other.store.batches)
    await one.change(2, {"version": "2", "name": "b"})
    await one.drain(handler=one.handler_on(one.store))
    assert ["sighting.gained", "file.discovered", "file.renamed"] == await one.types()


class Moving(MemoryStore):
    """A store whose heads never are what they were."""

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """Tell revisions that do not exist."""
        found = await super().heads(tenant, kind, ids)
        return {
            id_: Head(revision=head.revision + 7, state=head.state) for id_, head in found.items()
        }


async def test_endless_contention_gives_the_batch_back(harness: "Harness") -> None:
    """Deciding again is bounded; the messages stay in the stream."""
    await harness.change(1, {})
    await harness.drain()
    moving = Moving()
    moving._heads = harness.store._heads
    await harness.change(2, {"version": "2", "name": "b"})
    with pytest.raises(ContendedError):
        await harness.drain(handler=harness.handler_on(moving))
    assert 1 == await harness.unsettled()


class Flaky(MemoryStore):
    """A store that commits and then loses the answer, the first times."""

    def __init__(self, failures: int = 1) -> None:
        super().__init__()
        self.failures = failures

    async def append(self, batch: Batch) -> Appended:
        """Commit, and perhaps do not say so."""
        result = await super().append(batch)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        return result


async def test_lost_answer_of_a_commit_stores_nothing_twice(harness: "Harness") -> None:
    """Nothing is acknowledged without the answer; the redelivery recognises what was stored."""
    harness.store = Flaky()
    handler = harness.handler_on(harness.store)
    await harness.change(1, {})
    with pytest.raises(StoreUnavailableError):
        await harness.drain(handler=handler)
    assert 1 == await harness.unsettled()
    await harness.give_back()
    await harness.drain(handler=handler)
    assert ["sighting.gained", "file.discovered"] == await harness.types()
    assert 0 == await harness.unsettled()


# -- Facts of a log ----------------------------------------------------------------------------


async def snapshot(
    harness: "Harness", at: float, name: str, files: list[str], *, batch: int = 10_000
) -> None:
    """Publish a whole snapshot of c1's log and handle it."""
    await harness.fact(at, fact("snapshot_started", at, snapshot=name))
    for file in files:
        await harness.listed(at + 1, file, name)
    await harness.fact(at + 2, fact("snapshot_completed", at, snapshot=name, files=len(files)))
    await harness.drain(batch)


@pytest.mark.parametrize("batch", [1, 7, 10_000])
async def test_snapshot_is_told_once_around_its_files(harness: "Harness", batch: int) -> None:
    """Sixteen partitions hear of a snapshot; it is told started first and completed last, once."""
    files = [f"f{number}" for number in range(20)]
    await snapshot(harness, 10, "s1", files, batch=batch)
    types = await harness.types()
    assert 1 == types.count("ingest.snapshot_started")
    assert 20 == types.count("file.discovered")
    assert "ingest.snapshot_completed" == types[-1]
    completed = (await harness.events())[-1].data
    assert SnapshotCompleted(snapshot="s1", files=20) == completed


async def test_snapshot_ends_what_it_did_not_list(harness: "Harness") -> None:
    """Files of the log that a later snapshot does not list are gone, those listed stay."""
    await snapshot(harness, 10, "s1", ["f1", "f2", "f3"])
    before = len(await harness.events())
    await snapshot(harness, 20, "s2", ["f1", "f3"])
    told = (await harness.events())[before:]
    assert [
        "ingest.snapshot_started",
        "sighting.lost",
        "file.removed",
        "ingest.snapshot_completed",
    ] == [event.type for event in told]
    assert ("f2", SightingLost(file="f2", epoch=1, cause="absent_in_snapshot")) == (
        told[1].subject,
        told[1].data,
    )


async def test_snapshot_spares_what_a_change_showed_since(harness: "Harness") -> None:
    """A file made while a listing ran may be on no page of it: the change that told it counts."""
    await harness.fact(10, fact("snapshot_started", 10, snapshot="s1"))
    await harness.change(11, {})
    await harness.fact(12, fact("snapshot_completed", 10, snapshot="s1"))
    await harness.drain()
    assert "sighting.lost" not in await harness.types()


async def test_snapshot_spares_a_listed_file_that_could_not_be_decoded(harness: "Harness") -> None:
    """A file whose listing is dead is still there: our own failure proves no absence."""
    await snapshot(harness, 10, "s1", ["f1"])
    await harness.fact(20, fact("snapshot_started", 20, snapshot="s2"))
    await harness.listed(21, "f1", "s2", version="not a number")
    await harness.fact(22, fact("snapshot_completed", 20, snapshot="s2"))
    await harness.drain()
    assert 1 == len(await harness.dead())
    assert "sighting.lost" not in await harness.types()


async def test_facts_published_again_are_told_once(harness: "Harness") -> None:
    """A poller that crashed publishes its facts again, with other ids and times: told once."""
    for at in (10, 11):
        await harness.fact(at, fact("gap_opened", at, gap="g1"))
        await harness.drain()
    for at in (12, 13):
        await harness.fact(at, fact("gap_closed", 12, gap="g1", snapshot="s1"))
        await harness.drain()
    assert ["ingest.gap_opened", "ingest.gap_closed"] == await harness.types()


async def test_snapshot_completes_only_when_every_partition_has_settled_it(
    harness: "Harness",
) -> None:
    """While one partition has not heard of the end, the snapshot is not told as completed."""
    await harness.fact(10, fact("snapshot_completed", 10, snapshot="s1"))
    taken = await harness.take()
    await harness.handler.handle(taken[:-1])
    assert [] == await harness.types()
    await harness.handler.handle(taken[-1:])
    assert ["ingest.snapshot_completed"] == await harness.types()


# -- Connections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["active"], ["established"]),
        (["active", "degraded", "active"], ["established", "degraded", "restored"]),
        (["active", "degraded", "degraded"], ["established", "degraded"]),
        (
            ["active", "reauthorization_required", "active"],
            ["established", "reauthorization_required", "restored"],
        ),
        (["active", "blocked"], ["established", "blocked"]),
        (["active", "revoking", "revoked"], ["established", "revoked"]),
        (["active", "revoking", "revoked", "active"], ["established", "revoked", "established"]),
    ],
)
async def test_connection_transitions(
    harness: "Harness", states: list[Status], expected: list[str]
) -> None:
    """Each transition of a connection is one event; what announces or repeats is none."""
    for revision, status in enumerate(states, 1):
        await harness.connection(revision, status, revision, reason="why")
    await harness.drain()
    assert [f"connection.{verb}" for verb in expected] == await harness.types()


async def test_old_state_of_a_connection_tells_nothing(harness: "Harness") -> None:
    """A redelivered older state does not undo a newer one."""
    await harness.connection(1, "active", 1)
    await harness.connection(2, "degraded", 2)
    taken = await harness.take()
    await harness.handler.handle(taken)
    await harness.handler.handle(taken)
    assert ["connection.established", "connection.degraded"] == await harness.types()


async def test_established_and_restored_tell_scopes(harness: "Harness") -> None:
    """Consent tells what was granted."""
    states: list[Status] = ["active", "degraded", "active"]
    for revision, status in enumerate(states, 1):
        await harness.connection(revision, status, revision)
    await harness.drain()
    first, _, last = await harness.events()
    assert ConnectionEstablished(scopes=("drive.readonly",)) == first.data
    assert ConnectionRestored(scopes=("drive.readonly",)) == last.data


async def test_revoked_connection_ends_its_sightings(harness: "Harness") -> None:
    """Who is revoked sees nothing: its files are gone unless another connection sees them."""
    await harness.connection(0, "active", 1)
    await harness.change(1, {}, item="f1")
    await harness.change(1, {}, item="f2")
    await harness.change(2, {}, item="f2", connection="c2")
    await harness.drain()
    before = len(await harness.events())
    await harness.connection(10, "revoked", 2)
    await harness.drain()
    told = [(event.type, event.subject) for event in (await harness.events())[before:]]
    assert ("connection.revoked", "c1") == told[0]
    assert [("file.removed", "f1"), ("sighting.lost", "f1"), ("sighting.lost", "f2")] == sorted(
        told[1:]
    )


async def unreadable_connection(harness: "Harness") -> None:
    """Let the store hold a head of connection c1 that no version wrote."""
    head = HeadWrite(tenant="t1", kind="connection", id="c1", expected=ABSENT, state=b"\xc1")
    await harness.store.append(Batch(heads=[head]))


async def test_revocation_of_a_connection_with_an_unreadable_head_is_buried_once(
    harness: "Harness",
) -> None:
    """What cannot be decided goes to the dead letters; the consumer goes on."""
    await unreadable_connection(harness)
    await harness.connection(10, "revoked", 2)
    await harness.change(11, {}, connection="c2")
    await harness.drain()
    (letter,) = await harness.dead()
    assert "the stored head is unreadable" in letter.reason
    assert ["sighting.gained", "file.discovered"] == await harness.types()


async def test_sweeping_an_unreadable_connection_is_undecidable(harness: "Harness") -> None:
    """A head that was spoilt since the revocation was decided raises what the handler buries."""
    await unreadable_connection(harness)
    await harness.connection(10, "revoked", 2)
    (taken,) = await harness.take()
    clock = SystemClock()
    refetcher = BusRefetcher(harness.bus, BusGraveyard(harness.bus), clock)
    committer = Committer(harness.store, Mint(SECRET), harness.bus, refetcher, clock)
    with pytest.raises(UndecidableError, match="unreadable"):
        await Sweeper(harness.store, committer).end_connection(decode_connection(taken.delivery))


async def test_long_sweep_beats_at_each_chunk(
    harness: "Harness", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection with very many files is ended without the process being taken for stuck."""
    monkeypatch.setattr(sweeping, "CHUNK_FILES", 1)
    for number in range(5):
        await harness.change(1, {}, item=f"f{number}")
    await harness.drain()
    await harness.connection(10, "revoked", 1)
    (taken,) = await harness.take()
    await harness.handler.handle([taken])
    clock, beats = SystemClock(), list[None]()
    refetcher = BusRefetcher(harness.bus, BusGraveyard(harness.bus), clock)
    committer = Committer(harness.store, Mint(SECRET), harness.bus, refetcher, clock)
    sweeper = Sweeper(harness.store, committer, beat=lambda: beats.append(None))
    await sweeper.end_connection(decode_connection(taken.delivery))
    assert 5 <= len(beats)


async def test_revocation_overtaken_by_a_new_consent_ends_nothing(harness: "Harness") -> None:
    """A redelivered revocation that is no longer the latest state leaves sightings alone."""
    await harness.connection(1, "revoked", 1)
    taken = await harness.take()
    await harness.handler.handle(taken)
    await harness.connection(2, "active", 2)
    await harness.change(0.5, {})
    await harness.drain()
    before = await harness.events()
    await harness.handler.handle(taken)
    assert before == await harness.events()


async def test_raw_of_a_revoked_connection_leaves_no_lasting_sighting(harness: "Harness") -> None:
    """A raw that was under way when its connection was revoked is told, and ends at once."""
    await harness.connection(10, "active", 1)
    await harness.connection(20, "revoked", 2)
    await harness.drain()
    before = len(await harness.events())
    await harness.change(19, {})
    await harness.drain()
    assert ["sighting.gained", "file.discovered", "sighting.lost", "file.removed"] == (
        (await harness.types())[before:]
    )


class Between(MemoryStore):
    """A store in which something happens just before the next append."""

    def __init__(self) -> None:
        super().__init__()
        self.happens: Callable[[], Awaitable[None]] | None = None

    async def append(self, batch: Batch) -> Appended:
        """Let it happen, then append."""
        if (happens := self.happens) is not None:
            self.happens = None
            await happens()
        return await super().append(batch)


async def test_raw_decided_while_another_replica_revokes_leaves_no_lasting_sighting(
    harness: "Harness",
) -> None:
    """The connection ended between reading its head and the append: what was told ends too."""
    store = harness.store = Between()
    await harness.connection(10, "active", 1)
    await harness.drain()
    await harness.change(19, {})
    taken = await harness.take()
    await harness.connection(20, "revoked", 2)
    store.happens = partial(harness.drain, handler=harness.handler_on(store))
    await harness.handler_on(store).handle(taken)
    assert ["sighting.gained", "file.discovered", "sighting.lost", "file.removed"] == (
        [kind for kind in await harness.types() if not kind.startswith("connection")]
    )
    assert 0 == await harness.unsettled()


async def test_undecodable_connection_state_is_buried(harness: "Harness") -> None:
    """DRIVE_CONNECTION has its dead letters too."""
    await harness.publish(subjects.connection("t1", "c1"), b"{}")
    await harness.drain()
    assert ["DRIVE_CONNECTION"] == [letter.stream for letter in await harness.dead()]


class JumpingClock(SystemClock):
    """A clock that is two hours ahead, then two hours behind, and so on."""

    def __init__(self) -> None:
        self._jumps = itertools.cycle([dt.timedelta(hours=2), dt.timedelta(hours=-2)])

    def now(self) -> dt.datetime:
        """Return some time."""
        return START + next(self._jumps)


async def test_clock_that_jumps_changes_nothing(harness: "Harness") -> None:
    """Time comes from what was observed: a host that jumps by hours tells the same events."""
    for version in range(1, 6):
        await harness.change(version, {"version": str(version), "name": f"n{version}"})
    jumping = harness.handler_on(harness.store, JumpingClock())
    taken = await harness.take()
    for one in taken:
        await jumping.handle([one])
    told = await harness.events()
    assert ["sighting.gained", "file.discovered", *["file.renamed"] * 4] == [e.type for e in told]
    harness.store = MemoryStore()
    await harness.handler_on(harness.store).handle(taken)
    assert [event.id for event in told] == [event.id for event in await harness.events()]


async def test_tens_of_thousands_of_duplicates_are_one_fact(harness: "Harness") -> None:
    """However often a message comes, in however large batches, it is told once."""
    for number in range(10):
        await harness.change(1, {}, item=f"f{number}")
    taken = await harness.take()
    for _ in range(5):
        await harness.handler.handle(taken * 400)
    assert Counter({"sighting.gained": 10, "file.discovered": 10}) == (
        Counter(await harness.types())
    )
