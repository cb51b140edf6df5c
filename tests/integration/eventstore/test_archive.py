"""Months that go to the archive: proved before they go, read back as if they had stayed."""

import asyncio
import base64
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from drivewake.eventstore.archive import writing
from drivewake.eventstore.archive.files import Folder
from drivewake.eventstore.archive.records import Manifest, decode_manifest
from drivewake.eventstore.archive.writing import Archivist, Step, verify
from drivewake.eventstore.connections import READER, Connection, connect
from drivewake.eventstore.errors import ArchivedError, ArchiveError, ArchiveUnavailableError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import ABSENT, Batch, NewEvent, Selection, StoredEvent
from drivewake.lab.suites.eventstore import a_head, an_event
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.keyring import Keyring
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.memory import MemoryBus

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
MARCH = dt.date(2026, 3, 1)
PART = 2


class At(SystemClock):
    """A clock that stands."""

    def now(self) -> dt.datetime:
        """Return the instant."""
        return NOW


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    """An empty archive."""
    return Folder(tmp_path)


@pytest.fixture
async def keeper(database: str) -> AsyncIterator[Connection]:
    """A session with the rights of a keeper, and no others."""
    session = await connect(database, READER)
    await session.execute("set role drivewake_keeper")
    yield session
    await session.close()


def archivist(session: Connection, files: Folder, crash_at: Step | None = None) -> Archivist:
    """Return an archivist that dies when it begins a step."""

    def progress(month: dt.date, step: Step, events: int) -> None:
        if step == crash_at:
            raise SystemExit

    return Archivist(session, files, At(), progress=progress, part_events=PART)


def facts(lane: int = 0) -> list[NewEvent]:
    """Return events of a year, out of order: what was long ago is often told late."""
    days = [9, 2, 200, 40, 41, 3, 280, 75, 10, 300, *range(1, 300, 7)]
    return [
        an_event(
            tenant=f"tenant{lane}", file=f"f{day % 5}", at=NOW - dt.timedelta(days=day, hours=1)
        )
        for day in days
    ]


async def fill(store: PostgresStore, lanes: int = 1) -> None:
    """Append the events of a year to each lane, a few at a time."""
    for lane in range(lanes):
        events = facts(lane)
        for start in range(0, len(events), 5):
            await store.append(Batch(events=events[start : start + 5], lane=lane))


async def everything(store: PostgresStore | SealedStore, lane: int = 0) -> list[StoredEvent]:
    """Read a lane from its beginning, a few events at a time."""
    found: list[StoredEvent] = []
    while events := await store.read(lane, found[-1].position if found else 0, 4):
        found += events
    return found


async def test_archived_and_live_are_one_log(
    database: str, keeper: Connection, files: Folder
) -> None:
    """After old months went, every read through the archive gives what it gave before."""
    chosen = Selection(tenant="tenant0", stream="f3", types=("file.renamed",))
    async with PostgresStore.open(database, archive=files) as store:
        await fill(store, lanes=2)
        before = [await everything(store, lane) for lane in (0, 1)]
        selected = await store.read(0, 3, 5, chosen)
        done = await archivist(keeper, files).run(6)
        assert [dt.date(2026, month, 1) for month in range(1, 5)] == [one.month for one in done]
        assert before == [await everything(store, lane) for lane in (0, 1)]
        assert selected == await store.read(0, 3, 5, chosen)
        assert list(before[1][20:30]) == list(await store.read(1, 20, 10))
        assert [*await writing.months(keeper)][:2] == [
            dt.date(2026, 5, 1),
            dt.date(2026, 6, 1),
        ]
    assert 0 == sum([await verify(files, one) for one in done]) - sum(one.events for one in done)
    assert sum(one.events for one in done) > 3 * PART


