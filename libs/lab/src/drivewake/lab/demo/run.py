"""One run of the demo, from the first server to the verdict."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.lab.demo.crash import Crashes
from drivewake.lab.demo.downstream import Downstream
from drivewake.lab.demo.evidence import Stored, projected_tree
from drivewake.lab.demo.google import Google, Ledger
from drivewake.lab.demo.replay import OWNER, Replay
from drivewake.lab.demo.screen import Progress, Screen
from drivewake.lab.demo.session import TENANT, DemoError, Session
from drivewake.lab.demo.stack import DATABASE, Stack
from drivewake.lab.demo.verdict import Evidence, judge
from drivewake.lab.scenarios.git import GitHistory
from drivewake.runtime.clock import SystemClock

SETTLE_DEADLINE_S: Final = 90.0
LOOK_EVERY_S: Final = 0.25
LIVE: Final = "snapshot taken, its log is live"
LIVE_WITH_PUSH: Final = f"{LIVE}, its push channel answers"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. `speed`: seconds of history a second; `rate`: actions."""

    git: Path
    limit: int | None = None
    speed: float | None = None
    rate: float | None = None
    push: bool = True
    crash: bool = False
    seed: int = 0
    keep: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What a run leaves: the evidence and how long each stage took, in seconds."""

    evidence: Evidence
    stages_s: dict[str, float]
    actions: int
    commits: int


class Run:
    """One run on a started stack; `play` does it all and returns what the verdict needs."""

    def __init__(self, stack: Stack, options: Options, screen: Screen) -> None:
        self._stack = stack
        self._options = options
        self._screen = screen
        self._clock = SystemClock()
        self.progress = Progress()
        self._stages_s: dict[str, float] = {}

    async def play(self, history: GitHistory) -> Outcome:
        """Connect, replay, wait until all arrived."""
        async with AsyncExitStack() as open_:
            google = await open_.enter_async_context(Google(self._stack.url("google")))
            session = await open_.enter_async_context(Session(self._stack))
            downstream = Downstream(await session.bus("downstream"))
            replay = Replay(history, google, self.progress, self._clock)
            with self._stage("connect"):
                folder = await replay.prepare()
                await session.connect_account(OWNER)
                self._screen.step(f"{OWNER} connected through OAuth with PKCE")
                await session.until_live()
                self._screen.step(LIVE_WITH_PUSH if self._stack.push else LIVE)
            self.progress.of_commits = history.count(self._options.limit)
            crashes = Crashes(self._stack, self._options.seed, self._note)
            async with _tasks(downstream.run(), self._show(downstream), self._guard(crashes)):
                with self._stage("replay"):
                    await self._replay(replay, crashes)
                with self._stage("settle"):
                    evidence = await self._settle(google, session, downstream, replay, folder)
        return Outcome(evidence, self._stages_s, self.progress.actions, self.progress.commits)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.progress.stage = name
        started_s = self._clock.monotonic_s()
        yield
        self._stages_s[name] = self._clock.monotonic_s() - started_s

    def _note(self, text: str) -> None:
        self.progress.notes.append(text)
        self._screen.say(f"  ! {text}")

    async def _replay(self, replay: Replay, crashes: Crashes) -> None:
        total = max(self.progress.of_commits, 1)
        striking = asyncio.create_task(crashes.run()) if self._options.crash else None
        try:
            await replay.run(
                self._options.limit,
                self._options.speed,
                self._options.rate,
                lambda done: crashes.replayed(done / total),
            )
            if striking is not None:
                crashes.replayed(1.0)
                await striking
        finally:
            if striking is not None:
                striking.cancel()

    async def _show(self, downstream: Downstream) -> None:
        async with _tasks(self._screen.watch(self.progress, downstream.headlines)):
            while True:
                self.progress.received = len(downstream.received)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _guard(self, crashes: Crashes) -> None:
        """End the run when a process dies that we did not kill."""
        while True:
            for name in self._stack.names:
                if name not in crashes.down and not self._stack.member(name).running:
                    words = self._stack.last_words(name)
                    raise DemoError(f"{name} died; its last words: {words}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _settle(
        self,
        google: Google,
        session: Session,
        downstream: Downstream,
        replay: Replay,
        folder: str,
    ) -> Evidence:
        """Look until the evidence satisfies and nothing is under way that could change it.

        What satisfies too early could still be doubled by a message that comes again.
        """
        deadline_s = self._clock.monotonic_s() + SETTLE_DEADLINE_S
        dsn = self._stack.postgres.dsn(DATABASE)
        expected_tree = replay.expected_tree()
        ledger, quiet = Ledger(OWNER), False
        async with PostgresStore.open(dsn) as store:
            keys = store.data_keys(self._stack.data_keyring)
            stored = Stored(SealedStore(store, keys))
            while True:
                await google.catch_up(ledger)
                await stored.catch_up()
                evidence = Evidence(
                    expected_tree=expected_tree,
                    tree=await projected_tree(dsn, TENANT, folder),
                    facts=ledger.facts,
                    taken=ledger.taken(),
                    stored=stored.events,
                    downstream=tuple(downstream.received),
                    gaps=stored.gaps,
                    jumps=ledger.jumps(),
                )
                open_claims = [line.claim for line in judge(evidence) if not line.holds]
                satisfied = not open_claims
                late = self._clock.monotonic_s() >= deadline_s
                if late or (quiet and satisfied):
                    return evidence
                quiet = satisfied and await session.idle()
                waits_for = "messages under way" if satisfied else open_claims[0]
                self.progress.stage = f"waiting for: {waits_for}"
                await asyncio.sleep(0 if quiet else LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the block; the first that fails ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()
