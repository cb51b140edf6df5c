"""A poller on a real broker against the simulated Google."""

# ruff: noqa: D103, ANN401 - helpers whose names say it; settings are of any type

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest
from poller_stage import SLEEPY, Stage, check_framed

from drivewake.contracts import subjects
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.records import ChannelRecord
from drivewake.contracts.rpc import Refusal
from drivewake.lab.google.actions import CreateFile, Delete, Trash, Update
from drivewake.runtime.bus import Message


def new_file(name: str) -> CreateFile:
    return CreateFile(name=name, content=name.encode(), ref=name)


async def test_new_connection_is_listed_and_then_followed(stage: Stage) -> None:
    """An active connection gets its log, a whole snapshot, and its later changes."""
    person = stage.person()
    ids = [
        done["id"] for done in person.act(*(new_file(f"{person.connection}{n}") for n in range(25)))
    ]
    await stage.poller(page_size=10)
    await person.connect()
    record = await person.caught_up()
    assert ("user_changes", 0, (), None) == (
        record.kind,
        record.failures,
        record.gaps,
        record.snapshot,
    )
    listed = {one.raw.item for one in await person.raws() if one.raw.source == "snapshot"}
    assert set(ids) <= listed

    person.act(Update(file=ids[0], name="other"), Trash(file=ids[1]), Delete(file=ids[2]))
    await person.signal()
    await person.caught_up()
    await person.check_covered()
    check_framed(await person.raws())


async def test_timer_alone_finds_changes(stage: Stage) -> None:
    """Without any push the schedule in the stream brings the next poll."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    person.act(new_file(person.connection))
    await person.caught_up()
    await person.check_covered()
    schedule = subjects.schedule("acme", person.connection, person.log)
    assert schedule in await stage.waiting()


async def test_many_pushes_are_few_polls(stage: Stage) -> None:
    """Pushes that come while a log waits or is read become one more poll."""
    person = stage.person()
    await stage.poller(**SLEEPY | {"spacing_s": 0.2})
    await person.connect()
    await person.caught_up()
    before = stage.requests("drive.changes.list", person)
    person.act(new_file(person.connection))
    for _ in range(50):
        await person.signal()
    await person.caught_up()
    await asyncio.sleep(1.0)
    assert stage.requests("drive.changes.list", person) - before <= 6
    assert not [one for one in await stage.waiting() if one.startswith("drive.signal")]


async def test_push_during_a_poll_is_not_lost(stage: Stage) -> None:
    """Changes pushed one by one, at any moment of a poll, are all read without a timer."""
    person = stage.person()
    await stage.poller(**SLEEPY)
    await person.connect()
    await person.caught_up()
    for n in range(40):
        person.act(new_file(f"{person.connection}{n}"))
        await person.signal()
        await asyncio.sleep(0.003 * (n % 7))
    await person.caught_up()
    await person.check_covered()


async def test_two_pollers_share_logs_without_harm(stage: Stage) -> None:
    """Replicas take turns on one log: nothing is lost and the cursor never goes back."""
    person = stage.person()
    for _ in range(2):
        await stage.poller(**SLEEPY)
    await person.connect()
    await person.caught_up()
    cursors = []
    for n in range(30):
        person.act(new_file(f"{person.connection}{n}"))
        await person.signal()
        record = await person.known()
        cursors.append(int(record.cursor))
    await person.caught_up()
    assert sorted(cursors) == cursors
    await person.check_covered()
    check_framed(await person.raws())


@pytest.mark.parametrize("status", ["revoking", "revoked", "blocked", "reauthorization_required"])
async def test_connection_that_ends_stops_at_once_and_resumes_without_loss(
    stage: Stage, status: Any
) -> None:
    """No call after the connection stopped; all that happened meanwhile is read afterwards."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    await person.connect(status)
    stopped = await person.until(lambda record: record.stopped)
    calls = stage.requests("drive.changes.list", person)
    person.act(new_file(person.connection))
    await person.signal()
    await asyncio.sleep(0.7)
    assert calls == stage.requests("drive.changes.list", person)
    assert stopped.cursor == (await person.known()).cursor

    await person.connect("active")
    await person.caught_up()
    await person.check_covered()
    assert 1 == len({one.raw.snapshot for one in await person.raws()} - {""})


async def test_paused_log_is_left_alone(stage: Stage) -> None:
    """A pause in the record holds against pushes and timers."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    await person.change_record(paused=True)
    await person.signal()
    await asyncio.sleep(0.3)  # what was under way ends
    calls = stage.requests("drive.changes.list", person)
    person.act(new_file(person.connection))
    await person.signal()
    await asyncio.sleep(0.7)
    assert calls == stage.requests("drive.changes.list", person)


async def test_lost_cursor_is_a_recorded_gap(stage: Stage) -> None:
    """A token that Google refuses: gap opened, snapshot, gap closed, and live again."""
    person = stage.person()
    person.act(new_file(person.connection))
    await stage.poller()
    await person.connect()
    await person.caught_up()
    await person.change_record(cursor="no token", owner="", claimed_until=None)
    await person.signal()
    await person.until(lambda record: record.cursor != "no token" and record.phase == "live")
    await person.caught_up()
    facts = [one for one in await person.raws() if one.raw.source == "log"]
    of_one = [one.fact for one in facts if one.partition == 0]
    assert [
        "snapshot_started",
        "snapshot_completed",
        "gap_opened",
        "snapshot_started",
        "snapshot_completed",
        "gap_closed",
    ] == [fact.fact for fact in of_one]
    opened, closed = of_one[2], of_one[5]
    assert opened.gap == closed.gap != ""
    assert opened.missing_from is not None
    assert opened.missing_to is not None
    assert opened.missing_from < opened.missing_to
    assert () == (await person.known()).gaps
    assert 16 * 6 == len(facts)


async def test_dead_token_is_refreshed(stage: Stage) -> None:
    """Google's 401 costs one more question to auth, not the poll."""
    person = stage.person()
    await stage.poller(**SLEEPY)
    await person.connect()
    await person.caught_up()
    stage.google.call(stage.google.world.grants.expire_access, person.email)
    person.act(new_file(person.connection))
    await person.signal()
    record = await person.caught_up()
    assert (0, []) == (record.failures, stage.reports)


