"""What every EventStore must do; run against each adapter.

Use: subclass `EventStoreContract` in a test file, with a fixture `store` that gives a fresh one.
"""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import datetime as dt
import itertools
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from drivewake.contracts import keys
from drivewake.contracts.events import EVENT_SOURCE, Event, FileRef, FileRenamed
from drivewake.eventstore import schema
from drivewake.eventstore.codec import new_event, to_event
from drivewake.eventstore.errors import HeadMovedError, PoisonError
from drivewake.eventstore.store import (
    ABSENT,
    ANY,
    EXISTS,
    Appended,
    Applied,
    Batch,
    EventStore,
    Head,
    HeadWrite,
    Mark,
    NewEvent,
    Selection,
)

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
TEMPLATE = "eventstore"
"""Name of the template database that holds the store's schema."""
PATIENCE_S = 30.0
"""How long something that must happen may take on a busy machine."""
SECRET = b"a secret of the suite"
_numbers = itertools.count(1)


def migrated(dsn: str) -> None:
    """Give a database the store's schema; for `template_database`, also inside a running loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, schema.migrate(dsn)).result()


def an_event(
    number: int | None = None,
    *,
    tenant: str = "acme",
    connection: str = "c1",
    file: str = "f1",
    at: dt.datetime = NOON,
) -> NewEvent:
    """Return an event; the same arguments (with a number) give the same key."""
    version = next(_numbers) if number is None else number
    data = FileRenamed(
        file=FileRef(id=file, name=f"name {version}", mime_type="text/plain", version=version),
        before=f"name {version - 1}",
        after=f"name {version}",
    )
    key = keys.event_key(SECRET, at, *keys.file_state_parts(tenant, file, version, "file.renamed"))
    return new_event(
        Event(
            id=str(key),
            source=EVENT_SOURCE,
            type="file.renamed",
            subject=file,
            time=at,
            tenant=tenant,
            connection=connection,
            data=data,
        )
    )


def a_head(expected: int, state: bytes = b"state", id_: str = "f1") -> HeadWrite:
    """Return the write of a head of the tenant `acme`."""
    return HeadWrite(tenant="acme", kind="file", id=id_, expected=expected, state=state)


def a_mark(partition: int, *, of: int = 2, then: NewEvent | None = None) -> Mark:
    """Return a mark on one and the same fact."""
    return Mark(tenant="acme", log="l1", fact="snapshot s1", partition=partition, of=of, then=then)


def an_applied(cursor: str, *, minute: int = 0, partition: int = 0) -> Applied:
    """Return an applied cursor of one and the same log."""
    return Applied(
        tenant="acme",
        connection="c1",
        log="l1",
        partition=partition,
        cursor=cursor,
        observed_at=NOON + dt.timedelta(minutes=minute),
    )


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when the condition holds; TimeoutError if that takes implausibly long."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.002)


async def keys_of(store: EventStore, lane: int = 0, after: int = 0) -> Sequence[uuid.UUID]:
    """Return the keys of a lane, in order."""
    return [event.key for event in await store.read(lane, after, 1000)]


class EventStoreContract:
    """The promises of `drivewake.eventstore.store`, one by one."""

    # -- append and read ---------------------------------------------------------------------

    async def test_event_comes_back_as_it_was_appended(self, store: EventStore) -> None:
        """An event is read back with every field, its bytes untouched, and its place."""
        event = an_event(file='a "quoted" 📁 id')
        assert Appended(first_position=1, stored=1) == await store.append(Batch(events=[event]))
        (stored,) = await store.read(0, 0, 10)
        assert msgspec.structs.asdict(event) | {"lane": 0, "position": 1} == (
            msgspec.structs.asdict(stored)
        )
        assert event.stream == to_event(stored).subject

    async def test_empty_batch_changes_nothing(self, store: EventStore) -> None:
        """An empty batch is accepted and leaves no trace."""
        assert Appended(first_position=0, stored=0) == await store.append(Batch())
        assert 0 == await store.last_position(0)

    async def test_positions_are_dense_over_batches(self, store: EventStore) -> None:
        """Batches follow each other without a hole, in the order of their events."""
        first, second = [an_event() for _ in range(3)], [an_event() for _ in range(2)]
        assert 1 == (await store.append(Batch(events=first))).first_position
        assert 4 == (await store.append(Batch(events=second))).first_position
        read = await store.read(0, 0, 10)
        assert [event.position for event in read] == [1, 2, 3, 4, 5]
        assert [event.key for event in [*first, *second]] == [event.key for event in read]

    async def test_lanes_are_independent(self, store: EventStore) -> None:
        """Each lane has its own positions, from 1."""
        one, other = an_event(tenant="one"), an_event(tenant="other")
        await store.append(Batch(events=[one]))
        assert 1 == (await store.append(Batch(events=[other], lane=3))).first_position
        assert [one.key] == await keys_of(store)
        assert [other.key] == await keys_of(store, lane=3)
        assert tuple([await store.last_position(lane) for lane in (0, 3, 4)]) == (1, 1, 0)

    async def test_read_pages_from_a_position(self, store: EventStore) -> None:
        """Reading is exclusive of the position it starts behind, and stops at the limit."""
        await store.append(Batch(events=[an_event() for _ in range(5)]))
        assert [event.position for event in await store.read(0, 2, 2)] == [3, 4]
        assert [] == list(await store.read(0, 5, 2))
        assert [] == list(await store.read(0, 99, 2))

    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            (Selection(), [1, 2, 3, 4]),
            (Selection(tenant="globex"), [4]),
            (Selection(connection="c2"), [2]),
            (Selection(stream="f2"), [3]),
            (Selection(stream="f2", connection="c2"), []),
            (Selection(types=("file.renamed", "file.moved")), [1, 2, 3, 4]),
            (Selection(types=("file.moved",)), []),
        ],
    )
    async def test_selection_narrows_a_read(
        self, store: EventStore, selection: Selection, expected: list[int]
    ) -> None:
        """Every field of a selection that is not empty must match."""
        events = [
            an_event(),
            an_event(connection="c2"),
            an_event(file="f2"),
            an_event(tenant="globex"),
        ]
        await store.append(Batch(events=events))
        assert expected == [event.position for event in await store.read(0, 0, 10, selection)]

    async def test_keys_of_any_time_are_stored(self, store: EventStore) -> None:
        """A fact may be decades old, or dated by a broken clock: it is stored all the same."""
        times = [dt.datetime(year, 6, 1, tzinfo=dt.UTC) for year in (1971, 2011, 2026, 2031, 9000)]
        events = [an_event(at=at) for at in times]
        assert 5 == (await store.append(Batch(events=events))).stored
        assert (0, 5) == await self._again(store, Batch(events=events))

    # -- duplicates --------------------------------------------------------------------------

    @staticmethod
    async def _again(store: EventStore, batch: Batch) -> tuple[int, int]:
        result = await store.append(batch)
        return result.stored, len(result.duplicates)

    async def test_known_keys_are_reported_and_not_stored_again(self, store: EventStore) -> None:
        """A batch with known keys stores the others densely and reports the known ones."""
        old, new = [an_event() for _ in range(3)], [an_event() for _ in range(2)]
        await store.append(Batch(events=old))
        mixed = Batch(events=[old[2], new[0], old[0], new[1]])
        assert Appended(
            first_position=4, stored=2, duplicates=(old[2].key, old[0].key)
        ) == await store.append(mixed)
        assert [event.key for event in [*old, *new]] == await keys_of(store)

    async def test_key_twice_in_a_batch_is_stored_once(self, store: EventStore) -> None:
        """The second of two equal keys in one batch is a duplicate of the first."""
        one, other = an_event(), an_event()
        assert Appended(first_position=1, stored=2, duplicates=(one.key, one.key)) == (
            await store.append(Batch(events=[one, one, other, one]))
        )
        assert [one.key, other.key] == await keys_of(store)

    async def test_batch_again_stores_nothing(self, store: EventStore) -> None:
        """Appending a batch a second time changes nothing and leaves no hole behind."""
        batch = Batch(events=[an_event() for _ in range(3)])
        await store.append(batch)
        assert (0, 3) == await self._again(store, batch)
        assert 0 == (await store.append(batch)).first_position
        assert 4 == (await store.append(Batch(events=[an_event()]))).first_position

    async def test_large_batch_tells_known_late_and_new_keys_apart(self, store: EventStore) -> None:
        """Among a hundred, keys known, keys older than any, and new ones find their places."""
        seconds = iter(range(300))

        def some(count: int) -> list[NewEvent]:
            return [an_event(at=NOON + dt.timedelta(seconds=next(seconds))) for _ in range(count)]

        late, old, new = some(50), some(100), some(50)
        assert Appended(first_position=1, stored=100) == await store.append(Batch(events=old))
        mixed = [*new[:25], *late, *old[50:], *new[25:], new[0]]
        assert Appended(
            first_position=101,
            stored=100,
            duplicates=(*(event.key for event in old[50:]), new[0].key),
        ) == await store.append(Batch(events=mixed))
        stored = [*old, *new[:25], *late, *new[25:]]
        assert [event.key for event in stored] == await keys_of(store)

    async def test_concurrent_appends_store_each_key_once(self, store: EventStore) -> None:
        """Writers that race with overlapping batches store each key once, densely."""
        events = [an_event() for _ in range(30)]
        batches = [Batch(events=events[start : start + 10]) for start in range(0, 21, 5)] * 2
        results = await asyncio.gather(*(store.append(batch) for batch in batches))
        assert 30 == sum(result.stored for result in results)
        read = await store.read(0, 0, 100)
        assert list(range(1, 31)) == [event.position for event in read]
        assert {event.key for event in events} == {event.key for event in read}

    # -- heads -------------------------------------------------------------------------------

    async def test_heads_count_their_revisions(self, store: EventStore) -> None:
        """A head begins at revision 1 and rises by one with every write."""
        assert {} == dict(await store.heads("acme", "file", ["f1"]))
        await store.append(Batch(heads=[a_head(ABSENT, b"one")]))
        await store.append(Batch(heads=[a_head(1, b"two")]))
        assert {"f1": Head(revision=2, state=b"two")} == dict(
            await store.heads("acme", "file", ["f1", "f2"])
        )

    async def test_heads_of_tenants_and_kinds_are_apart(self, store: EventStore) -> None:
        """A head is named by tenant, kind and id together."""
        await store.append(Batch(heads=[a_head(ABSENT)]))
        assert {} == dict(await store.heads("globex", "file", ["f1"]))
        assert {} == dict(await store.heads("acme", "sighting", ["f1"]))
        assert {} == dict(await store.heads("acme", "file", []))

    async def test_ids_of_heads_are_paged(self, store: EventStore) -> None:
        """The ids of one kind come page by page, each once, and no others."""
        ids = {f"f{number}" for number in range(7)}
        await store.append(Batch(heads=[a_head(ABSENT, id_=id_) for id_ in ids]))
        await store.append(Batch(heads=[msgspec.structs.replace(a_head(ABSENT), kind="other")]))
        found: list[str] = []
        while page := await store.head_ids("acme", "file", found[-1] if found else "", 3):
            assert len(page) <= 3
            found += page
        assert (7, ids) == (len(found), set(found))
        assert [] == list(await store.head_ids("globex", "file", "", 3))

    @pytest.mark.parametrize("expected", [2, 7, ABSENT])
    async def test_moved_head_refuses_the_whole_batch(
        self, store: EventStore, expected: int
    ) -> None:
        """With one head that is not as expected, nothing of the batch is written."""
        await store.append(Batch(heads=[a_head(ABSENT, b"one")], events=[an_event()]))
        batch = Batch(
            events=[an_event()],
            heads=[a_head(ABSENT, id_="f2"), a_head(expected, b"two")],
            marks=[a_mark(0, of=1, then=an_event())],
            applied=[an_applied("10")],
        )
        with pytest.raises(HeadMovedError) as caught:
            await store.append(batch)
        (moved,) = caught.value.moved
        assert ("acme", "file", "f1", expected, 1) == msgspec.structs.astuple(moved)
        assert 1 == await store.last_position(0)
        assert {"f1": Head(revision=1, state=b"one")} == dict(
            await store.heads("acme", "file", ["f1", "f2"])
        )
        assert [] == list(await store.applied("acme", "c1"))
        # The mark was not set either: setting it now still completes its fact.
        assert 1 == (await store.append(msgspec.structs.replace(batch, events=(), heads=()))).stored

    async def test_missing_head_is_a_moved_head(self, store: EventStore) -> None:
        """Who expects a revision of a head that is not there is told that there is none."""
        with pytest.raises(HeadMovedError) as caught:
            await store.append(Batch(heads=[a_head(3), a_head(EXISTS, id_="f2")]))
        assert [(m.expected, m.found) for m in caught.value.moved] == [(3, 0), (EXISTS, 0)]

    async def test_named_expectations(self, store: EventStore) -> None:
        """ANY writes whatever is there, EXISTS whatever revision is there."""
        await store.append(Batch(heads=[a_head(ANY, b"one")]))
        await store.append(Batch(heads=[a_head(ANY, b"two")]))
        await store.append(Batch(heads=[a_head(EXISTS, b"three")]))
        assert {"f1": Head(revision=3, state=b"three")} == dict(
            await store.heads("acme", "file", ["f1"])
        )

    async def test_one_of_racing_writers_advances_a_head(self, store: EventStore) -> None:
        """Of writers that decided upon the same revision one wins; the others wrote nothing."""
        await store.append(Batch(heads=[a_head(ABSENT)]))
        results = await asyncio.gather(
            *(store.append(Batch(heads=[a_head(1)], events=[an_event()])) for _ in range(8)),
            return_exceptions=True,
        )
        assert 7 == sum(isinstance(result, HeadMovedError) for result in results)
        assert 1 == await store.last_position(0)
        assert 2 == (await store.heads("acme", "file", ["f1"]))["f1"].revision

    async def test_duplicates_do_not_hold_heads_back(self, store: EventStore) -> None:
        """Heads advance even if every event of the batch is known."""
        event = an_event()
        await store.append(Batch(events=[event]))
        result = await store.append(Batch(events=[event], heads=[a_head(ABSENT)]))
        assert (event.key,) == result.duplicates
        assert 1 == (await store.heads("acme", "file", ["f1"]))["f1"].revision

    # -- facts of whole logs -----------------------------------------------------------------

    async def test_last_mark_appends_its_event(self, store: EventStore) -> None:
        """The event of a fact is stored with the last of its marks, whatever their order."""
        done = an_event()
        for partition in (2, 0):
            assert (
                await store.append(Batch(marks=[a_mark(partition, of=3, then=done)]))
            ).stored == 0
        last = Batch(events=[an_event()], marks=[a_mark(1, of=3, then=done)])
        assert Appended(first_position=1, stored=2) == await store.append(last)
        assert [last.events[0].key, done.key] == await keys_of(store)

    async def test_marks_again_change_nothing(self, store: EventStore) -> None:
        """A mark that is set already neither counts twice nor completes a fact twice."""
        done = an_event()
        for partition in (0, 0, 1, 1, 0):
            await store.append(Batch(marks=[a_mark(partition, then=done)]))
        assert [done.key] == await keys_of(store)

    async def test_marks_of_one_batch_complete_a_fact(self, store: EventStore) -> None:
        """One batch may carry several marks of a fact, and marks that say nothing."""
        done = an_event()
        batch = Batch(marks=[a_mark(partition, of=3, then=done) for partition in range(3)])
        assert 1 == (await store.append(batch)).stored
        assert 0 == (await store.append(Batch(marks=[a_mark(0, of=4), a_mark(3, of=4)]))).stored

    async def test_racing_marks_complete_once(self, store: EventStore) -> None:
        """Partitions that finish together complete their fact once."""
        done = an_event()
        results = await asyncio.gather(
            *(
                store.append(Batch(marks=[a_mark(partition, of=8, then=done)]))
                for partition in range(8)
            )
        )
        assert 1 == sum(result.stored for result in results)
        assert 0 == sum(len(result.duplicates) for result in results)

    async def test_applied_cursors_only_rise(self, store: EventStore) -> None:
        """The youngest observation stays, in one batch as over several."""
        await store.append(Batch(applied=[an_applied("b", minute=2), an_applied("a", minute=1)]))
        await store.append(Batch(applied=[an_applied("x", partition=1)]))
        await store.append(Batch(applied=[an_applied("old", minute=0)]))
        expected = [an_applied("b", minute=2), an_applied("x", partition=1)]
        assert expected == list(await store.applied("acme", "c1"))
        await store.append(Batch(applied=[an_applied("c", minute=3)]))
        assert "c" == (await store.applied("acme", "c1"))[0].cursor
        assert [] == list(await store.applied("acme", "c2"))

    # -- poison ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "fault",
        [
            {"stream": "a\x00b"},
            {"tenant": "\ud800"},
            {"data": b'{"a": "\xff"}'},
            {"data": b'{"a": \x00}'},
            {"data": b"{"},
            {"data": b"[" * 100_000 + b"]" * 100_000},
            {"metadata": b""},
            {"data": b'"' + b"x" * (768 << 10) + b'"'},
        ],
        ids=["nul", "surrogate", "not utf-8", "nul in json", "truncated", "deep", "empty", "large"],
    )
    async def test_poison_is_named_and_nothing_is_written(
        self, store: EventStore, fault: dict[str, object]
    ) -> None:
        """What can never be stored refuses the batch by name; the rest can then be stored."""
        good, bad = an_event(), an_event()
        bad = msgspec.structs.replace(bad, **fault)
        with pytest.raises(PoisonError) as caught:
            await store.append(Batch(events=[good, bad], heads=[a_head(ABSENT)]))
        assert (bad.key,) == caught.value.keys
        assert 0 == await store.last_position(0)
        assert (
            await store.append(Batch(events=[good], heads=[a_head(ABSENT)]))
        ).first_position == 1

    @pytest.mark.parametrize("id_", ["a\x00b", "x" * 10_000], ids=["nul", "long"])
    async def test_poison_in_a_head_names_no_event(self, store: EventStore, id_: str) -> None:
        """A head that can never be stored refuses the batch and blames no event."""
        with pytest.raises(PoisonError) as caught:
            await store.append(Batch(events=[an_event()], heads=[a_head(ABSENT, id_=id_)]))
        assert () == caught.value.keys
        assert 0 == await store.last_position(0)

    # -- places and locks of readers ---------------------------------------------------------

    async def test_checkpoints_only_rise(self, store: EventStore) -> None:
        """A place is kept by name and lane, and never goes back."""
        assert 0 == await store.checkpoint("relay", 0)
        await store.save_checkpoint("relay", 0, 5)
        await store.save_checkpoint("relay", 0, 3)
        await store.save_checkpoint("relay", 1, 7)
        await store.save_checkpoint("other", 0, 1)
        assert (
            await store.checkpoint("relay", 0),
            await store.checkpoint("relay", 1),
            await store.checkpoint("other", 0),
        ) == (5, 7, 1)

    async def test_lock_is_held_by_one(self, store: EventStore) -> None:
        """Who asks for a held lock gets it when it is given back, and not before."""
        order = []

        async def second() -> None:
            async with store.exclusive("relay", 0):
                order.append("second")

        async with store.exclusive("relay", 0) as lease:
            waiting = asyncio.create_task(second())
            async with store.exclusive("relay", 1), store.exclusive("other", 0):
                order.append("others")
            await lease.check()
            order.append("first")
        await waiting
        assert order == ["others", "first", "second"]

    async def test_lock_is_given_back_on_errors(self, store: EventStore) -> None:
        """A holder that fails gives the lock back."""
        with pytest.raises(ZeroDivisionError):
            async with store.exclusive("relay", 0):
                raise ZeroDivisionError
        async with store.exclusive("relay", 0) as lease:
            await lease.check()
