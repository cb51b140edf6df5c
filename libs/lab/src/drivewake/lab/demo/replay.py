"""Replays a git history as what people do in a shared folder of the simulated Drive."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from drivewake.lab.demo.google import Google, as_sim_action
from drivewake.lab.demo.screen import Progress
from drivewake.lab.scenarios.git import Blobs, Commit, GitHistory
from drivewake.lab.scenarios.plan import ROOT, Action, Planner
from drivewake.runtime.clock import Clock

OWNER: Final = "owner@drive.example"
PEOPLE: Final = 8
"""So many accounts share the authors of a history between them."""
FOLDER_REF: Final = "repository"
MAX_BATCH_BYTES: Final = 4 << 20
MAX_BATCH: Final = 50


def person_of(email: str) -> str:
    """Return the account that plays an author: the same author is always the same account."""
    number = hashlib.blake2b(email.encode(), digest_size=4).digest()[0] % PEOPLE
    return f"person{number + 1}@drive.example"


ACCOUNTS: Final = (OWNER, *(f"person{number + 1}@drive.example" for number in range(PEOPLE)))


class Cast:
    """Who does what: people create and edit; only its owner may trash or delete a file."""

    def __init__(self) -> None:
        self._owner_of: dict[str, str] = {}

    def actor(self, action: Action, author: str) -> str:
        """Return who does an action of an author's commit."""
        if action.verb in ("create_file", "create_folder"):
            self._owner_of[action.ref] = author
        elif action.verb in ("trash", "delete"):
            return self._owner_of[action.ref]
        return author


class Replay:
    """Drives the simulated Google; `progress` says how far it is."""

    def __init__(
        self, history: GitHistory, google: Google, progress: Progress, clock: Clock
    ) -> None:
        self._history = history
        self._google = google
        self._progress = progress
        self._clock = clock
        self._planner = Planner()
        self._cast = Cast()
        self.last_commit = ""

    async def prepare(self) -> str:
        """Make the folder that everything happens in, shared with all people; return its id."""
        people = ACCOUNTS[1:]
        shares = [{"type": "user", "role": "writer", "emailAddress": email} for email in people]
        folder, _ = await self._google.act(
            OWNER,
            [
                {"op": "create_folder", "name": "repository", "ref": FOLDER_REF},
                {"op": "set_permissions", "file": FOLDER_REF, "permissions": shares},
            ],
        )
        self._progress.actions += 2
        return folder

    async def run(
        self,
        limit: int | None,
        speed: float | None,
        rate: float | None,
        on_commit: Callable[[int], None],
    ) -> None:
        """Replay commits in order.

        `speed` is how many seconds of history pass in one, None as fast as it goes; `rate`
        bounds the actions a second. `on_commit` is called with the number of each one done.
        """
        start_s, first_at = self._clock.monotonic_s(), None
        with self._history.blobs() as blobs:
            for commit in self._history.commits(limit):
                first_at = commit.at if first_at is None else first_at
                if speed is not None:
                    due_s = start_s + max(0, commit.at - first_at) / speed
                    await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
                await self._play(commit, blobs)
                if rate is not None:
                    due_s = start_s + self._progress.actions / rate
                    await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
                self._progress.commits += 1
                self.last_commit = commit.id
                on_commit(self._progress.commits)

    async def _play(self, commit: Commit, blobs: Blobs) -> None:
        author = person_of(commit.email)
        batch: list[dict[str, Any]] = []
        size_bytes = 0
        for action in self._planner.plan(commit):
            done = as_sim_action(_inside(action), blobs)
            batch.append({**done, "actor": self._cast.actor(action, author)})
            size_bytes += len(done.get("content", b""))
            if len(batch) >= MAX_BATCH or size_bytes >= MAX_BATCH_BYTES:
                await self._send(author, batch)
                batch, size_bytes = [], 0
        if batch:
            await self._send(author, batch)

    async def _send(self, author: str, batch: list[dict[str, Any]]) -> None:
        await self._google.act(author, batch)
        self._progress.actions += len(batch)

    def expected_tree(self) -> dict[str, str]:
        """Return path to SHA-256 of the last replayed commit, read from git alone."""
        if not self.last_commit:
            return {}
        with self._history.blobs() as blobs:
            return {
                entry.path: hashlib.sha256(blobs.read(entry.blob, entry.mode)).hexdigest()
                for entry in self._history.tree(self.last_commit)
            }


def _inside(action: Action) -> Action:
    """Return the action with git's root as our folder."""
    if action.parent != ROOT:
        return action
    return msgspec.structs.replace(action, parent=FOLDER_REF)
