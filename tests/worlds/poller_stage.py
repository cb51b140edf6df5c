"""A poller in its world: real nats-server, simulated Google, a stand-in for auth.

`Stage` holds what a test touches. Pollers run in this process on a connection of their own
(`poller`), or as processes (`process`).
"""

# ruff: noqa: ANN401 - settings are of any type

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import nacl.public
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection, Status
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.ids import log_id, new_id, partition_of
from drivewake.contracts.raw import RAWS, LogFact, Raw
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.contracts.rpc import Refusal, ReportReply, ReportRequest, TokenReply, TokenRequest
from drivewake.contracts.signals import Reason, Signal, signal_message
from drivewake.lab.google.actions import Action, Batch, apply
from drivewake.lab.google.serve import RunningGoogle, start_google
from drivewake.lab.servers import ManagedProcess, free_port
from drivewake.poller.app import assemble, google
from drivewake.poller.buckets import BusLogs
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.bus import Bus, Message
from drivewake.runtime.errors import ConflictError, NotFoundError
from drivewake.runtime.lifecycle import Service
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

TENANT = "acme"
SCOPES = ("https://www.googleapis.com/auth/drive.readonly",)
ACTIVITY = "https://www.googleapis.com/auth/drive.activity.readonly"
QUICK = {
    "interval_floor_s": 0.2,
    "interval_ceiling_s": 1.0,
    "push_interval_floor_s": 0.5,
    "push_interval_ceiling_s": 5.0,
    "reconcile_s": 0.2,
    "overdue_s": 0.5,
    "lease_s": 2.0,
}
PARTS = ("permissions", "revisions", "comments")
SLEEPY: dict[str, Any] = QUICK | {
    "interval_floor_s": 300.0,
    "interval_ceiling_s": 300.0,
    "overdue_s": 600.0,
}
"""Timers that never fire within a test."""


class Stored(msgspec.Struct, frozen=True):
    """A raw as DRIVE_RAW keeps it."""

    sequence: int
    partition: int
    raw: Raw

    @property
    def fact(self) -> LogFact:
        """The fact in a raw of source `log`."""
        return msgspec.json.decode(self.raw.body, type=LogFact)

    @property
    def body(self) -> dict[str, Any]:
        """The item as Google gave it."""
        return msgspec.json.decode(self.raw.body, type=dict[str, Any])

    @property
    def version(self) -> int | None:
        """Google's version of the file in it, None if it was removed."""
        body = self.body
        file = body if self.raw.source in {"snapshot", "file"} else body.get("file")
        return int(file["version"]) if file else None