async def test_who_was_not_told_of_the_archive_is_refused(
    database: str, keeper: Connection, files: Folder
) -> None:
    """A read that would pass over archived events raises; one that begins behind them works."""
    async with PostgresStore.open(database) as store:
        await fill(store)
        last = await store.last_position(0)
        gone = {
            stored.position
            for stored in await store.read(0, 0, 1000)
            if stored.occurred_at < dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
        }
        await archivist(keeper, files).run(6)
        for query in (Selection(), Selection(tenant="tenant0")):
            with pytest.raises(ArchivedError):
                await store.read(0, 0, 1000, query)
        assert [] == list(await store.read(0, last, 10))
        assert [] == list(await store.read(0, last, 10, Selection(tenant="tenant0")))
        for after in range(last):
            if after + 1 in gone:
                with pytest.raises(ArchivedError):
                    await store.read(0, after, 1)
            else:
                assert [after + 1] == [one.position for one in await store.read(0, after, 1)]


async def test_a_rebuild_over_the_archive_gives_the_same_read_model(
    database: str, keeper: Connection, files: Folder
) -> None:
    """The current tree built from archive and store equals the one built before."""
    query = "select * from current_tree.node order by tenant, file"
    async with PostgresStore.open(database, archive=files) as store:
        await fill(store)
        runner = ProjectionRunner(database, store, CurrentTree())
        await runner.catch_up()
        owner = await asyncpg.connect(database)
        before = await owner.fetch(query)
        await archivist(keeper, files).run(4)
        await runner.rebuild()
        assert before == await owner.fetch(query)
        assert 5 == len(before)
        await owner.close()


async def test_a_read_model_waits_for_an_archive_that_is_away(
    database: str, keeper: Connection, files: Folder
) -> None:
    """A service that cannot read the archive tries again, and passes over nothing."""
    away = [ArchiveUnavailableError(), ArchiveUnavailableError()]

    class Flickering(Folder):
        async def get(self, name: str, *, limit_bytes: int) -> bytes:
            if away:
                raise away.pop()
            return await super().get(name, limit_bytes=limit_bytes)

    async with PostgresStore.open(database, archive=Flickering(files.path)) as store:
        await fill(store)
        await archivist(keeper, files).run(4)
        stop = Stop()
        runner = ProjectionRunner(database, store, CurrentTree())
        running = asyncio.create_task(runner.run(MemoryBus(), stop))
        reached, last = 0, await store.last_position(0)
        for _ in range(600):
            if reached == last or running.done():
                break
            await asyncio.sleep(0.05)
            reached = (await runner.outlook()).live_position
        stop.request()
        await running
        assert ([], last) == (away, reached)


@pytest.mark.parametrize("step", ["write", "verify", "detach", "drop", "done"])
async def test_a_run_that_dies_is_repeated(
    step: Step, database: str, keeper: Connection, files: Folder
) -> None:
    """Killed before any step, the next run finishes it; nothing is lost and nothing double."""
    async with PostgresStore.open(database, archive=files) as store:
        await fill(store)
        before = await everything(store)
        with pytest.raises(SystemExit):
            await archivist(keeper, files, crash_at=step).run(6)
        assert before == await everything(store)
        await archivist(keeper, files).run(6)
        assert before == await everything(store)
    done = await writing.archived(keeper)
    assert [("dropped", 1)] * 4 == [(one.state, one.manifest.number) for one in done]
    owner = await asyncpg.connect(database)
    left = await owner.fetch("select relname from pg_class where relname like 'archived_2%'")
    assert [] == left
    await owner.close()


@pytest.mark.parametrize("fault", ["missing", "cut", "swapped", "no manifest", "other manifest"])
async def test_nothing_goes_that_cannot_be_read_back(
    fault: str, database: str, keeper: Connection, files: Folder
) -> None:
    """A month whose archive is damaged is neither detached nor dropped."""

    def damage(month: dt.date, step: Step, events: int) -> None:
        if step == "verify" and month == MARCH:
            _damage(files.path, fault)

    async with PostgresStore.open(database, archive=files) as store:
        await fill(store)
        before = await store.read(0, 0, 1000)
        worker = Archivist(keeper, files, At(), progress=damage, part_events=PART)
        with pytest.raises(ArchiveError):
            await worker.run(6)
        assert before == await store.read(0, 0, 1000)
    assert [1, 2] == [one.manifest.month.month for one in await writing.archived(keeper)]


