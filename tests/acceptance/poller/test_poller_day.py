"""A day of an organisation, sped up, with faults: the poller's raws alone give the truth.

What the normalizer's own rules make of the raws must be what Google shows each person; every
activity must be there or inside a recorded gap; every call must be one that the design asks for.

    DRIVEWAKE_DAY_PEOPLE=1000 pytest tests/acceptance/poller    the large version
"""

# ruff: noqa: D102 - a world of helpers whose names say it

import asyncio
import datetime as dt
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from poller_stage import ACTIVITY, SCOPES, Person, Stage, open_stage

from drivewake.contracts import subjects
from drivewake.contracts.ids import new_id, partition_of
from drivewake.contracts.records import LogRecord
from drivewake.lab.google.actions import Batch, apply
from drivewake.lab.google.activity_book import Record
from drivewake.lab.google.faults import Rule
from drivewake.lab.google.ledger import RequestFact
from drivewake.lab.google.serve import RunningGoogle, start_google
from drivewake.lab.scenarios.organisation import Chapter, Size, found
from drivewake.lab.servers import NatsServer
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.head import EMPTY, Head
from drivewake.normalizer.domain.observation import Absent, microseconds
from drivewake.normalizer.items import FactItem, FileItem, decode_raw
from drivewake.runtime.clock import SystemClock

PEOPLE: Final = int(os.environ.get("DRIVEWAKE_DAY_PEOPLE", "8"))
SEED: Final = int(os.environ.get("DRIVEWAKE_DAY_SEED", "5"))
DESIGNED: Final = {
    "drive.changes.getStartPageToken",
    "drive.changes.list",
    "drive.files.list",
    "drive.files.get",
    "drive.drives.list",
    "drive.permissions.list",
    "drive.revisions.list",
    "drive.comments.list",
    "driveactivity.activity.query",
}
SETTINGS: Final[dict[str, Any]] = {
    "activity_settle_s": 0.0,
    "activity_gap_retry_s": 0.5,
    "page_size": 20,
    "drives_s": 2.0,
    "instance": "day",
}
TROUBLE: Final = (
    Rule(effect="status", status=503, share=0.02),
    Rule(effect="status", status=429, reason="rateLimitExceeded", share=0.01, retry_after_s=1),
    Rule(effect="status", status=403, reason="userRateLimitExceeded", share=0.01),
    Rule(effect="truncate", share=0.01),
    Rule(effect="reset", share=0.01),
    Rule(effect="expired_page_token", operation="drive.changes.list", every=60),
)


class Kept:
    """A message of DRIVE_RAW as the normalizer would receive it."""

    headers: dict[str, str]

    def __init__(self, subject: str, data: bytes, sequence: int) -> None:
        self.subject = subject
        self.data = data
        self.stream_sequence = sequence
        self.deliveries = 1
        self.headers = {}