class Person:
    """One Google account with its connection and the log of its changes."""

    def __init__(self, stage: "Stage", name: str, scopes: tuple[str, ...]) -> None:
        self.stage = stage
        self.scopes = scopes
        self.email = f"{name}@example.com"
        self.connection = name
        self.log = log_id(name, "user_changes")
        self.key = subjects.log_key(name, self.log)
        self.revision = 0
        self.watched: tuple[str, ...] = ()

    def act(self, *actions: Action) -> list[dict[str, Any]]:
        """Do something in the Drive."""
        sim = self.stage.google
        return sim.call(apply, sim.world, Batch(actor=self.email, actions=actions))

    async def connect(self, status: Status = "active") -> None:
        """Say that the connection has a state."""
        self.revision += 1
        now = dt.datetime.now(dt.UTC)
        state = Connection(
            status=status,
            principal_kind="user",
            scopes=self.scopes,
            watched_folders=self.watched,
            revision=self.revision,
            since=now,
        )
        envelope = Envelope(
            id=new_id(),
            source="/drivewake/auth",
            type=CONNECTION_TYPE,
            time=now,
            tenant=TENANT,
            connection=self.connection,
            data=state,
        )
        subject = subjects.connection(TENANT, self.connection)
        await self.stage.bus.publish(Message(subject=subject, data=CONNECTIONS.encode(envelope)))

    async def signal(self, reason: Reason = "push", *, log: str = "") -> None:
        """Say that the user's log, or another one, should be looked at."""
        log = log or self.log
        body = signal_message(
            source="/test",
            tenant=TENANT,
            connection=self.connection,
            signal=Signal(log=log, reason=reason, requested_at=dt.datetime.now(dt.UTC)),
        )
        subject = subjects.signal(TENANT, self.connection, log)
        await self.stage.bus.publish(Message(subject=subject, data=body))

    async def known(self) -> LogRecord:
        """Return the log record, which must be there."""
        record = await self.record()
        assert record is not None
        return record

    async def record(self) -> LogRecord | None:
        """Return the log record, None before its first."""
        entry = await self.stage.logs.get(self.key)
        return None if entry is None else msgspec.json.decode(entry.value or b"", type=LogRecord)

    async def records(self) -> list[LogRecord]:
        """Return the records of all logs of the connection."""
        found = []
        async for entry in self.stage.logs.watch(f"{self.connection}.*"):
            if entry is None:
                break
            if entry.value is not None:
                found.append(msgspec.json.decode(entry.value, type=LogRecord))
        return found

    async def log_of(
        self,
        kind: LogKind,
        resource: str,
        reached: Callable[[LogRecord], bool] = lambda _: True,
    ) -> LogRecord:
        """Wait until a log is there and as wished; return its record."""
        async with asyncio.timeout(60):
            while True:
                for record in await self.records():
                    if (record.kind, record.resource) == (kind, resource) and reached(record):
                        return record
                await asyncio.sleep(0.02)

    async def all_raws(self) -> list[Stored]:
        """Return the raws of all logs of the connection."""
        logs = {record.log for record in await self.records()}
        return [stored for stored in await self.stage.raws() if stored.raw.log in logs]

    async def change_record(self, **changes: Any) -> None:
        """Write into the log record, whoever writes at the same time."""
        for _ in range(100):
            entry = await self.stage.logs.get(self.key)
            assert entry is not None
            record = msgspec.json.decode(entry.value or b"", type=LogRecord)
            value = msgspec.json.encode(msgspec.structs.replace(record, **changes))
            with contextlib.suppress(ConflictError):
                await self.stage.logs.put(self.key, value, revision=entry.revision)
                return
        raise AssertionError("the record changes too often")

    def tip(self) -> str:
        """Return the token that stands behind everything that happened so far."""
        sim = self.stage.google
        return sim.call(lambda: str(sim.world.state.user(self.email).log.tip))

    async def caught_up(self) -> LogRecord:
        """Wait until everything so far is read and nobody holds the log; return the record."""
        tip = self.tip()
        return await self.until(lambda r: r.phase == "live" and r.cursor == tip and not r.owner)

    async def until(self, reached: Callable[[LogRecord], bool]) -> LogRecord:
        """Wait until the record is as wished; return it."""
        async with asyncio.timeout(60):
            while True:
                record = await self.record()
                if record is not None and reached(record):
                    return record
                await asyncio.sleep(0.01)

    def versions(self, before: str = "") -> dict[str, int | None]:
        """Return what Google shows now of each file with an entry before a token: its version.

        None stands for a file that is gone or hidden.
        """
        sim = self.stage.google

        def look() -> dict[str, int | None]:
            user = sim.world.state.user(self.email)
            end = int(before) if before else user.log.tip
            found: dict[str, int | None] = {}
            for file, place in user.log._latest.items():
                living = sim.world.state.files.get(file)
                if place < end:
                    found[file] = None if living is None else living.version
            return found

        return sim.call(look)

    async def raws(self) -> list[Stored]:
        """Return the raws of this log, in order of the stream."""
        return [stored for stored in await self.stage.raws() if stored.raw.log == self.log]

    async def check_covered(self, before: str = "", *, swept: bool = False) -> None:
        """Assert that DRIVE_RAW holds the newest state of all that was read.

        With `swept`, a file that is gone may also be missing from the last whole listing.
        """
        raws = await self.raws()
        seen = {(one.raw.item, one.version) for one in raws if _is_item(one)}
        missing = set(self.versions(before).items()) - seen
        if swept:
            ended = [one.raw.snapshot for one in raws if _fact(one) == "snapshot_completed"]
            listed = {one.raw.item for one in raws if one.raw.snapshot == ended[-1]}
            missing = {one for one in missing if one[1] is not None or one[0] in listed}
        assert set() == missing


