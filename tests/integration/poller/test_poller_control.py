"""What operators ask of a poller: control of logs, and requests with answers."""

# ruff: noqa: D103, ANN401 - helpers whose names say it; requests have any fields

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest
from poller_stage import SLEEPY, Person, Stage

from drivewake.contracts import subjects
from drivewake.contracts.control import ControlReply, ControlRequest, LogCursor, Verb
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.ids import new_id
from drivewake.contracts.requests import ANSWERS, REQUESTS, Answer, Request
from drivewake.lab.google.actions import Comment, CreateFile, CreateFolder, Update
from drivewake.lab.google.faults import Rule
from drivewake.runtime.bus import Message


async def control(stage: Stage, request: ControlRequest) -> ControlReply:
    body = await stage.bus.request(
        subjects.CONTROL_RPC, msgspec.json.encode(request), timeout_s=10.0
    )
    return msgspec.json.decode(body, type=ControlReply)


async def do(stage: Stage, verb: Verb, person: Person) -> list[str]:
    request = ControlRequest(verb=verb, connections=(person.connection,))
    return [one.outcome for one in (await control(stage, request)).outcomes]


async def ask(stage: Stage, person: Person, **what: Any) -> Answer:
    """Publish a request and return its last answer."""
    name, now = new_id(), dt.datetime.now(dt.UTC)
    envelope = Envelope(
        id=name,
        source="/test",
        type="drive.request",
        time=now,
        tenant="acme",
        connection=person.connection,
        data=Request(requested_at=now, **what),
    )
    subject = subjects.request("acme", person.connection, name)
    await stage.bus.publish(Message(subject=subject, data=REQUESTS.encode(envelope)))
    answered = subjects.answer("acme", person.connection, name)
    async with asyncio.timeout(30):
        async for stored in stage.bus.follow(subjects.ANSWER.name, subject=answered):
            if stored is not None:
                answer = ANSWERS.decode(stored.data).data
                if answer.state != "running":
                    return answer
    raise AssertionError("the stream of answers ended")