class Believed:
    """What the normalizer's rules make of raws; `activity` are (item, body) that were told."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.activity: set[tuple[str, str]] = set()
        self.gaps: list[tuple[int, int]] = []

    def take(self, kept: Kept) -> None:
        partition = int(kept.subject.split(".")[3])
        item = decode_raw(kept, partition, SystemClock().now())  # type: ignore[arg-type]
        if isinstance(item, FileItem):
            self._observe(item.file, item.observation)
        elif isinstance(item, FactItem):
            self._fact(item)
        raw = msgspec.json.decode(kept.data)["data"]
        if raw["source"] == "activity":
            body = raw["body"]
            for case in {next(iter(one["detail"])) for one in body["actions"]}:
                self.activity.add((raw["item"], f"{body.get('timestamp', '')} {case}"))

    def _observe(self, file: str, observation: Any) -> None:  # noqa: ANN401
        self.heads[file] = step(self.heads.get(file, EMPTY), observation)[1]

    def _fact(self, item: FactItem) -> None:
        fact = item.fact
        if fact.fact == "gap_opened" and fact.missing_from and fact.missing_to:
            self.gaps.append((microseconds(fact.missing_from), microseconds(fact.missing_to)))
        if fact.fact != "snapshot_completed":
            return
        absent = Absent(
            connection=item.origin.connection,
            log=item.origin.log,
            started=microseconds(fact.started_at),
            snapshot=fact.snapshot,
        )
        for file in [one for one in self.heads if _partition(one) == item.origin.partition]:
            self._observe(file, absent)

    def visible_to(self, connection: str) -> dict[str, tuple[int, str, bool]]:
        """Return version, name and trash of each file that a connection sees."""
        found = {}
        for file, head in self.heads.items():
            sighting = head.sightings.get(connection)
            if sighting is not None and sighting.lasts and head.known is not None:
                known = head.known
                found[file] = (head.core[0], known.file.name, known.trashed)
        return found


def _partition(file: str) -> int:
    return partition_of("acme", file)


class Day:
    """An organisation whose people are connections, on a broker that may be killed."""

    def __init__(self, stage: Stage, google: RunningGoogle) -> None:
        self.stage = stage
        self.google = google
        size = Size.of(PEOPLE)
        self.organisation = found(
            SEED, msgspec.structs.replace(size, teams=2, departures=max(size.departures, 1))
        )
        self.people: list[Person] = []

    def settle(self, chapter: Chapter) -> None:
        world = self.google.world

        def do() -> None:
            for group, who in chapter.members:
                world.set_group(group, who)
            batch = {"actor": chapter.actor, "actions": list(chapter.actions)}
            apply(world, msgspec.convert(batch, Batch))

        self.google.call(do)

    def hire(self) -> None:
        world = self.google.world
        for one in self.organisation.people:
            self.google.call(world.add_user, one.email, one.name)
            name = f"p{new_id()[:10]}"
            person = Person(self.stage, name, (*SCOPES, ACTIVITY))
            person.email = one.email
            self.stage.people[name] = person
            self.people.append(person)
        for group, who in self.organisation.groups.items():
            self.google.call(world.set_group, group, who)

    def truth(self, person: Person) -> dict[str, tuple[int, str, bool]]:
        """Return what Google shows a person: version, name and trash by file."""
        state = self.google.world.state

        def look() -> dict[str, tuple[int, str, bool]]:
            user = state.user(person.email)
            return {
                one.id: (one.version, one.name, state.is_trashed(one))
                for one in state.visible(user)
            }

        return self.google.call(look)

    def open_to(self, person: Person, file: str) -> bool:
        """Say whether Google shows a file to a person who asks for it by its id."""
        state = self.google.world.state

        def look() -> bool:
            found = state.files.get(file)
            return found is not None and state.access.rank(state.user(person.email), found) > 0

        return self.google.call(look)

    def expected_activity(self) -> dict[tuple[str, str], int]:
        """Return (item, time and kind) of what anybody's activity logs must tell, and when."""
        world = self.google.world

        def look() -> dict[tuple[str, str], int]:
            found: dict[tuple[str, str], int] = {}
            for person in self.people:
                user = world.state.user(person.email)
                places = {user.root.id, *(one.id for one in world.state.drives_of(user))}
                for record in world.activities.records:
                    if world.activities.sees(user, record) and places & {*record.above}:
                        for case in record.cases:
                            key = (record.file_id, f"{_timestamp(record)} {case}")
                            found[key] = record.at_ns // 1000
            return found

        return self.google.call(look)

    async def quiet(self, person: Person) -> bool:
        """Say whether all logs of a person stand at the end of what there is."""
        state = self.google.world.state
        tips = self.google.call(
            lambda: {
                "": str(state.user(person.email).log.tip),
                **{one.id: str(one.log.tip) for one in state.drives_of(state.user(person.email))},
            }
        )
        records = await person.records()
        read = {one.resource: one for one in records if one.kind != "activity" and not one.left}
        return tips.keys() == read.keys() and all(
            _at_rest(one) and one.cursor == tips[one.resource] for one in read.values()
        )


