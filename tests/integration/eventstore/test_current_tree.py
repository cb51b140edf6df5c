"""The current tree, built from events in a real database."""

import datetime as dt
from collections.abc import AsyncIterator
from random import Random

import asyncpg
import pytest

from drivewake.contracts import events as ev
from drivewake.contracts.keys import event_key
from drivewake.eventstore import projection
from drivewake.eventstore.codec import new_event
from drivewake.eventstore.connections import READER, connect
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections import current_tree
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.projections.tree_paths import FOLDER
from drivewake.eventstore.store import Batch, NewEvent

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


class World:
    """A store, its tree, and a hand that writes events."""

    def __init__(self, dsn: str, store: PostgresStore) -> None:
        self.dsn = dsn
        self.store = store
        self.runner = ProjectionRunner(dsn, store, CurrentTree())
        self.written = 0

    def event(self, subject: str, data: ev.EventData) -> NewEvent:
        """Return an event of connection c1 about a file."""
        self.written += 1
        return new_event(
            ev.Event(
                id=str(event_key(b"0123456789abcdef", NOON, "acme", self.written)),
                source=ev.EVENT_SOURCE,
                type=ev.type_of(data),
                subject=subject,
                time=NOON,
                tenant="acme",
                connection="c1",
                data=data,
            )
        )

    async def write(self, *data: ev.EventData) -> None:
        """Append events in one batch and apply them."""
        events = [
            self.event(one.file if isinstance(one.file, str) else one.file.id, one)
            for one in data
            if hasattr(one, "file")
        ]
        await self.store.append(Batch(events=events))
        await self.runner.catch_up()

    async def rows(self) -> tuple[list[tuple[object, ...]], ...]:
        """Return everything that the tree holds."""
        session = await connect(self.dsn, READER)
        try:
            return tuple(
                [
                    [
                        tuple(row)
                        for row in await session.fetch(f"select * from {table} order by 1, 2, 3")
                    ]
                    for table in ("current_tree.node", "current_tree.sighting")
                ]
            )
        finally:
            await session.close()

    async def paths(self, *, viewer: str = "", root: str = "root") -> dict[str, str | None]:
        """Return path and md5 of every live file."""
        session = await connect(self.dsn, READER)
        try:
            found = await current_tree.paths(session, "acme", viewer=viewer, root=root)
        finally:
            await session.close()
        return {"/".join(placed.path): placed.node.md5 for placed in found}


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    """A store with an empty tree."""
    async with PostgresStore.open(database) as store:
        yield World(database, store)


def ref(id_: str, version: int = 1, *, name: str = "", parent: str | None = "root") -> ev.FileRef:
    """Return a file, named like its id unless told otherwise; folders begin with d."""
    return ev.FileRef(
        id=id_,
        name=name or id_,
        mime_type=FOLDER if id_.startswith("d") else "text/plain",
        version=version,
        parents=None if parent is None else (parent,),
    )


def found(id_: str, *, parent: str = "root", md5: str | None = None) -> ev.FileDiscovered:
    """Return the discovery of a file."""
    return ev.FileDiscovered(file=ref(id_, parent=parent), content=ev.Content(md5=md5 or f"{id_}1"))


async def test_files_appear_with_paths_and_hashes(world: World) -> None:
    """A discovered file stands at the path of its folders, with its content's hash."""
    await world.write(found("f1"), found("d1"), found("d2", parent="d1"), found("f2", parent="d2"))
    assert {"f1": "f11", "d1/d2/f2": "f21"} == await world.paths()