async def test_paused_log_rests_until_it_is_resumed_and_misses_nothing(stage: Stage) -> None:
    """No call while it is paused; what happened meanwhile is read afterwards."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    assert ["done"] == await do(stage, "pause", person)
    assert ["unchanged"] == await do(stage, "pause", person)
    calls = stage.requests("drive.changes.list", person)
    person.act(CreateFile(name="x", content=b"x"))
    await person.signal()
    assert ["unchanged"] == await do(stage, "poll", person)
    await asyncio.sleep(0.7)
    assert calls == stage.requests("drive.changes.list", person)
    assert ["done"] == await do(stage, "resume", person)
    await person.caught_up()
    await person.check_covered()


async def test_pause_in_the_middle_of_a_turn_loses_nothing(stage: Stage) -> None:
    """A call that hangs is cut off; the cursor stands where it stood."""
    person = stage.person()
    await stage.poller(**SLEEPY)
    await person.connect()
    before = await person.caught_up()
    google = stage.google
    rule = google.call(
        google.world.faults.add,
        Rule(effect="timeout", seconds=15, principal=person.email, operation="drive.changes.list"),
        google.world.now_ns(),
    )
    person.act(CreateFile(name="x", content=b"x"))
    await person.signal()
    await person.until(lambda record: bool(record.owner))
    assert ["done"] == await do(stage, "pause", person)
    record = await person.known()
    assert (before.cursor, "", True) == (record.cursor, record.owner, record.paused)
    google.call(google.world.faults.remove, rule)
    assert ["done"] == await do(stage, "resume", person)
    await person.caught_up()
    await person.check_covered()


async def test_rewound_log_reads_again_what_came_after_the_cursor(stage: Stage) -> None:
    """From the cursor of a restored store on everything is published once more."""
    person = stage.person()
    await stage.poller(**SLEEPY)
    await person.connect()
    old = await person.caught_up()
    (file,) = person.act(CreateFile(name="x", content=b"x"))
    await person.signal()
    await person.caught_up()
    cursor = LogCursor(connection=person.connection, log=person.log, cursor=old.cursor)
    lost = LogCursor(connection=person.connection, log="nothing", cursor="1")
    reply = await control(stage, ControlRequest(verb="rewind", cursors=(cursor, lost)))
    assert ["done", "unknown"] == [one.outcome for one in reply.outcomes]
    await person.until(lambda one: one.relist_at is None and one.snapshot is None)
    await person.caught_up()
    told = [one for one in await person.raws() if one.raw.item == file["id"]]
    sources = [one.raw.source for one in told if one.raw.source in {"changes", "snapshot"}]
    assert ["changes", "changes", "snapshot"] == sorted(sources)


async def test_resync_lists_everything_beside_the_live_reading(stage: Stage) -> None:
    """A second snapshot is completed; the log stays live and goes on from its cursor."""
    person = stage.person()
    ids = [one["id"] for one in person.act(*(_file(n) for n in range(30)))]
    await stage.poller(page_size=2, **SLEEPY)
    await person.connect()
    await person.caught_up()
    phases = set()
    assert ["done"] == await do(stage, "resync", person)
    for n in range(40):
        person.act(Update(file=ids[n % 30], name=f"n{n}"))
        await person.signal()
        phases.add((await person.known()).phase)
        await asyncio.sleep(0.01)
    await person.until(lambda one: one.snapshot is None and one.relist_at is None)
    await person.caught_up()
    await person.check_covered()
    assert {"live"} == phases
    ended = [one for one in await person.raws() if one.raw.source == "log" and not one.partition]
    assert 2 == [one.fact.fact for one in ended].count("snapshot_completed")


def _file(n: int) -> CreateFile:
    return CreateFile(name=f"f{n}", content=b"x")


@pytest.mark.parametrize("body", [b"", b"{", b'{"verb":"poll"}', b'{"verb":"dance"}'])
async def test_senseless_control_is_told_so(stage: Stage, body: bytes) -> None:
    """An error in words, and nothing done."""
    await stage.poller()
    answer = await stage.bus.request(subjects.CONTROL_RPC, body, timeout_s=10.0)
    reply = msgspec.json.decode(answer, type=ControlReply)
    assert "" != reply.error
    assert () == reply.outcomes


async def test_requests_say_what_was_found_and_what_it_cost(stage: Stage) -> None:
    """One file, one folder, all logs, a span of activity: raws, calls and units."""
    person = stage.person(activity=True)
    top, below = person.act(
        CreateFolder(name="top", ref=f"{person.connection}-t"),
        CreateFolder(name="below", parent=f"{person.connection}-t", ref=f"{person.connection}-b"),
    )
    a, b = person.act(
        CreateFile(name="a", content=b"a", parent=top["id"]),
        CreateFile(name="b", content=b"b", parent=below["id"]),
    )
    person.act(Comment(file=a["id"], content="hi"))
    await stage.poller(activity_settle_s=0.0, **SLEEPY)
    await person.connect()
    await person.caught_up()

    one = await ask(stage, person, kind="file", target=a["id"])
    assert ("done", 4, 305) == (one.state, one.found, one.units)
    told = {one.raw.source for one in await person.raws() if one.raw.item == a["id"]}
    assert {"file", "permissions", "revisions", "comments"} <= told

    flat = await ask(stage, person, kind="folder", target=top["id"])
    deep = await ask(stage, person, kind="folder", target=top["id"], depth=5)
    assert [(2, 100), (3, 200)] == [(one.found, one.units) for one in (flat, deep)]
    assert b["id"] in {one.raw.item for one in await person.raws() if one.raw.source == "file"}

    person.act(Update(file=a["id"], name="other"))
    polled = await ask(stage, person, kind="poll", log=person.log)
    assert "done" == polled.state
    assert polled.found > 0
    await person.check_covered()

    now = dt.datetime.now(dt.UTC)
    span = await ask(stage, person, kind="activity", since=now - dt.timedelta(days=1), until=now)
    assert "done" == span.state
    assert span.found >= 5


async def test_requests_that_cannot_be_answered_fail_with_a_reason(stage: Stage) -> None:
    """A file that is not there, a connection that is not; nonsense becomes a dead letter."""
    person = stage.person()
    await stage.poller(**SLEEPY)
    await person.connect()
    await person.caught_up()
    gone = await ask(stage, person, kind="file", target="nothing")
    assert ("failed", 0) == (gone.state, gone.found)
    assert "gone" in gone.reason
    await person.connect("blocked")
    await person.until(lambda record: record.stopped)
    blocked = await ask(stage, person, kind="poll")
    assert ("failed", "the connection is not active") == (blocked.state, blocked.reason)
    subject = subjects.request("acme", person.connection, "r1")
    await stage.bus.publish(Message(subject=subject, data=b"{"))
    async for letter in stage.bus.follow(subjects.DEAD.name):
        if letter is not None:
            assert b"{" == decode_dead(letter.data).original()
            break
