"""Two versions beside each other: what the former one asks still works after phase `pre`.

`former/store.sql` are the queries of the version before, word for word, and FORMER is the last
migration that it came with: a release moves both on.
"""

import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from drivewake.eventstore import schema
from drivewake.eventstore.connections import set_up
from drivewake.lab.suites.eventstore import NOON, an_event
from drivewake.runtime.migrations import migrate

FORMER = "20261101000004"
_HEADER = re.compile(r"^-- ([a-z_]+): .+$", re.MULTILINE)
_, *_parts = _HEADER.split((Path(__file__).parent / "former" / "store.sql").read_text())
SQL = dict(zip(_parts[::2], (part.strip().rstrip(";") for part in _parts[1::2]), strict=True))
COLUMNS = ("position", "occurred_at", "key", "tenant", "connection", "lane", "type", "stream")


@pytest.fixture
async def deployed(
    clone_database: Callable[..., str], tmp_path: Path
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A session in a database of the former version to which phase `pre` was applied."""
    dsn = clone_database("template1")
    for file in schema.directory().glob("*.sql"):
        if file.name[: len(FORMER)] <= FORMER:
            shutil.copy(file, tmp_path)
    await migrate(dsn, tmp_path, table=schema.TABLE)
    await schema.migrate(dsn, "pre")
    session = await asyncpg.connect(dsn)
    await set_up(session)
    yield session
    await session.close()


async def _append(session: "asyncpg.Connection[asyncpg.Record]", lane: int) -> uuid.UUID:
    """Append one event as the former version did, and return its key."""
    event = an_event()
    async with session.transaction():
        await session.execute("set local role drivewake_writer")
        assert await session.fetchval(SQL["ensure_month"], event.occurred_at)
        begun = await session.fetchrow(SQL["append_begin"], lane, [event.key])
        assert begun is not None
        values = (begun["base"] + 1, NOON, event.key, "acme", "c1", lane, event.type, "f1")
        await session.copy_records_to_table(
            "event",
            schema_name="eventstore",
            columns=(*COLUMNS, "data", "metadata"),
            records=[(*values, event.data, event.metadata)],
        )
        found = await session.fetch(
            SQL["advance_heads"], ["acme"], ["file"], [str(event.key)], [0], [b"state"]
        )
        assert [(0, 1)] == [tuple(row) for row in found]
        done = await session.fetch(SQL["set_marks"], ["acme"], ["l"], [str(event.key)], [0], [1])
        assert [1] == [row["ordinal"] for row in done]
        await session.execute(SQL["set_applied"], ["acme"], ["c1"], ["l"], [0], ["17"], [NOON])
    return event.key


async def test_the_former_version_writes_and_reads_after_pre(
    deployed: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Every query of the version before, by its own roles, as it asked them."""
    keys = [await _append(deployed, 0), await _append(deployed, 0)]
    await deployed.execute("set role drivewake_reader")
    rows = await deployed.fetch(SQL["read"], 0, 0, 10)
    assert list(enumerate(keys, 1)) == [(row["position"], row["key"]) for row in rows]
    chosen = await deployed.fetch(SQL["read_selected"], 0, 1, 10, "acme", "c1", "f1", [])
    assert [keys[1]] == [row["key"] for row in chosen]
    assert 2 == await deployed.fetchval(SQL["last_position"], 0)
    heads = await deployed.fetch(SQL["heads"], "acme", "file", [str(keys[0])])
    assert [(str(keys[0]), 1, b"state")] == [tuple(row) for row in heads]
    assert [str(max(keys))] == [
        row["id"]
        for row in await deployed.fetch(SQL["head_ids"], "acme", "file", str(min(keys)), 9)
    ]
    assert ["17"] == [row["cursor"] for row in await deployed.fetch(SQL["applied"], "acme", "c1")]
    await deployed.execute(SQL["save_checkpoint"], "relay", 0, 2)
    assert 2 == await deployed.fetchval(SQL["checkpoint"], "relay", 0)


def test_every_former_query_is_one_that_was_tried() -> None:
    """The file holds no query that the test above, or every session of ours, does not ask."""
    of_sessions = {"try_lock", "unlock", "durability"}
    told = Path(__file__).read_text()
    assert [] == [name for name in SQL.keys() - of_sessions if f'SQL["{name}"]' not in told]