async def test_auth_that_refuses_stops_the_calls(stage: Stage) -> None:
    """Without a token nothing is asked of Google; the log says why and is seldom tried."""
    person = stage.person()
    stage.refuse = Refusal(code="not_active", reason="revoked", retry=False)
    await stage.poller()
    await person.connect()
    record = await person.until(lambda record: record.failures > 0)
    assert "not_active" in record.last_error
    assert 0 == stage.requests("drive.changes.getStartPageToken", person)
    assert record.next_poll_at is not None
    wait = record.next_poll_at - dt.datetime.now(dt.UTC)
    assert wait > dt.timedelta(minutes=10)


async def test_channel_that_lives_slows_the_timer(stage: Stage) -> None:
    """With a push channel the timer is only the safety net."""
    person = stage.person()
    running = await stage.poller(
        interval_floor_s=0.2, push_interval_floor_s=50.0, push_interval_ceiling_s=60.0
    )
    now = dt.datetime.now(dt.UTC)
    channel = ChannelRecord(
        channel="ch1",
        tenant="acme",
        connection=person.connection,
        log=person.log,
        created_at=now,
        expires_at=now + dt.timedelta(hours=1),
        status="live",
    )
    channels = await stage.bus.key_value(subjects.CHANNELS)
    await channels.put("ch1", msgspec.json.encode(channel), revision=0)
    await person.connect()
    record = await person.until(lambda record: record.interval_s >= 50.0)
    assert "" == record.owner
    reply = await status_of(stage)
    assert [True, "push channel alive, no change seen yet"] == [
        reply["logs"][0]["push"],
        reply["logs"][0]["why"],
    ]
    assert 0 == await running.stop()


async def status_of(stage: Stage, **request: Any) -> dict[str, Any]:
    answer = await stage.bus.request(
        subjects.STATUS_RPC, msgspec.json.encode(request), timeout_s=5.0
    )
    return msgspec.json.decode(answer, type=dict[str, Any])


async def test_status_tells_every_log(stage: Stage) -> None:
    """The status pages through all logs and counts them by state."""
    people = [stage.person() for _ in range(5)]
    await stage.poller()
    for person in people:
        await person.connect()
    for person in people:
        await person.caught_up()
    first = await status_of(stage, limit=3)
    rest = await status_of(stage, limit=3, after=first["next"])
    assert (5, 3, 2, "") == (first["total"], len(first["logs"]), len(rest["logs"]), rest["next"])
    told = {log["log"] for log in first["logs"] + rest["logs"]}
    assert {person.log for person in people} == told
    one = await status_of(stage, connection=people[0].connection)
    assert [people[0].log] == [log["log"] for log in one["logs"]]
    assert "cursor" not in one["logs"][0]


async def test_nonsense_signals_become_dead_letters(stage: Stage) -> None:
    """What is no signal, or names another log than its subject, is kept for operators."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    for log, body in (("x1", b"{"), ("x2", b'{"specversion":"1.0"}')):
        subject = subjects.signal("acme", person.connection, log)
        await stage.bus.publish(Message(subject=subject, data=body))
    letters = []
    async for letter in stage.bus.follow(subjects.DEAD.name):
        letters += [decode_dead(letter.data)] if letter else []
        if len(letters) == 2:
            break
    assert {"{", '{"specversion":"1.0"}'} == {one.original().decode() for one in letters}
    person.act(new_file(person.connection))
    await person.caught_up()
    assert not [one for one in await stage.waiting() if ".x" in one]


async def test_log_without_a_timer_is_repaired(stage: Stage) -> None:
    """The reconciler signals a log whose schedule was lost."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    await stage.bus.cancel(subjects.schedule("acme", person.connection, person.log))
    person.act(new_file(person.connection))
    await person.caught_up()


async def test_claim_of_a_dead_poller_is_taken_over(stage: Stage) -> None:
    """A log whose poller died is read again once the claim ran out."""
    person = stage.person()
    await stage.poller()
    await person.connect()
    await person.caught_up()
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    await person.change_record(owner="dead", claimed_until=until)
    person.act(new_file(person.connection))
    await person.caught_up()
    await person.check_covered()


async def test_process_without_a_broker_says_so(stage: Stage) -> None:
    """One line and exit code 1, no traceback."""
    process = stage.process(nats_url="nats://127.0.0.1:9")
    process.start(wait=False)
    async with asyncio.timeout(60):
        while process.running:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    said = process.log_path.read_text()
    assert 1 == process.returncode
    assert "no broker answered" in said
    assert 1 == said.count("\n")