class Running:
    """A poller on a connection of its own."""

    def __init__(self, bus: NatsBus, service: Service, logs: BusLogs) -> None:
        self.bus = bus
        self.service = service
        self.logs = logs
        self.task = asyncio.create_task(service.run())

    async def stop(self) -> int:
        """Stop as by SIGTERM; return the exit code."""
        self.service.stop.request()
        return await self.task

    async def crash(self) -> None:
        """End without any last word."""
        self.task.cancel()
        await asyncio.wait([self.task])


class Stage:
    """Everything around pollers. `refuse` makes auth refuse, `reports` is what it was told."""

    def __init__(self, bus: NatsBus, url: str, sim: RunningGoogle, directory: Path) -> None:
        self.bus = bus
        self.url = url
        self.google = sim
        self.directory = directory
        self.refuse: Refusal | None = None
        self.reports: list[ReportRequest] = []
        self.people: dict[str, Person] = {}
        self.after_report: Status = "active"
        self._raws: list[Stored] = []
        self._running: list[Running] = []
        self._processes: list[ManagedProcess] = []

    async def open(self) -> None:
        """Make the streams and let auth answer."""
        await provision(self.bus)
        self.logs = await self.bus.key_value(subjects.LOGS)
        await self.bus.serve("token", subjects.TOKEN_RPC_ALL, self._token, concurrency=8)
        await self.bus.serve("report", subjects.REPORT_RPC_ALL, self._report, concurrency=8)

    async def close(self) -> None:
        """Stop what was started."""
        for running in self._running:
            if not running.task.done():
                await running.stop()
        for process in self._processes:
            process.stop()
        await self.bus.close()

    def person(self, *, activity: bool = False) -> Person:
        """Return a new account with a Drive; `activity` may be read only if that is granted."""
        name = f"p{new_id()[:10]}"
        scopes = (*SCOPES, ACTIVITY) if activity else SCOPES
        person = self.people[name] = Person(self, name, scopes)
        self.google.call(self.google.world.add_user, person.email)
        return person

    # -- pollers --

    async def poller(
        self, wrap: Callable[[NatsBus], Bus] = lambda bus: bus, **settings: Any
    ) -> Running:
        """Start a poller in this process; `wrap` may stand between it and the bus."""
        told = PollerSettings(
            nats_url=self.url,
            nats_prefix=self.bus.link.prefix,
            google_api_url=self.google.base_url,
            shutdown_s=20.0,
            **{**QUICK, "enrich": PARTS, "activity": True, **settings},
        )
        service = Service("poller", shutdown_s=told.shutdown_s)
        bus = await connect(told, name="poller")
        service.on_close("nats", bus.close)
        drive = google(told)
        service.on_close("google", drive.close)
        logs = await assemble(service, wrap(bus), drive, told)
        running = Running(bus, service, logs)
        self._running.append(running)
        return running

    def process(self, **settings: Any) -> ManagedProcess:
        """Return a poller process, not started."""
        port = free_port()
        number = len(self._processes)
        told = {
            "nats_url": self.url,
            "nats_prefix": self.bus.link.prefix,
            "google_api_url": self.google.base_url,
            "http_port": port,
            "log_format": "json",
            **QUICK,
            **settings,
        }
        process = ManagedProcess(
            f"poller-{number}",
            "drivewake.poller",
            ["run"],
            log_path=self.directory / f"poller-{number}.log",
            env={f"DRIVEWAKE_{name.upper()}": str(value) for name, value in told.items()},
            ready=f"http://127.0.0.1:{port}/readyz",
        )
        self._processes.append(process)
        return process

    # -- what can be seen --

    async def raws(self) -> list[Stored]:
        """Return all raws in order; what was read once is kept."""
        stream = self.bus.link.name(subjects.RAW.name)
        found = self._raws
        last = await self.bus.last_sequence(subjects.RAW.name)
        for sequence in range(len(found) + 1, last + 1):
            answer = await self.bus.link.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
            message = answer["message"]
            subject = self.bus.link.plain(message["subject"])
            raw = RAWS.decode(base64.b64decode(message["data"])).data
            found.append(Stored(sequence, int(subject.split(".")[3]), raw))
        return list(found)

    async def waiting(self) -> list[str]:
        """Return the subjects in DRIVE_SIGNAL: signals that wait and schedules."""
        stream = self.bus.link.name(subjects.SIGNAL.name)
        answer = await self.bus.link.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
        return [self.bus.link.plain(one) for one in answer["state"].get("subjects") or {}]

    def requests(self, method: str, person: Person) -> int:
        """Count the calls of a method that Google saw from a person."""
        sim = self.google
        facts = sim.call(lambda: list(sim.world.ledger._facts))
        return sum(
            1
            for fact in facts
            if getattr(fact, "method", "") == method
            and getattr(fact, "principal", "") == person.email
        )

    # -- auth --

    async def _token(self, subject: str, body: bytes) -> bytes:
        del subject
        if self.refuse is not None:
            return msgspec.json.encode(self.refuse)
        question = msgspec.json.decode(body, type=TokenRequest)
        email = self.people[question.connection].email
        world = self.google.world

        def issue() -> str:
            client = world.grants.clients[world.options.client_id]
            scopes = self.people[question.connection].scopes
            return world.grants.issue(client, email, scopes, world.now_ns()).token

        key = nacl.public.PublicKey(base64.b64decode(question.public_key))
        sealed = nacl.public.SealedBox(key).encrypt(self.google.call(issue).encode())
        reply = TokenReply(
            sealed=base64.b64encode(sealed).decode(),
            token_id=new_id(),
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
        )
        return msgspec.json.encode(reply)

    async def _report(self, subject: str, body: bytes) -> bytes:
        del subject
        self.reports.append(msgspec.json.decode(body, type=ReportRequest))
        return msgspec.json.encode(ReportReply(status=self.after_report))


