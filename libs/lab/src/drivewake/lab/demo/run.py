"""One run of the demo, from the first server to the verdict."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.eventstore.postgres import PostgresStore
from drivewake.lab.demo.browser import consent
from drivewake.lab.demo.crash import Crashes
from drivewake.lab.demo.downstream import Downstream
from drivewake.lab.demo.evidence import Stored, projected_tree
from drivewake.lab.demo.google import Google
from drivewake.lab.demo.replay import OWNER, Replay
from drivewake.lab.demo.screen import Progress, Screen
from drivewake.lab.demo.stack import DATABASE, Stack
from drivewake.lab.demo.verdict import Evidence, judge
from drivewake.lab.scenarios.git import GitHistory
from drivewake.runtime.bus import KeyValueReader
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.nats import NatsBus, connect

LIVE_DEADLINE_S: Final = 30.0
SETTLE_DEADLINE_S: Final = 90.0
LOOK_EVERY_S: Final = 0.25
TENANT: Final = "default"

T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on; the text says why in one line."""


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
            operator = await self._bus(open_, "operator")
            downstream = Downstream(await self._bus(open_, "downstream"))
            replay = Replay(history, google, self.progress, self._clock)
            with self._stage("connect"):
                folder = await replay.prepare()
                await self._connect()
                await self._until_live(operator)
            self.progress.of_commits = history.count(self._options.limit)
            crashes = Crashes(self._stack, self._options.seed, self._note)
            async with _tasks(downstream.run(), self._show(downstream), self._count(downstream)):
                with self._stage("replay"):
                    await self._replay(replay, crashes)
                with self._stage("settle"):
                    evidence = await self._settle(google, downstream, replay, folder)
        return Outcome(evidence, self._stages_s, self.progress.actions, self.progress.commits)

    async def _bus(self, open_: AsyncExitStack, user: str) -> NatsBus:
        seed = self._stack.users.seeds[user].read_text()
        bus = await connect(name="demo", url=self._stack.nats.url, seed=seed, user=user)
        open_.push_async_callback(bus.close)
        return bus

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.progress.stage = name
        started_s = self._clock.monotonic_s()
        yield
        self._stages_s[name] = self._clock.monotonic_s() - started_s

    def _note(self, text: str) -> None:
        self.progress.notes.append(text)
        self._screen.say(f"  ! {text}")

    async def _connect(self) -> None:
        """Connect the owner's account as a person would: a link, Google's pages, the way back."""
        url = f"{self._stack.url('auth')}/v1/connections"
        headers = {"Authorization": f"Bearer {self._stack.operator_token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={"tenant": TENANT}, headers=headers) as answer,
        ):
            if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                raise DemoError(f"auth gave no connect link: {answer.status}")
            link = (await answer.json())["url"]
        await consent(link, self._stack.url("auth"), OWNER)
        self._screen.step(f"{OWNER} connected through OAuth with PKCE")

    async def _until_live(self, operator: NatsBus) -> None:
        """Wait until the account's log is live and, with pushes, its channel is."""
        logs = await operator.key_value(subjects.LOGS)
        await _first(logs, LogRecord, lambda record: record.phase == "live", "log")
        self._screen.step("snapshot taken, its log is live")
        if self._stack.push:
            channels = await operator.key_value(subjects.CHANNELS)
            await _first(
                channels,
                ChannelRecord,
                lambda record: record.status == "live" and record.synced_at is not None,
                "push channel",
            )
            self._screen.step("push channel open, Google's sync received")

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
        await self._screen.watch(self.progress, downstream.headlines)

    async def _count(self, downstream: Downstream) -> None:
        while True:
            self.progress.received = len(downstream.received)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _settle(
        self, google: Google, downstream: Downstream, replay: Replay, folder: str
    ) -> Evidence:
        """Look at the evidence until it satisfies, at most until the deadline."""
        deadline_s = self._clock.monotonic_s() + SETTLE_DEADLINE_S
        dsn = self._stack.postgres.dsn(DATABASE)
        expected_tree = replay.expected_tree()
        async with PostgresStore.open(dsn) as store:
            stored = Stored(store)
            while True:
                ledger = await google.ledger(OWNER)
                await stored.catch_up()
                evidence = Evidence(
                    expected_tree=expected_tree,
                    tree=await projected_tree(dsn, TENANT, folder),
                    facts=ledger.facts,
                    taken=ledger.taken(),
                    stored=stored.events,
                    downstream=tuple(downstream.received),
                    gaps=stored.gaps,
                )
                late = self._clock.monotonic_s() >= deadline_s
                if late or all(line.holds for line in judge(evidence)):
                    return evidence
                await asyncio.sleep(LOOK_EVERY_S)


async def _first(
    bucket: KeyValueReader, kind: type[T], wanted: Callable[[T], bool], what: str
) -> T:
    """Wait for a record of a bucket that is as wanted. Raises DemoError when it is late."""
    last = "nothing"
    try:
        async with asyncio.timeout(LIVE_DEADLINE_S):
            async for entry in bucket.watch():
                if entry is None or entry.value is None:
                    continue
                last = entry.value.decode()
                record = msgspec.json.decode(entry.value, type=kind)
                if wanted(record):
                    return record
    except TimeoutError:
        pass
    raise DemoError(f"no live {what} within {LIVE_DEADLINE_S:g} s; last seen: {last}")


@contextlib.asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the block; the first that fails ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()
