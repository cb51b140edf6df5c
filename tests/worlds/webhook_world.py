"""A webhook in its world: real nats-server, simulated Google, a stand-in for auth.

`World` holds what a test touches; its webhook is a process of its own, as in life.
"""

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import nacl.public
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection, Status
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.ids import log_id, new_id
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.contracts.rpc import Refusal, ReportReply, ReportRequest, TokenReply, TokenRequest
from drivewake.contracts.signals import SIGNALS, Signal
from drivewake.lab.google.serve import RunningGoogle, start_google
from drivewake.lab.google.world import Options
from drivewake.lab.servers import ManagedProcess, free_port
from drivewake.runtime.bus import Entry, Message, Puller
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision
from drivewake.webhook.tokens import Keyring, Subject

SECRET = base64.b64encode(bytes(range(32))).decode()
KEYS = f"k1:{SECRET}"
TENANT = "acme"
DEADLINE_S = 60.0
FETCH_S = 5.0
LOOK_S = 0.02
T = TypeVar("T")
SCOPES = ("https://www.googleapis.com/auth/drive.readonly",)


class World:
    """Everything around one webhook.

    `refuse` makes auth refuse every token, `scopes` are those of the tokens it gives,
    `reports` is what it was told.
    """

    def __init__(self, bus: NatsBus, google: RunningGoogle, directory: Path, nats_url: str) -> None:
        self.bus = bus
        self.google = google
        self.directory = directory
        self.nats_url = nats_url
        self.refuse: Refusal | None = None
        self.scopes = SCOPES
        self.reports: list[ReportRequest] = []
        self.keys = Keyring.parse(KEYS)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._revisions: dict[str, int] = {}
        self._emails: dict[str, str] = {}
        self._puller: Puller | None = None
        self._processes: list[ManagedProcess] = []

    # -- Processes --

    def webhook(self, port: int | None = None, **settings: str) -> ManagedProcess:
        """Return a webhook, not started; settings by their names in lower case."""
        port = port or free_port()
        number = len(self._processes)
        env = {
            "DRIVEWAKE_NATS_URL": self.nats_url,
            "DRIVEWAKE_NATS_PREFIX": self.bus.link.prefix,
            "DRIVEWAKE_HTTP_PORT": str(port),
            "DRIVEWAKE_PUSH_ADDRESS": f"http://127.0.0.1:{port}",
            "DRIVEWAKE_ALLOW_INSECURE_PUSH": "true",
            "DRIVEWAKE_CHANNEL_KEYS": KEYS,
            "DRIVEWAKE_GOOGLE_API_URL": self.google.base_url,
            "DRIVEWAKE_LOG_FORMAT": "json",
            **{f"DRIVEWAKE_{name.upper()}": value for name, value in settings.items()},
        }
        process = ManagedProcess(
            f"webhook-{number}",
            "drivewake.webhook",
            ["run"],
            log_path=self.directory / f"webhook-{number}.log",
            env=env,
            ready=f"http://127.0.0.1:{port}/readyz",
        )
        self._processes.append(process)
        return process

    async def close(self) -> None:
        """Stop what was started."""
        for process in self._processes:
            process.stop()
        await self.http.close()
        await self.bus.close()

    # -- Connections and logs --

    async def connection(self, email: str, status: Status = "active") -> Subject:
        """Make (or move to a state) the connection of a person, with a live log."""
        if email not in self.google.world.state.users:
            self.google.call(self.google.world.add_user, email)
        connection = email.partition("@")[0]
        self._emails[connection] = email
        subject = Subject(TENANT, connection, log_id(connection, "user_changes"))
        self._revisions[connection] = self._revisions.get(connection, 0) + 1
        now = dt.datetime.now(dt.UTC)
        state = Connection(
            status=status,
            principal_kind="user",
            scopes=tuple(SCOPES),
            revision=self._revisions[connection],
            since=now,
        )
        envelope = Envelope(
            id=new_id(),
            source="/drivewake/auth",
            type=CONNECTION_TYPE,
            time=now,
            tenant=TENANT,
            connection=connection,
            data=state,
        )
        await self.bus.publish(
            Message(
                subject=subjects.connection(TENANT, connection), data=CONNECTIONS.encode(envelope)
            )
        )
        return subject

    async def log(self, subject: Subject, **changes: Any) -> None:  # noqa: ANN401 - any field
        """Write the record of a person's own changes, live from the start unless told not to."""
        logs = await self.bus.key_value(subjects.LOGS)
        record = LogRecord(
            tenant=subject.tenant,
            connection=subject.connection,
            log=subject.log,
            kind="user_changes",
            phase="live",
            cursor="1",
        )
        key = subjects.log_key(subject.connection, subject.log)
        entry = await logs.get(key)
        value = msgspec.json.encode(msgspec.structs.replace(record, **changes))
        await logs.put(key, value, revision=entry.revision if entry else 0)

    async def live_channel(self, email: str) -> ChannelRecord:
        """Make a connection with its log; return its channel once it is live and synced."""
        subject = await self.connection(email)
        await self.log(subject)
        return await self.until_channel(subject, status="live", synced=True)

    async def answer_token(self, subject: str, body: bytes) -> bytes:
        """Answer as auth would."""
        del subject
        if self.refuse is not None:
            return msgspec.json.encode(self.refuse)
        question = msgspec.json.decode(body, type=TokenRequest)
        email = self._emails[question.connection]

        def issue() -> str:
            world = self.google.world
            client = world.grants.clients[world.options.client_id]
            user = world.state.user(email)
            return world.grants.issue(client, user.email, self.scopes, world.now_ns()).token

        key = nacl.public.PublicKey(base64.b64decode(question.public_key))
        sealed = nacl.public.SealedBox(key).encrypt(self.google.call(issue).encode())
        reply = TokenReply(
            sealed=base64.b64encode(sealed).decode(),
            token_id=new_id(),
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
        )
        return msgspec.json.encode(reply)

    async def answer_report(self, subject: str, body: bytes) -> bytes:
        """Take a report as auth would."""
        del subject
        self.reports.append(msgspec.json.decode(body, type=ReportRequest))
        return msgspec.json.encode(ReportReply(status="degraded"))

    # -- What can be seen --

    async def channels(self, subject: Subject) -> list[ChannelRecord]:
        """Return the records of a log's channels, oldest first."""
        bucket = await self.bus.key_value(subjects.CHANNELS)
        found: list[ChannelRecord] = []
        entries = bucket.watch()
        async for entry in entries:
            if entry is None:
                break
            if entry.value is not None:
                record = msgspec.json.decode(entry.value, type=ChannelRecord)
                if Subject(record.tenant, record.connection, record.log) == subject:
                    found.append(record)
        await entries.aclose()  # type: ignore[attr-defined]
        return sorted(found, key=lambda record: record.created_at)

    async def until_channel(
        self, subject: Subject, *, status: str, synced: bool = False, after: str = ""
    ) -> ChannelRecord:
        """Return the first channel of a log in a status, waiting for it; `after` is left out."""
        bucket = await self.bus.key_value(subjects.CHANNELS)
        entries = bucket.watch()
        seen: list[ChannelRecord | None] = []
        try:
            async for entry in _until(entries, DEADLINE_S):
                record = _record(entry)
                seen.append(record)
                if record is None or record.channel == after or record.status != status:
                    continue
                if Subject(record.tenant, record.connection, record.log) != subject:
                    continue
                if not synced or record.synced_at is not None:
                    return record
        finally:
            await entries.aclose()  # type: ignore[attr-defined]
        said = [line for process in self._processes for line in process.log_tail(5)]
        raise AssertionError(f"no {status} channel of {subject}; seen {seen}; webhook: {said}")

    async def until_signal(self, subject: Subject) -> Signal:
        """Take signals until one is of this log, waiting for it, and return it."""
        if self._puller is None:
            self._puller = await self.bus.puller(subjects.POLLER_SIGNALS)
        for _ in range(int(DEADLINE_S / FETCH_S)):
            for delivery in await self._puller.fetch(100, FETCH_S):
                await delivery.ack()
                envelope = SIGNALS.decode(delivery.data)
                if (envelope.connection, envelope.data.log) == (subject.connection, subject.log):
                    return envelope.data
        raise AssertionError(f"no signal of {subject}")

    async def signals_waiting(self) -> int:
        """Return how many signals wait for a poller."""
        info = await self.bus.link.api(f"STREAM.INFO.{self.bus.link.name('DRIVE_SIGNAL')}")
        return int(info["state"]["messages"])

    async def until_no_signal(self, subject: Subject) -> None:
        """Take the signals of a log; return once the broker has forgotten what was taken."""
        if await self.signals_waiting():
            await self.until_signal(subject)
        for _ in range(int(DEADLINE_S / LOOK_S)):
            if not await self.signals_waiting():
                return
            await asyncio.sleep(LOOK_S)
        raise AssertionError(f"signals beside those of {subject}")

    def headers(self, record: ChannelRecord, **changes: str) -> dict[str, str]:
        """Return the headers of a genuine push on a channel; changes by name with underscores."""
        subject = Subject(record.tenant, record.connection, record.log)
        headers = {
            "X-Goog-Channel-ID": record.channel,
            "X-Goog-Channel-Token": self.keys.token(subject, record.channel, record.expires_at),
            "X-Goog-Message-Number": "7",
            "X-Goog-Resource-ID": record.resource,
            "X-Goog-Resource-State": "change",
        }
        return headers | {name.replace("_", "-"): value for name, value in changes.items()}


