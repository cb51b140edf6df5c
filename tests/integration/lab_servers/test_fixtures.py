"""The shared fixtures keep tests apart from each other."""

from collections.abc import Callable

import asyncpg
import nats
import pytest

_STREAM = "ONE_NAME_FOR_TWO_TESTS"


@pytest.mark.parametrize("_run", [1, 2])
async def test_a_stream_made_by_one_test_is_not_there_for_the_next(
    nats_url: str, prefix: str, _run: int
) -> None:
    """Two tests make the same stream with other subjects: the second finds no first."""
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    info = await js.add_stream(name=_STREAM, subjects=[f"{prefix}.>"])
    await js.publish(f"{prefix}.a", b"1")
    assert info.state.messages == 0
    await connection.close()


@pytest.mark.parametrize("_run", [1, 2])
async def test_a_table_made_by_one_test_is_not_there_for_the_next(database: str, _run: int) -> None:
    """Each test has a database of its own, so the same table can be made twice."""
    connection = await asyncpg.connect(database)
    await connection.execute("create table one_name_for_two_tests (i int)")
    await connection.close()


async def test_a_template_is_migrated_once_and_copied(
    template_database: Callable[..., str], clone_database: Callable[..., str], prefix: str
) -> None:
    """Two copies of one template both have its table, and the migration ran once."""
    calls: list[str] = []

    def migrate(dsn: str) -> None:
        calls.append(dsn)

    first = template_database(prefix, migrate)
    again = template_database(prefix, migrate)
    dsns = {clone_database(first), clone_database(again)}

    assert first == again
    assert len(calls) == 1
    assert len(dsns) == 2
    with pytest.raises(ValueError, match="two migrations"):
        template_database(prefix, lambda _dsn: None)


async def test_durable_commits_are_on(database: str) -> None:
    """The lab's Postgres acknowledges nothing that is not on disk."""
    connection = await asyncpg.connect(database)
    settings = {
        name: await connection.fetchval(f"show {name}")
        for name in ("fsync", "synchronous_commit", "server_version_num")
    }
    await connection.close()
    assert settings["fsync"] == "on"
    assert settings["synchronous_commit"] == "on"
    assert int(settings["server_version_num"]) // 10_000 == 18
