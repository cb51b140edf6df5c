"""Migrations on the real Postgres: applied once, in order, failing in one clear line."""

import asyncio
import logging
from pathlib import Path

import asyncpg
import pytest

from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.migrations import MigrationError, migrate


def write(directory: Path, name: str, sql: str) -> None:
    """Write one migration."""
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.sql").write_text(f"-- migrate:up\n{sql};\n-- migrate:down\n")


async def rows(dsn: str, query: str) -> list[object]:
    """Return the first column of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_new_files_are_applied_once(database: str, tmp_path: Path) -> None:
    """The first run applies what is there, the second nothing, the third what was added."""
    directory = tmp_path / "with space"
    write(directory, "20261101000000_first", "create table one (n int); insert into one values (1)")
    for _ in range(2):
        await migrate(database, directory, table="sample_migrations")
    write(directory, "20261102000000_second", "insert into one values (2)")
    await migrate(database, directory, table="sample_migrations")
    assert [1, 2] == await rows(database, "select n from one order by n")
    assert ["20261101000000", "20261102000000"] == await rows(
        database, "select version from sample_migrations order by version"
    )


async def test_phases_are_applied_apart(database: str, tmp_path: Path) -> None:
    """`pre` leaves what takes away for `post`, and both together are the same as `both`."""
    write(tmp_path / "m", "20261101000000_add", "create table one (n int, old int)")
    write(tmp_path / "m", "20261102000000_drop.post", "alter table one drop column old")
    columns = "select attname from pg_attribute where attrelid = 'one'::regclass and attnum > 0"
    await migrate(database, tmp_path / "m", table="sample_migrations", phase="pre")
    assert ["n", "old"] == await rows(database, f"{columns} order by attnum")
    for phase in ("pre", "post", "both"):
        await migrate(database, tmp_path / "m", table="sample_migrations", phase=phase)
    assert ["n"] == await rows(database, f"{columns} and not attisdropped")


async def test_a_phase_is_not_skipped(database: str, tmp_path: Path) -> None:
    """Nothing is applied while the former version's `post` waits; `both` does all in order."""
    write(tmp_path / "m", "20261101000000_first", "create table one (n int)")
    write(tmp_path / "m", "20261102000000_second.post", "insert into one values (2)")
    write(tmp_path / "m", "20261103000000_third", "insert into one values (3)")
    with pytest.raises(MigrationError, match=r"second\.post\.sql was never applied"):
        await migrate(database, tmp_path / "m", table="sample_migrations", phase="pre")
    assert [None] == await rows(database, "select to_regclass('one')")
    await migrate(database, tmp_path / "m", table="sample_migrations")
    assert [2, 3] == await rows(database, "select n from one")


async def test_two_services_keep_their_own_table(database: str, tmp_path: Path) -> None:
    """Each service notes its migrations in its own table, in a schema if it names one."""
    await rows(database, "create schema a")
    for name, table in (("a", "a.migrations"), ("b", "b_migrations")):
        write(tmp_path / name, "20261101000000_first", f"create table t{name} ()")
        await migrate(database, tmp_path / name, table=table)
    assert ["20261101000000"] == await rows(database, "select version from a.migrations")
    assert ["20261101000000"] == await rows(database, "select version from b_migrations")


async def test_a_failing_file_is_one_line_and_leaves_nothing(database: str, tmp_path: Path) -> None:
    """The error names the file and says what Postgres said; its transaction is undone."""
    write(tmp_path / "m", "20261101000000_good", "create table good ()")
    write(tmp_path / "m", "20261102000000_bad", "create table bad (); select 1/0")
    with pytest.raises(MigrationError) as caught:
        await migrate(database, tmp_path / "m", table="sample_migrations")
    text = str(caught.value)
    assert 1 == len(text.splitlines())
    assert "20261102000000_bad.sql" in text
    assert "division by zero" in text
    assert [None] == await rows(database, "select to_regclass('bad')")
    assert ["good"] == [str(x) for x in await rows(database, "select to_regclass('good')::text")]


async def test_two_runs_at_once_apply_once(database: str, tmp_path: Path) -> None:
    """Replicas that start together do not apply a file twice."""
    write(tmp_path / "m", "20261101000000_first", "create table one (n int unique)")
    write(tmp_path / "m", "20261102000000_second", "insert into one values (1)")
    results = await asyncio.gather(
        *(migrate(database, tmp_path / "m", table="sample_migrations") for _ in range(4))
    )
    assert [None] * 4 == results
    assert [1] == await rows(database, "select n from one")


async def test_the_password_is_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is away is one line, without the password, on no stream and in no log."""
    caplog.set_level(logging.DEBUG)
    write(tmp_path / "m", "20261101000000_first", "select 1")
    dsn = "postgresql://me:hidden@127.0.0.1:1/nowhere"
    with pytest.raises(MigrationError) as caught:
        await migrate(dsn, tmp_path / "m", table="sample_migrations")
    assert "hidden" not in "".join((str(caught.value), *capfd.readouterr(), caplog.text))
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("table", ["", "Robert'); drop table x", "a.b.c", "-x"])
async def test_a_table_name_is_checked(tmp_path: Path, table: str) -> None:
    """Only plain names, with a schema or without."""
    with pytest.raises(ConfigurationError, match="not a table name"):
        await migrate("postgresql://x", tmp_path, table=table)


async def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    """No migrations means a wrong path, not success."""
    with pytest.raises(ConfigurationError, match="no migrations"):
        await migrate("postgresql://x", tmp_path, table="sample_migrations")