async def _until(entries: AsyncIterator[T], deadline_s: float) -> AsyncIterator[T]:
    """Yield what comes until the deadline."""
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(deadline_s):
            while True:
                yield await anext(entries)


def _record(entry: Entry | None) -> ChannelRecord | None:
    if entry is None or entry.value is None:
        return None
    return msgspec.json.decode(entry.value, type=ChannelRecord)


@pytest.fixture(scope="module")
def google() -> Iterator[RunningGoogle]:
    """A simulated Google for the tests of one file."""
    with start_google(Options()) as running:
        yield running


@contextlib.asynccontextmanager
async def provisioned(
    nats_url: str,
    prefix: str,
    google: RunningGoogle,
    directory: Path,
    seeds: Mapping[str, Path] | None = None,
) -> AsyncIterator[World]:
    """A provisioned installation without a webhook yet; with `seeds`, on a guarded broker."""

    async def connected(user: str) -> NatsBus:
        seed = seeds[user].read_text() if seeds else ""
        return await connect(
            name=user, url=nats_url, prefix=prefix, user=user if seeds else "", seed=seed
        )

    bus = await connected("provision")
    await provision(bus, scale=0.01)
    made = World(bus, google, directory, nats_url)
    auth = await connected("auth")
    await auth.serve("auth", subjects.TOKEN_RPC_ALL, made.answer_token, concurrency=8)
    await auth.serve("reports", subjects.REPORT_RPC_ALL, made.answer_report, concurrency=8)
    try:
        yield made
    finally:
        await made.close()
        await auth.close()
