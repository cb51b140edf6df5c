"""The command against a real broker, as a person runs it."""

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from drivewake.contracts import events as e
from drivewake.contracts import subjects
from drivewake.contracts.activity import ActivityEdited, ActivityObject, ActivityRenamed
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.events import Event, encode_event
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.runtime.bus import Message
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

Cli = Callable[..., subprocess.CompletedProcess[str]]
NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)


@pytest.fixture
def environment(nats_url: str, prefix: str) -> dict[str, str]:
    """What the command is told."""
    return {
        **os.environ,
        "DRIVEWAKE_NATS_URL": nats_url,
        "DRIVEWAKE_NATS_PREFIX": prefix,
        "COLUMNS": "200",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run the command to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
async def bus(nats_url: str, prefix: str) -> AsyncIterator[NatsBus]:
    """A provisioned broker."""
    one = await connect(name="test", url=nats_url, prefix=prefix)
    await provision(one)
    yield one
    await one.close()


async def put_event(bus: NatsBus, number: int, data: e.EventData, tenant: str = "acme") -> None:
    """Publish one event as the relay does."""
    event = Event(
        id=f"e{number}",
        source="/test",
        type=e.type_of(data),
        subject="f1",
        time=NOW,
        tenant=tenant,
        connection="c1",
        data=data,
        position=number,
    )
    message = Message(subject=subjects.event(tenant, event.type), data=encode_event(event))
    await bus.publish(message)


def renamed(number: int) -> e.FileRenamed:
    """A renaming that says its number."""
    file = e.FileRef(id="f1", name=f"n{number}", mime_type="text/plain", version=number)
    return e.FileRenamed(file=file, before=f"n{number - 1}", after=f"n{number}")


async def test_related_events_stand_beside_each_other(cli: Cli, bus: NatsBus) -> None:
    """What somebody did, and what changed of the file then, name each other; others do not."""
    target = ActivityObject(kind="file", id="f1")
    await put_event(bus, 1, renamed(1))
    await put_event(bus, 2, ActivityRenamed(target=target, at=NOW, before="n0", after="n1"))
    await put_event(bus, 3, ActivityEdited(target=target, at=NOW))
    done = await asyncio.to_thread(cli, "events", "related", "f1", "--json")
    told = [msgspec.json.decode(each) for each in done.stdout.splitlines()]
    assert [["e2"], ["e1"], []] == [each["correlates_with"] for each in told]
    assert (0, {"target-action-time/1"}) == (done.returncode, {each["rule"] for each in told})
    lines = (await asyncio.to_thread(cli, "events", "related", "f1")).stdout.splitlines()
    assert ["with #2", "with #1"] == [each[-7:] for each in lines[:2]]


async def test_provision_makes_everything_and_may_be_repeated(
    cli: Cli, nats_url: str, prefix: str
) -> None:
    """After it services can bind; a second time it changes nothing."""
    first = await asyncio.to_thread(cli, "provision")
    second = await asyncio.to_thread(cli, "provision", "--scale", "0.5")
    assert [(0, ""), (0, "")] == [(done.returncode, done.stderr) for done in (first, second)]
    assert (
        first.stdout
        == second.stdout
        == (
            f"{len(subjects.STREAMS)} streams, {len(subjects.BUCKETS)} buckets and "
            f"{len(subjects.CONSUMERS)} consumers are as specified\n"
        )
    )
    bus = await connect(name="test", url=nats_url, prefix=prefix)
    await bus.puller(subjects.POLLER_SIGNALS)
    await bus.close()


async def test_status_before_provision_says_what_to_do(cli: Cli) -> None:
    """An empty broker is no traceback: it says which command is missing."""
    done = await asyncio.to_thread(cli, "status", "--check")
    assert (1, "") == (done.returncode, done.stderr)
    assert f"{len(subjects.STREAMS)} streams do not exist" in done.stdout
    assert "run `drivewake provision`" in done.stdout


async def test_status_shows_connections_and_logs(cli: Cli, bus: NatsBus) -> None:
    """Connections from their stream, logs from their records while no poller answers."""
    state = Connection(
        status="blocked",
        principal_kind="user",
        scopes=(),
        revision=1,
        since=NOW,
        reason="domainPolicy",
    )
    envelope = Envelope(
        id="m1",
        source="/test",
        type=CONNECTION_TYPE,
        time=NOW,
        tenant="acme",
        connection="c1",
        data=state,
    )
    body = CONNECTIONS.encode(envelope)
    await bus.publish(Message(subject=subjects.connection("acme", "c1"), data=body))
    record = LogRecord(
        tenant="acme", connection="c1", log="l1", kind="user_changes", failures=3, last_error="no"
    )
    logs = await bus.key_value(subjects.LOGS)
    await logs.put("c1.l1", msgspec.json.encode(record), revision=0)
    done = await asyncio.to_thread(cli, "status", "--json")
    report = msgspec.json.decode(done.stdout)
    assert (0, "") == (done.returncode, done.stderr)
    assert [("c1", "blocked")] == [(c["connection"], c["status"]) for c in report["connections"]]
    assert [("l1", "failing", 3)] == [
        (one["log"], one["state"], one["failures"]) for one in report["logs"]
    ]
    assert 1 == next(s["messages"] for s in report["streams"] if s["name"] == "DRIVE_CONNECTION")
    table = (await asyncio.to_thread(cli, "status")).stdout
    for words in ("Connections: 1 (1 blocked)", "Logs: 1 (1 failing)", "domainPolicy"):
        assert words in table
    assert "! log l1 of c1 fails, 3 times in a row: no" in table
    assert 1 == (await asyncio.to_thread(cli, "status", "--check")).returncode


async def test_status_asks_the_poller(cli: Cli, bus: NatsBus) -> None:
    """Where a poller answers, its pages are followed to the end and all may be well."""

    def log(name: str) -> dict[str, Any]:
        return {
            "tenant": "acme",
            "connection": "c1",
            "log": name,
            "kind": "user_changes",
            "state": "live",
            "phase": "live",
            "interval_s": 10.0,
            "why": "quiet for 2 h",
        }

    async def answer(subject: str, body: bytes) -> bytes:
        if "after" in msgspec.json.decode(body):
            return msgspec.json.encode({"total": 2, "logs": [log("l2")], "next": ""})
        return msgspec.json.encode({"total": 2, "logs": [log("l1")], "next": "c1.l1"})

    await bus.serve("status", subjects.STATUS_RPC, answer, concurrency=1)
    done = await asyncio.to_thread(cli, "status", "--check")
    assert 0 == done.returncode
    for words in ("Logs: 2 (2 live)", "quiet for 2 h", "All is well."):
        assert words in done.stdout


async def test_tail_shows_the_newest(cli: Cli, bus: NatsBus) -> None:
    """The last n, oldest first, as lines or as received."""
    for number in range(1, 6):
        await put_event(bus, number, renamed(number))
    lines = (await asyncio.to_thread(cli, "events", "tail", "-n", "2")).stdout.splitlines()
    assert ["«n3» → «n4»  #4", "«n4» → «n5»  #5"] == [
        one.partition("acme")[2].strip() for one in lines
    ]
    received = (await asyncio.to_thread(cli, "events", "tail", "-n", "3", "--json")).stdout
    assert ["e3", "e4", "e5"] == [e.decode_event(one.encode()).id for one in received.splitlines()]


async def test_tail_chooses_by_type_and_tenant(cli: Cli, bus: NatsBus) -> None:
    """Only what was asked for is shown, however far back its last one is."""
    await put_event(bus, 1, renamed(1), tenant="other")
    await put_event(bus, 2, e.GapClosed(gap="g", by="snapshot"))
    for number in range(3, 30):
        await put_event(bus, number, renamed(number))

    async def ids(*arguments: str) -> list[str]:
        done = await asyncio.to_thread(cli, "events", "tail", "-n", "2", "--json", *arguments)
        return [e.decode_event(one.encode()).id for one in done.stdout.splitlines()]

    assert ["e1"] == await ids("--tenant", "other")
    assert ["e2"] == await ids("--type", "ingest")
    assert ["e28", "e29"] == await ids("--type", "file.renamed", "--tenant", "acme")
    assert [] == await ids("--type", "comment.added")


async def test_tail_follows_until_interrupted(environment: dict[str, str], bus: NatsBus) -> None:
    """New events come as they happen; Ctrl-C ends it with 130 and no traceback."""
    await put_event(bus, 1, renamed(1))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drivewake.cli", "events", "tail", "-f", "--json",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert "e1" == e.decode_event(await process.stdout.readline()).id
    await put_event(bus, 2, renamed(2))
    assert "e2" == e.decode_event(await process.stdout.readline()).id
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert (130, b"") == (process.returncode, errors)


async def test_event_that_cannot_be_read_is_one_line(cli: Cli, bus: NatsBus) -> None:
    """A newer or broken event does not end the tail."""
    await bus.publish(Message(subject=subjects.event("acme", "file.renamed"), data=b"{"))
    await put_event(bus, 2, renamed(2))
    done = await asyncio.to_thread(cli, "events", "tail")
    assert (0, 2) == (done.returncode, len(done.stdout.splitlines()))
    assert "cannot be read" in done.stdout


@pytest.mark.parametrize("verb", [("status",), ("events", "tail", "-f"), ("provision",)])
def test_broker_that_is_away_is_one_line(cli: Cli, verb: tuple[str, ...]) -> None:
    """Exit code 3, one line that names the address and not the password."""
    done = cli(*verb, DRIVEWAKE_NATS_URL="nats://user:hunter2@127.0.0.1:9")
    assert (3, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("drivewake: cannot reach NATS at nats://user:***@127.0.0.1:9")
    assert 1 == done.stderr.count("\n")
    assert "hunter2" not in done.stderr


def test_wrong_settings_are_told_all_at_once(cli: Cli) -> None:
    """Exit code 2 and a line for each wrong variable."""
    done = cli("status", DRIVEWAKE_HTTP_PORT="x", DRIVEWAKE_SHUTDOWN_S="y")
    assert (2, 2) == (done.returncode, len(done.stderr.splitlines()))


def test_help_teaches(cli: Cli) -> None:
    """The first screen names the verbs, shows examples, and explains the exit codes."""
    done = cli("--help")
    assert 0 == done.returncode
    for words in ("drivewake events tail -f", "Exit codes", "DRIVEWAKE_NATS_URL", "provision"):
        assert words in done.stdout


def test_unknown_verb_is_misuse(cli: Cli) -> None:
    """Exit code 2, as for any wrong use."""
    assert 2 == cli("nonsense").returncode


async def test_channels_show_what_needs_attention_first(bus: NatsBus, cli: Cli) -> None:
    """Refused and silent ones stand above living ones; JSON holds whole records."""
    bucket = await bus.key_value(subjects.CHANNELS)
    now = dt.datetime.now(dt.UTC)
    for number, (status, reason) in enumerate(
        [("live", ""), ("silent", "no sync message"), ("refused", "push.webhookUrlUnauthorized")]
    ):
        record = ChannelRecord(
            channel=f"channel{number}",
            tenant="acme",
            connection="ann",
            log="log1",
            created_at=now,
            expires_at=now + dt.timedelta(days=3),
            status=status,  # type: ignore[arg-type]
            reason=reason,
        )
        await bucket.put(record.channel, msgspec.json.encode(record), revision=0)

    table = await asyncio.to_thread(cli, "channels")
    lines = await asyncio.to_thread(cli, "channels", "--status", "silent", "--json")

    found = [table.stdout.index(f"channel{number}") for number in (2, 1, 0)]
    assert sorted(found) == found, table.stdout
    assert "push.webhookUrlUnauthorized" in table.stdout
    assert "1 live, 1 silent, 1 refused" in table.stdout
    assert ["channel1"] == [
        msgspec.json.decode(line, type=ChannelRecord).channel for line in lines.stdout.splitlines()
    ]