def _damage(path: Path, fault: str) -> None:
    one, two = sorted(path.glob("events/2026-03/1/lane-0/*.zst"))[:2]
    manifest = path / "events/2026-03/1/manifest.json"
    match fault:
        case "missing":
            two.unlink()
        case "cut":
            two.write_bytes(two.read_bytes()[:-9])
        case "swapped":
            two.write_bytes(one.read_bytes())
        case "no manifest":
            manifest.unlink()
        case _:
            manifest.write_bytes(manifest.read_bytes().replace(b'"events": 2', b'"events": 1'))


async def test_a_month_that_changes_meanwhile_is_written_anew(
    database: str, keeper: Connection, files: Folder
) -> None:
    """An event that comes between writing and detaching is archived too, not dropped."""
    late = an_event(tenant="tenant0", at=dt.datetime(2026, 3, 31, tzinfo=dt.UTC))

    async with PostgresStore.open(database, archive=files) as store:
        await fill(store)
        asked: list[str] = []

        class Interfering(Folder):
            async def get(self, name: str, *, limit_bytes: int) -> bytes:
                if not asked and "2026-03" in name:
                    asked.append(name)
                    await store.append(Batch(events=[late]))
                return await super().get(name, limit_bytes=limit_bytes)

        await Archivist(keeper, Interfering(files.path), At(), part_events=PART).run(7)
        assert late.key == (await everything(store))[-1].key


async def test_late_facts_of_an_archived_month_are_archived_beside_it(
    database: str, keeper: Connection, files: Folder
) -> None:
    """They get a partition of their own again, and a second archive of the same month."""
    late = an_event(tenant="tenant0", at=dt.datetime(2026, 3, 31, tzinfo=dt.UTC))
    async with PostgresStore.open(database, archive=files) as store:
        await fill(store)
        first = await archivist(keeper, files).run(7)
    async with PostgresStore.open(database, archive=files) as store:
        await store.append(Batch(events=[late]))
        assert 0 == await store.rest_events(1)
        second = await archivist(keeper, files).run(7)
        assert late.key == (await everything(store))[-1].key
    assert [(MARCH, 1), (MARCH, 2)] == [(one.month, one.number) for one in (first[-1], *second)]


async def test_what_may_still_be_replayed_stays(
    database: str, keeper: Connection, files: Folder
) -> None:
    """A young month is refused by us, and by the database to whoever asks it without us."""
    async with PostgresStore.open(database) as store:
        await fill(store)
        with pytest.raises(ValueError, match="may still be replayed"):
            await archivist(keeper, files).run(writing.LEAST_MONTHS - 1)
        with pytest.raises(asyncpg.CheckViolationError, match="may go yet"):
            await keeper.execute(
                "select eventstore.detach_month(date_trunc('month', now())::date, '', '{}', '{}',"
                " '{}')"
            )
        await store.save_checkpoint("relay", 0, 3)
        with pytest.raises(ArchiveError, match="relay has not published"):
            await archivist(keeper, files).run(6)


async def test_sealed_events_stay_sealed_and_open_as_before(
    database: str, keeper: Connection, files: Folder
) -> None:
    """The archive holds no plain data of a sealed store, and its readers see what they saw."""
    keyring = Keyring.parse(SecretStr(f"a:{base64.b64encode(bytes(range(32))).decode()}"))
    async with PostgresStore.open(database, archive=files) as postgres:
        store = SealedStore(postgres, postgres.data_keys(keyring))
        events = facts()
        await store.append(Batch(events=events, heads=[a_head(ABSENT)]))
        before = await everything(store)
        done = await archivist(keeper, files).run(6)
        assert before == await everything(store)
        assert [event.data for event in events] == [event.data for event in before]
        assert all(b'"sealed":' in text for text in _texts(files, done))
        assert not any(b"before" in text for text in _texts(files, done))


def _texts(files: Folder, manifests: Sequence[Manifest]) -> list[bytes]:
    import zstandard  # noqa: PLC0415

    return [
        zstandard.ZstdDecompressor().decompress((files.path / part.name).read_bytes())
        for one in manifests
        for part in one.parts
    ]


def test_a_manifest_of_the_future_is_refused() -> None:
    """A format that this version does not know is not taken for one that it does."""
    with pytest.raises(ArchiveError, match="not a manifest"):
        decode_manifest(b"{}")
