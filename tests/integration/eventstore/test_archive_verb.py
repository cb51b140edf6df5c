"""`drivewake archive` as an operator runs it, with the rights of a keeper and no others."""

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from drivewake.eventstore.archive.files import open_files
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import Batch
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import an_event
from drivewake.runtime.blobs import ObjectBlobs

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for an archive: its address."""
    if request.param == "folder":
        return f"file://{tmp_path}"
    return str(request.getfixturevalue("bucket"))


@pytest.fixture
def cli(postgres_server: PostgresServer, database: str, prefix: str) -> Iterator[Cli]:
    """Run `drivewake archive …` as a keeper."""
    name = database.rpartition("/")[2]
    postgres_server.create_role(prefix, "secret", options="in role drivewake_keeper")
    settings = {
        "DRIVEWAKE_POSTGRES_DSN": postgres_server.dsn(name, prefix, "secret"),
        "COLUMNS": "120",
    }

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", "archive", *arguments],
            env={**os.environ, **settings, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    postgres_server.execute(f"drop role {prefix}")


async def test_months_are_listed_archived_and_verified(
    database: str, cli: Cli, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is shown, goes, and is still read; a damaged file is one line and code 1."""
    monkeypatch.setenv("DRIVEWAKE_ARCHIVE_URL", place)
    now = dt.datetime.now(dt.UTC)
    old = [an_event(at=now - dt.timedelta(days=400 + day)) for day in (0, 40)]
    async with PostgresStore.open(database, archive=open_files(place)) as store:
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
    async with PostgresStore.open(database, archive=open_files(place)) as store:
        assert before == await store.read(0, 0, 10)
    await _lose_a_file(place)
    broken = cli("verify")
    assert (1, 1) == (broken.returncode, len(broken.stderr.strip().splitlines()))
    assert "is missing from the archive" in broken.stderr


async def _lose_a_file(place: str) -> None:
    blobs = ObjectBlobs.open(place)
    names = [info.name async for info in blobs.list("") if info.name.endswith(".zst")]
    await blobs.delete(names[0])


def test_misuse_is_one_line(cli: Cli, postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Too young months, no place to keep them, no rights, no database: each says what to do."""
    homeless = cli("verify")
    assert 2 == homeless.returncode
    assert "DRIVEWAKE_ARCHIVE_URL is required" in homeless.stderr
    astray = cli("verify", DRIVEWAKE_ARCHIVE_URL="file://mnt/archive")
    assert 2 == astray.returncode
    assert "file:///absolute/path" in astray.stderr
    cli = partial(cli, DRIVEWAKE_ARCHIVE_URL=f"file://{tmp_path}")
    young = cli("run", "--older-than", "2")
    assert 2 == young.returncode
    assert "youngest 4 months stay" in young.stderr
    foreign = cli("list", DRIVEWAKE_POSTGRES_DSN=postgres_server.dsn("postgres"))
    assert 1 == foreign.returncode
    assert "all migrations" in foreign.stderr
    away = cli("list", DRIVEWAKE_POSTGRES_DSN="postgresql://me:hidden@127.0.0.1:1/x")
    assert 3 == away.returncode
    assert "cannot reach Postgres" in away.stderr
    for one in (young, homeless, astray, foreign, away):
        assert 1 == len(one.stderr.strip().splitlines())
        assert "hidden" not in one.stderr