def _is_item(stored: Stored) -> bool:
    return stored.raw.source in {"changes", "snapshot", "file"}


def check_framed(raws: Sequence[Stored]) -> None:
    """Assert what every log must show, whatever happened to its pollers.

    Each item lies in the partition of its file. In each partition every snapshot was said to
    start before its first item; a snapshot that was completed was so after its last item, in
    all sixteen partitions. Its items were observed after it began: else a sweep would end what
    it listed.
    """
    for one in raws:
        if one.raw.source != "log":
            assert partition_of(TENANT, one.raw.item) == one.partition
    for snapshot in {one.raw.snapshot for one in raws} - {""}:
        mine = [one for one in raws if one.raw.snapshot == snapshot]
        ended = [one for one in mine if _fact(one) == "snapshot_completed"]
        assert {one.partition for one in ended} in (set(), set(range(16)))
        begun = {one.fact.started_at for one in mine if _fact(one) == "snapshot_started"}
        observed = {one.raw.observed_at for one in mine if one.raw.source == "snapshot"}
        assert not observed or max(begun) <= min(observed)
        for partition in range(16):
            here = [one for one in mine if one.partition == partition]
            items = [one.sequence for one in here if one.raw.source == "snapshot"]
            began = [one.sequence for one in here if _fact(one) == "snapshot_started"]
            done = [one.sequence for one in here if _fact(one) == "snapshot_completed"]
            assert began or not items
            assert not items or min(began) < min(items)
            assert not items or not done or max(items) < max(done)


def _fact(stored: Stored) -> str:
    return stored.fact.fact if stored.raw.source == "log" else ""


@contextlib.asynccontextmanager
async def open_stage(
    url: str, prefix: str, sim: RunningGoogle, directory: Path
) -> AsyncIterator[Stage]:
    """Set a stage on a broker, apart from others by its prefix."""
    bus = await connect(name="stage", url=url, prefix=prefix)
    stage = Stage(bus, url, sim, directory)
    try:
        await stage.open()
        yield stage
    finally:
        await stage.close()


__all__ = ["QUICK", "SLEEPY", "NotFoundError", "Person", "Stage", "check_framed", "open_stage"]


@pytest.fixture(scope="session")
def poller_google() -> Iterator[RunningGoogle]:
    """A simulated Google for all tests of a worker; each makes its own people."""
    with start_google() as running:
        yield running


@pytest.fixture
async def stage(
    nats_url: str, prefix: str, poller_google: RunningGoogle, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A provisioned broker, auth's stand-in, and a Google to make people in."""
    async with open_stage(nats_url, prefix, poller_google, tmp_path) as one:
        yield one
