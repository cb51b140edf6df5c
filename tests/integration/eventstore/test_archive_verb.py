"""`drivewake archive` as an operator runs it, with the rights of a keeper and no others."""

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivewake.eventstore.archive.files import Folder
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import Batch
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import an_event

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(
    postgres_server: PostgresServer, database: str, prefix: str, tmp_path: Path
) -> Iterator[Cli]:
    """Run `drivewake archive …` as a keeper."""
    name = database.rpartition("/")[2]
    postgres_server.create_role(prefix, "secret", options="in role drivewake_keeper")
    environment = {
        **os.environ,
        "DRIVEWAKE_POSTGRES_DSN": postgres_server.dsn(name, prefix, "secret"),
        "DRIVEWAKE_ARCHIVE_FOLDER": str(tmp_path),
        "COLUMNS": "120",
    }

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", "archive", *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    postgres_server.execute(f"drop role {prefix}")


async def test_months_are_listed_archived_and_verified(
    database: str, cli: Cli, tmp_path: Path
) -> None:
    """What is due is shown, goes, and is still read; a damaged file is one line and code 1."""
    now = dt.datetime.now(dt.UTC)
    old = [an_event(at=now - dt.timedelta(days=400 + day)) for day in (0, 40)]
    async with PostgresStore.open(database, archive=Folder(tmp_path)) as store:
        await store.append(Batch(events=[*old, an_event(at=now)]))
        before = await store.read(0, 0, 10)
    months = sorted({f"{event.occurred_at:%Y-%m}" for event in old})
    due = json.loads(cli("run", "--older-than", "10", "--dry-run", "--json").stdout)
    assert months == [row["month"] for row in due]
    done = cli("run", "--older-than", "10")
    assert 0 == done.returncode, done.stderr
    assert f"{months[0]}  reading back (1 events)" in done.stderr
    states = {row["month"]: row["state"] for row in json.loads(cli("list", "--json").stdout)}
    assert {**dict.fromkeys(months, "archived"), f"{now:%Y-%m}": "table"} == states
    assert 2 == cli("verify").stdout.count("verified")
    async with PostgresStore.open(database, archive=Folder(tmp_path)) as store:
        assert before == await store.read(0, 0, 10)
    _lose_a_file(tmp_path)
    broken = cli("verify")
    assert (1, 1) == (broken.returncode, len(broken.stderr.strip().splitlines()))
    assert "is missing from the archive" in broken.stderr


def _lose_a_file(path: Path) -> None:
    next(path.rglob("*.zst")).unlink()


def test_misuse_is_one_line(cli: Cli, postgres_server: PostgresServer) -> None:
    """Too young months, no place to keep them, no rights, no database: each says what to do."""
    young = cli("run", "--older-than", "2")
    assert 2 == young.returncode
    assert "youngest 4 months stay" in young.stderr
    homeless = cli("verify", DRIVEWAKE_ARCHIVE_FOLDER="")
    assert 2 == homeless.returncode
    assert "DRIVEWAKE_ARCHIVE_FOLDER is required" in homeless.stderr
    foreign = cli("list", DRIVEWAKE_POSTGRES_DSN=postgres_server.dsn("postgres"))
    assert 1 == foreign.returncode
    assert "all migrations" in foreign.stderr
    away = cli("list", DRIVEWAKE_POSTGRES_DSN="postgresql://me:hidden@127.0.0.1:1/x")
    assert 3 == away.returncode
    assert "cannot reach Postgres" in away.stderr
    for one in (young, homeless, foreign, away):
        assert 1 == len(one.stderr.strip().splitlines())
        assert "hidden" not in one.stderr
