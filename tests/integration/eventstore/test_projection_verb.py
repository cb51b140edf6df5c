"""`drivewake projection` as an operator runs it, with the rights that it names and no others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.store import Batch
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import an_event

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(postgres_server: PostgresServer, database: str, prefix: str) -> Iterator[Cli]:
    """Run `drivewake projection …` as a user who may read, and keep read models."""
    name = database.rpartition("/")[2]
    roles = "in role drivewake_reader, drivewake_projector"
    postgres_server.create_role(prefix, "secret", options=roles)
    # Migrations grant this; a copy of a database does not have it.
    postgres_server.execute(f"grant create on database {name} to drivewake_projector")
    environment = {
        **os.environ,
        "DRIVEWAKE_POSTGRES_DSN": postgres_server.dsn(name, prefix, "secret"),
        "DRIVEWAKE_EVENT_KEY": "a secret of the test",
        "COLUMNS": "120",
    }

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", "projection", *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    postgres_server.execute(
        *("drop schema if exists current_tree cascade", f"drop owned by {prefix}"),
        database=name,
    )
    postgres_server.execute(f"drop role {prefix}")


async def test_read_model_is_listed_and_rebuilt(database: str, cli: Cli) -> None:
    """A dry run tells and changes nothing; a rebuild reaches the newest event, and says so."""
    async with PostgresStore.open(database) as store:
        await store.append(Batch(events=[an_event(file=f"f{n}") for n in range(10)]))
        told = cli("rebuild", "current_tree", "--dry-run")
        assert "builds version 1" in told.stdout, told.stderr
        assert "applies 10 events" in told.stdout
        (before,) = json.loads(cli("list", "--json").stdout)
        assert (None, 10, 10) == (before["live_version"], before["lag"], before["events"])
        done = cli("rebuild", "current_tree", "--json")
        assert 0 == done.returncode, done.stderr
        (after,) = json.loads(done.stdout)
        assert (1, 10, 0) == (after["live_version"], after["live_position"], after["lag"])
        outlook = await ProjectionRunner(database, store, CurrentTree()).outlook()
        assert (10, None) == (outlook.live_position, outlook.built)


def test_missing_rights_are_one_line(
    postgres_server: PostgresServer, database: str, cli: Cli, prefix: str
) -> None:
    """Who may not keep read models is told which roles are needed, without a traceback."""
    name, other = database.rpartition("/")[2], f"{prefix}r"
    postgres_server.create_role(other, "secret", options="in role drivewake_reader")
    try:
        dsn = postgres_server.dsn(name, other, "secret")
        done = cli("rebuild", "current_tree", DRIVEWAKE_POSTGRES_DSN=dsn)
    finally:
        postgres_server.execute(f"drop role {other}")
    assert 1 == done.returncode
    assert "drivewake_projector" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_read_model_is_misuse(cli: Cli) -> None:
    """A name that does not exist is refused with those that do."""
    done = cli("rebuild", "nothing")
    assert 2 == done.returncode
    assert "current_tree" in done.stderr
