"""`drivewake dead` against a real broker, as an operator runs it."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import click
import pytest

from drivewake.cli.dead import dead
from drivewake.contracts import subjects
from drivewake.contracts.dead import DeadLetter
from drivewake.runtime.bus import Message
from drivewake.runtime.dead import MAX_BODY_BYTES, BusGraveyard, dead_letter
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

Cli = Callable[..., subprocess.CompletedProcess[str]]
NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
RAW = subjects.raw(3, "acme", "c1")


@pytest.fixture
async def bus(nats_url: str, prefix: str) -> AsyncIterator[NatsBus]:
    """A provisioned broker."""
    one = await connect(name="test", url=nats_url, prefix=prefix)
    await provision(one)
    yield one
    await one.close()


@pytest.fixture
def cli(nats_url: str, prefix: str) -> Cli:
    """Run the command to its end, nobody at the keyboard."""
    environment = {
        **os.environ,
        "DRIVEWAKE_NATS_URL": nats_url,
        "DRIVEWAKE_NATS_PREFIX": prefix,
        "COLUMNS": "200",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "drivewake.cli", "dead", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def letter(
    reason: str,
    data: bytes = b'{"x": 1}',
    *,
    service: str = "normalizer",
    stream: str = "DRIVE_RAW",
    subject: str = RAW,
) -> DeadLetter:
    """Return a letter of message 7 of a stream."""
    sequence = 7 if stream else 0
    return dead_letter(
        service,
        reason,
        NOW,
        subject=subject,
        data=data,
        stream=stream,
        sequence=sequence,
        headers={"traceparent": "00-aa-bb-01"},
    )


async def bury(bus: NatsBus, *letters: DeadLetter) -> None:
    """Put letters into DRIVE_DEAD: their ids count from 1."""
    await BusGraveyard(bus).bury(letters)


async def everything(bus: NatsBus, stream: str) -> list[tuple[str, bytes]]:
    """Return what stands in a stream that keeps its messages."""
    found: list[tuple[str, bytes]] = []
    async for message in bus.follow(stream):
        if message is None:
            break
        found.append((message.subject, message.data))
    return found


async def test_letters_are_listed_by_service_reason_and_time(cli: Cli, bus: NatsBus) -> None:
    """Filters narrow, `--json` is a line a letter, the table is for people."""
    await bury(
        bus,
        letter("not a valid message: \x1b[31mred"),
        letter("the item has no id", service="poller", stream=""),
        letter("Expected `int`"),
    )

    async def ids(*arguments: str) -> list[int]:
        done = await asyncio.to_thread(cli, "list", "--json", *arguments)
        assert (0, "") == (done.returncode, done.stderr)
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    assert [1, 3] == await ids("--service", "normalizer", "--since", "1h")
    assert [3] == await ids("--reason", "EXPECTED")
    assert [] == await ids("--until", "1h")
    table = (await asyncio.to_thread(cli, "list", "--limit", "2")).stdout
    assert "DRIVE_RAW #7" in table
    assert "and 1 older ones" in table


async def test_a_letter_is_shown_whole(cli: Cli, bus: NatsBus) -> None:
    """Why, where and the bytes; `--raw` are exactly those that could not be handled."""
    await bury(
        bus, letter("why \x1b[31m", b'{"b":{"deep":[1]}}'), letter("binary", b"\xff\x00\x1b[2J")
    )
    done = await asyncio.to_thread(cli, "show", "1")
    assert {"why", "normalizer", "DRIVE_RAW", RAW, "00-aa-bb-01"} <= set(done.stdout.split())
    assert '"deep": [' in done.stdout
    binary = await asyncio.to_thread(cli, "show", "2")
    assert "\x1b" not in done.stdout + binary.stdout
    assert '{"b":{"deep":[1]}}' == (await asyncio.to_thread(cli, "show", "1", "--raw")).stdout
    missing = await asyncio.to_thread(cli, "show", "9")
    assert (1, "drivewake: there is no letter 9: see `drivewake dead list`\n") == (
        missing.returncode,
        missing.stderr,
    )


async def test_replay_puts_the_original_back_and_takes_the_letter_away(
    cli: Cli, bus: NatsBus
) -> None:
    """The same bytes and headers on the same subject; what cannot go back stays, and is told."""
    await bury(
        bus,
        letter("one", b"first"),
        letter("never a message", stream=""),
        letter("cut", b"x" * (MAX_BODY_BYTES + 1)),
        letter("two", b"second"),
    )
    done = await asyncio.to_thread(cli, "replay", "--all")
    assert (1, "2 put back\n") == (done.returncode, done.stdout)
    assert [
        "drivewake: 2: it never was a message of a stream",
        f"drivewake: 3: its body was cut from {MAX_BODY_BYTES + 1} bytes",
    ] == done.stderr.splitlines()
    puller = await bus.puller(subjects.normalizer_raw(3))
    back = await puller.fetch(10, 5)
    assert [(RAW, b"first"), (RAW, b"second")] == [(each.subject, each.data) for each in back]
    assert ["00-aa-bb-01"] * 2 == [each.headers["traceparent"] for each in back]
    assert 2 == len(await everything(bus, subjects.DEAD.name))


async def test_a_state_of_a_connection_is_put_back_only_as_the_current_one(
    cli: Cli, bus: NatsBus
) -> None:
    """Who reads the last message of a connection must never be shown an old one as new."""
    current, outdated = subjects.connection("acme", "c1"), subjects.connection("acme", "c2")
    for subject, data in ((current, b"state 1"), (outdated, b"state 1"), (outdated, b"state 2")):
        await bus.publish(Message(subject=subject, data=data))
    stream = subjects.CONNECTION.name
    await bury(
        bus,
        letter("one", b"state 1", stream=stream, subject=current),
        letter("old", b"state 1", stream=stream, subject=outdated),
    )
    done = await asyncio.to_thread(cli, "replay", "--service", "normalizer", "--json")
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(1, True), (2, False)] == [(each["id"], each["done"]) for each in outcomes]
    assert "newer state" in outcomes[1]["reason"]
    assert [(current, b"state 1")] == (await everything(bus, stream))[3:]


async def test_drop_asks_before_it_destroys(cli: Cli, bus: NatsBus) -> None:
    """Where nobody can answer it wants `--yes`; without a choice it drops nothing."""
    await bury(bus, letter("one"), letter("two"), letter("three"))
    silent = await asyncio.to_thread(cli, "drop", "1", "3")
    assert (2, "") == (silent.returncode, silent.stdout)
    assert "2 letters would be dropped for good: say --yes" in silent.stderr
    assert 3 == len(await everything(bus, subjects.DEAD.name))
    done = await asyncio.to_thread(cli, "drop", "1", "3", "--yes")
    assert (0, "2 dropped\n") == (done.returncode, done.stdout)
    again = await asyncio.to_thread(cli, "drop", "1", "--yes")
    assert (1, "drivewake: 1: there is no such letter\n") == (again.returncode, again.stderr)
    assert 1 == len(await everything(bus, subjects.DEAD.name))


async def test_what_is_no_letter_is_shown_and_can_only_be_dropped(cli: Cli, bus: NatsBus) -> None:
    """A message of a newer version, or garbage, stops no verb."""
    await bus.publish(Message(subject=subjects.dead("normalizer"), data=b"not a letter"))
    assert "not a letter" in (await asyncio.to_thread(cli, "show", "1")).stdout
    failed = await asyncio.to_thread(cli, "replay", "1")
    assert (1, True) == (failed.returncode, "it is no letter" in failed.stderr)
    table = await asyncio.to_thread(cli, "list")
    assert "this version cannot read it" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--since", "yesterday"], "30m, 2h, 7d ago"),
        (["drop", "--yes"], "say which"),
        (["replay"], "say which"),
    ],
)
def test_misuse_is_told_before_anything_is_done(arguments: list[str], said: str) -> None:
    """A wrong time, or no choice at all, ends with code 2 and what to say instead."""
    with pytest.raises(click.ClickException, match=said) as failed:
        dead.main(arguments, standalone_mode=False)
    assert 2 == getattr(failed.value, "code", failed.value.exit_code)
