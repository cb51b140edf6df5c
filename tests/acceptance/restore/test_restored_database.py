"""A database restored to an older day, among real servers: the ledger shows nothing missing."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.lab.demo.downstream import Downstream
from drivewake.lab.demo.evidence import Stored, projected_tree
from drivewake.lab.demo.google import Google, Ledger
from drivewake.lab.demo.session import TENANT, Session
from drivewake.lab.demo.stack import DATABASE, Stack
from drivewake.lab.demo.verdict import Evidence, Line, judge
from drivewake.lab.servers import ManagedProcess
from drivewake.runtime.keyring import Keyring

pytestmark = pytest.mark.slow

OWNER = "owner@drive.example"
DEADLINE_S = 90.0


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Everything runs, without pushes."""
    with Stack(push=False, accounts=[OWNER], report=lambda _: None) as stack:
        stack.start()
        yield stack


class World:
    """What the test does to Google, and what it knows of the store."""

    def __init__(self, stack: Stack, google: Google, downstream: Downstream) -> None:
        self.stack = stack
        self.downstream = downstream
        self._google = google
        self._ledger = Ledger(OWNER)
        self._dsn = stack.postgres.dsn(DATABASE)
        self._folder = ""
        self._files: list[str] = []

    async def edit(self, word: str) -> None:
        """Rename every file, make some, remove one."""
        if not self._folder:
            (self._folder,) = await self._google.act(OWNER, [_folder()])
        renames = [
            {"op": "update", "file": file, "name": f"{word}-{file[:6]}"} for file in self._files
        ]
        made = [
            {"op": "create_file", "name": f"{word}-{number}", "parent": self._folder}
            for number in range(12)
        ]
        done = await self._google.act(OWNER, [*renames, *made])
        self._files += done[len(renames) :]
        await self._google.act(OWNER, [{"op": "delete", "file": self._files.pop(0)}])

    async def verdict(self) -> list[Line]:
        """Return the verdict's lines as of now; the tree is judged by the ledger alone."""
        await self._google.catch_up(self._ledger)
        ring = Keyring.parse(SecretStr((self.stack.secrets / "data-keyring").read_text()))
        async with PostgresStore.open(self._dsn) as postgres:
            stored = Stored(SealedStore(postgres, postgres.data_keys(ring)))
            await stored.catch_up()
        tree = await projected_tree(self._dsn, TENANT, self._folder)
        evidence = Evidence(
            expected_tree=tree,
            tree=tree,
            facts=self._ledger.facts,
            taken=self._ledger.taken(),
            stored=stored.events,
            downstream=tuple(self.downstream.received),
            gaps=stored.gaps,
            jumps=self._ledger.jumps(),
        )
        lines = judge(evidence)
        whole = len(tree) == len(self._files)
        return [*lines, Line("every file is in the tree", whole, f"{len(tree)} files")]

    async def settled(self, session: Session) -> None:
        """Wait until all claims hold and nothing is under way."""
        broken: list[str] = []
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            try:
                lines = await self.verdict()
            except StoreUnavailableError as error:
                broken = [str(error)]
            else:
                broken = [f"{line.claim}: {line.detail}" for line in lines if not line.holds]
            if not broken and await session.idle():
                return
            await asyncio.sleep(0.5)
        assert [] == broken
        raise AssertionError("messages are still under way")


def _folder() -> dict[str, Any]:
    return {"op": "create_folder", "name": "all of it"}


def _resync(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        **stack.environment(),
        "DRIVEWAKE_POSTGRES_DSN": stack.postgres.dsn(DATABASE),
        "DRIVEWAKE_DATA_KEYRING_FILE": str(stack.secrets / "data-keyring"),
        "COLUMNS": "160",
    }
    return subprocess.run(
        [sys.executable, "-m", "drivewake.cli", "resync", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[tuple[World, Session]]:
    """An account is connected, its log is live, downstream listens."""
    async with AsyncExitStack() as opened:
        google = await opened.enter_async_context(Google(stack.url("google")))
        session = await opened.enter_async_context(Session(stack))
        downstream = Downstream(await session.bus("downstream"))
        listening = asyncio.create_task(downstream.run())
        opened.callback(listening.cancel)
        world = World(stack, google, downstream)
        await session.connect_account(OWNER)
        await session.until_live()
        yield world, session


async def test_the_ledger_shows_nothing_missing_after_a_restore(
    running: tuple[World, Session],
) -> None:
    """Restored, refused, resynced: every fact is stored and published once, at its old place."""
    world, session = running
    stack = world.stack
    normalizer, data = stack.processes["normalizer"], stack.postgres.data_path
    await world.edit("first")
    await world.settled(session)
    # The backup: the server's files, while it stands still.
    normalizer.stop()
    stack.postgres.stop()
    _copy(data, data.with_name("backup"))
    stack.postgres.start()
    normalizer.start()
    # What the backup does not have: versions that Google will never tell of again.
    for word in ("second", "third"):
        await world.edit(word)
        await world.settled(session)
    before = len(world.downstream.received)
    normalizer.stop()
    await world.edit("fourth")
    stack.postgres.stop()
    data.rename(data.with_name("lost"))
    data.with_name("backup").rename(data)
    stack.postgres.start()

    normalizer.start(wait=False)
    assert 0 != await asyncio.to_thread(_wait_for_its_end, normalizer)
    assert "resync --from-store" in normalizer.log_path.read_text()
    assert before == len(world.downstream.received)

    planned = _resync(stack, "--from-store", "--dry-run", "--json")
    assert 0 == planned.returncode, planned.stderr
    done = _resync(stack, "--from-store")
    assert 0 == done.returncode, done.stderr
    assert "events taken back from DRIVE_EVENT" in done.stdout
    lane = json.loads(planned.stdout)["lanes"][0]
    assert lane["relayed"] < lane["seen"]
    normalizer.start()
    await world.settled(session)
    assert before < len(world.downstream.received)


def _wait_for_its_end(process: ManagedProcess) -> int:
    deadline_s = time.monotonic() + DEADLINE_S
    while process.returncode is None and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert process.returncode is not None
    return process.returncode


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