def _timestamp(record: Record) -> str:
    at = dt.datetime.fromtimestamp(record.at_ns // 1_000_000_000, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{record.at_ns // 1_000_000 % 1000:03d}Z"


def _at_rest(record: LogRecord) -> bool:
    return (
        record.phase == "live"
        and not record.owner
        and not record.pending
        and record.snapshot is None
        and record.relist_at is None
    )


@pytest.mark.slow
async def test_a_day_ends_in_the_truth(prefix: str, tmp_path: Path) -> None:
    """Kills, a broker restart, a revocation and faults between: state, activity, calls."""
    rng = random.Random(SEED)
    with NatsServer() as server, start_google() as google:
        async with open_stage(server.url, prefix, google, tmp_path) as stage:
            day = Day(stage, google)
            day.hire()
            chapters = day.organisation.chapters
            half = len(chapters) // 2
            for chapter in chapters[:half]:
                day.settle(chapter)
            process = stage.process(
                enrich='["permissions","revisions","comments"]', activity="true", **SETTINGS
            )
            await asyncio.to_thread(process.start)
            for person in day.people:
                await person.connect()
            rules = [
                google.call(google.world.faults.add, rule, google.world.now_ns())
                for rule in TROUBLE
            ]
            blows = {half + (len(chapters) - half) * n // 4: n for n in (1, 2, 3)}
            for number, chapter in enumerate(chapters[half:], half):
                day.settle(chapter)
                if rng.random() < 0.5:
                    await rng.choice(day.people).signal()
                match blows.get(number):
                    case 1 | 3:
                        await asyncio.to_thread(process.kill)
                        await asyncio.to_thread(process.start)
                    case 2:
                        await asyncio.to_thread(server.kill)
                        await asyncio.to_thread(server.start)
                await asyncio.sleep(0.02)
            revoked = day.people.pop()
            await revoked.connect("revoked")
            await revoked.until(lambda record: record.stopped)
            calls = _calls(google, revoked)
            for rule in rules:
                google.call(google.world.faults.remove, rule)
            await _wait(stage, day)
            assert calls == _calls(google, revoked)
            await _judge(stage, day)
            await asyncio.to_thread(process.stop)


def _calls(google: RunningGoogle, person: Person) -> Counter[str]:
    facts = google.call(lambda: list(google.world.ledger._facts))
    return Counter(
        one.method
        for one in facts
        if isinstance(one, RequestFact) and one.principal == person.email
    )


async def _wait(stage: Stage, day: Day) -> None:
    """Wait until everything is read and its activity too."""
    del stage
    async with asyncio.timeout(300):
        for person in day.people:
            while not await day.quiet(person):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.2)
        await asyncio.sleep(2.0)  # another window of activity


async def _judge(stage: Stage, day: Day) -> None:
    believed = Believed()
    last = await stage.bus.last_sequence(subjects.RAW.name)
    async for stored in stage.bus.follow(subjects.RAW.name):
        if stored is None:
            continue
        believed.take(Kept(stored.subject, stored.data, stored.sequence))
        if stored.sequence >= last:
            break
    for person in day.people:
        truth = day.truth(person)
        mine = believed.visible_to(person.connection)
        for file in mine.keys() - truth.keys():
            # The log shows what is open by a link to who had it before; no listing does.
            if day.open_to(person, file):
                del mine[file]
        assert truth == mine, f"{person.connection}: {_difference(truth, mine)}"
    missing = {
        key: at
        for key, at in day.expected_activity().items()
        if key not in believed.activity
        and not any(low <= at <= high for low, high in believed.gaps)
    }
    assert {} == missing
    asked: Counter[str] = Counter()
    for person in day.people:
        asked += _calls(day.google, person)
    assert asked.keys() <= DESIGNED, asked
    logs = 0
    for person in day.people:
        logs += sum(one.kind != "activity" for one in await person.records())
    # One a log, one a lost cursor; each may have been repeated after a fault or a kill.
    starts = logs + len(set(believed.gaps))
    assert asked["drive.changes.getStartPageToken"] <= 3 * starts, asked


def _difference(truth: dict[str, Any], mine: dict[str, Any]) -> str:
    wrong = [one for one in {*truth, *mine} if truth.get(one) != mine.get(one)]
    return "; ".join(f"{one}: {truth.get(one)} but {mine.get(one)}" for one in wrong[:5])