async def test_tree_follows_what_happens_to_a_file(world: World) -> None:
    """Content, name, parents, trash and removal are followed, over batches and within one."""
    await world.write(found("f1"), found("d1"))
    before, after = ev.Content(md5="f11"), ev.Content(md5="f12")
    await world.write(ev.FileContentChanged(file=ref("f1", 2), before=before, after=after))
    assert {"f1": "f12"} == await world.paths()
    await world.write(
        ev.FileRenamed(file=ref("f1", 3, name="new"), before="f1", after="new"),
        ev.FileMoved(file=ref("f1", 3, name="new", parent="d1"), before=("root",), after=("d1",)),
    )
    assert {"d1/new": "f12"} == await world.paths()
    await world.write(ev.FileTrashed(file=ref("f1", 4, name="new", parent="d1")))
    assert {} == await world.paths()
    await world.write(ev.FileRestored(file=ref("f1", 5, name="new", parent=None)))
    assert {"d1/new": "f12"} == await world.paths()
    await world.write(ev.FileRemoved(file=ref("f1", 5, name="new", parent="d1"), cause="deleted"))
    assert {} == await world.paths()
    await world.write(ev.FileRestored(file=ref("f1", 6, parent="d1")))
    assert {"d1/f1": "f12"} == await world.paths()


async def test_older_version_changes_nothing(world: World) -> None:
    """An event of an older version than the tree knows is passed over."""
    await world.write(found("f1"))
    await world.write(ev.FileRenamed(file=ref("f1", 5, name="five"), before="f1", after="five"))
    await world.write(ev.FileRenamed(file=ref("f1", 4, name="four"), before="f1", after="four"))
    assert {"five": "f11"} == await world.paths()


async def test_viewer_sees_only_its_sightings(world: World) -> None:
    """A connection's tree holds what it can see, and no more once the sighting is lost."""
    await world.write(found("f1"), found("f2"), ev.SightingGained(file="f1", epoch=1))
    assert {"f1": "f11"} == await world.paths(viewer="c1")
    assert {} == await world.paths(viewer="c2")
    await world.write(ev.SightingLost(file="f1", epoch=1, cause="removed"))
    assert {} == await world.paths(viewer="c1")
    await world.write(ev.SightingGained(file="f1", epoch=2))
    assert {"f1": "f11"} == await world.paths(viewer="c1")


async def test_hostile_names_are_only_names(world: World) -> None:
    """Quotes, slashes, line feeds, emoji and a NUL in a name break nothing."""
    name = "a'\"\\/\n📁;drop schema eventstore\x00"
    await world.write(ev.FileDiscovered(file=ref("f1", name=name), content=ev.Content(md5="x")))
    assert {name.replace("\x00", "\ufffd"): "x"} == await world.paths()


@pytest.mark.parametrize("seed", range(4))
async def test_rebuilt_tree_equals_the_one_that_followed(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """However the events were cut into batches, a rebuild comes to the same rows."""
    random = Random(seed)
    versions: dict[str, int] = {}
    for _ in range(6):
        changes: list[ev.EventData] = []
        for _ in range(random.randint(1, 25)):
            id_ = random.choice("abcdefgh")
            versions[id_] = version = versions.get(id_, 0) + random.randint(0, 2)
            file = ref(id_, version, name=str(version), parent=random.choice([None, "x", "y"]))
            content = ev.Content(md5=random.choice([None, "1", "2"]))
            kinds: list[ev.EventData] = [
                ev.FileDiscovered(file=file, content=content),
                ev.FileContentChanged(file=file, before=content, after=content),
                ev.FileRenamed(file=file, before="", after=file.name),
                ev.FileTrashed(file=file),
                ev.FileRestored(file=file),
                ev.FileRemoved(file=file, cause="deleted"),
                ev.SightingGained(file=id_, epoch=version),
                ev.SightingLost(file=id_, epoch=version, cause="removed"),
            ]
            changes.append(random.choice(kinds))
        monkeypatch.setattr(projection, "BATCH_EVENTS", random.randint(1, 9))
        await world.write(*changes)
    followed = await world.rows()
    monkeypatch.setattr(projection, "BATCH_EVENTS", 1000)
    await world.runner.rebuild()
    assert followed == await world.rows()


async def test_tree_tells_its_position(world: World, database: str) -> None:
    """The tree is true up to a position, which moves with what it applies."""
    await world.write(found("f1"), found("f2"))
    session = await asyncpg.connect(database)
    try:
        assert 1 + 1 == await current_tree.position(session)
    finally:
        await session.close()
