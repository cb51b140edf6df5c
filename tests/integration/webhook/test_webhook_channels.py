"""Channels against the simulated Google, with the real broker between the processes."""

import asyncio
from collections.abc import Callable

from webhook_world import World

from drivewake.contracts import subjects
from drivewake.contracts.rpc import Refusal
from drivewake.lab.google.serve import RunningGoogle


def open_channels(google: RunningGoogle, connection: str) -> set[str]:
    """Return the ids of a person's channels that live at Google."""
    living = google.world.push.channels
    return google.call(
        lambda: {c.id for c in living.values() if c.user_email.startswith(f"{connection}@")}
    )


def change_log(world: World, email: str) -> str:
    """Return the id of a person's change log at Google."""
    google = world.google
    log: str = google.call(lambda: google.world.state.user(email).log.id)
    return log


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; AssertionError if it does not in 20 seconds."""
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")


async def test_a_push_from_google_becomes_a_signal(world: World) -> None:
    """A change at Google pokes its log, through a channel opened by the service itself."""
    world.webhook().start()
    record = await world.live_channel("ann@example.com")
    subject = await world.connection("ann@example.com")
    sync = await world.until_signal(subject)
    world.google.call(world.google.world.push.notify, change_log(world, "ann@example.com"))

    signal = await world.until_signal(subject)

    assert ("push", "push") == (sync.reason, signal.reason)
    assert {record.channel} == open_channels(world.google, "ann")


async def test_a_channel_is_replaced_with_overlap_and_the_old_one_stopped(world: World) -> None:
    """Before a channel ends its successor lives; then Google knows the successor alone."""
    world.webhook(channel_lifetime_s="5").start()
    subject = await world.connection("bob@example.com")
    await world.log(subject)
    first = await world.until_channel(subject, status="live", synced=True)

    stopped = await world.until_channel(subject, status="stopped")
    second = await world.until_channel(subject, status="live", synced=True)

    assert (first.channel, "replaced") == (stopped.channel, stopped.reason)
    assert second.created_at < first.expires_at
    assert {second.channel} == open_channels(world.google, "bob")


async def test_a_revoking_connection_has_its_channels_stopped_at_google(world: World) -> None:
    """`revoking` ends channels while their token still lives."""
    world.webhook().start()
    record = await world.live_channel("cid@example.com")
    subject = await world.connection("cid@example.com", "revoking")

    ended = await world.until_channel(subject, status="stopped")

    assert (record.channel, "connection is revoking") == (ended.channel, ended.reason)
    assert set() == open_channels(world.google, "cid")


async def test_a_refused_watch_is_recorded_with_its_reason(world: World) -> None:
    """Without a token there is no channel, and the record says why."""
    world.refuse = Refusal(code="scope_missing", reason="no drive scope", retry=False)
    world.webhook().start()
    subject = await world.connection("dan@example.com")
    await world.log(subject)

    record = await world.until_channel(subject, status="refused")

    assert "scope_missing" == record.reason
    assert set() == open_channels(world.google, "dan")


async def test_a_lost_cursor_refuses_the_channel(world: World) -> None:
    """Google's own refusal ends up in the record."""
    world.webhook().start()
    subject = await world.connection("eve@example.com")
    await world.log(subject, cursor="not-a-token")

    record = await world.until_channel(subject, status="refused")

    assert "invalid" == record.reason


async def test_two_replicas_open_one_channel(world: World) -> None:
    """Replicas agree by compare-and-set: one channel a log, whoever comes first."""
    for _ in range(2):
        world.webhook().start()
    people = [f"p{number}@example.com" for number in range(8)]
    records = await asyncio.gather(*(world.live_channel(email) for email in people))

    for email, record in zip(people, records, strict=True):
        subject = await world.connection(email)
        assert [record.channel] == [each.channel for each in await world.channels(subject)]
        assert {record.channel} == open_channels(world.google, email.partition("@")[0])


async def test_a_restart_keeps_the_channels_it_finds(world: World) -> None:
    """A new process reads the registry and opens nothing that is there."""
    process = world.webhook()
    process.start()
    record = await world.live_channel("fay@example.com")
    process.kill()
    process.start()
    await world.live_channel("gil@example.com")

    subject = await world.connection("fay@example.com")

    assert [record.channel] == [each.channel for each in await world.channels(subject)]


async def test_a_stopped_log_loses_its_channel(world: World) -> None:
    """What is not read any more is not watched any more."""
    world.webhook().start()
    record = await world.live_channel("hal@example.com")
    subject = await world.connection("hal@example.com")
    await world.log(subject, stopped=True)

    ended = await world.until_channel(subject, status="stopped")

    assert record.channel == ended.channel
    assert set() == open_channels(world.google, "hal")


async def test_an_orphan_is_stopped_at_google(world: World) -> None:
    """A channel that no record knows is answered 404 and ended at Google."""
    process = world.webhook()
    process.start()
    record = await world.live_channel("ida@example.com")
    process.stop()
    subject = await world.connection("ida@example.com")
    bucket = await world.bus.key_value(subjects.CHANNELS)
    entry = await bucket.get(record.channel)
    assert entry is not None
    await bucket.delete(record.channel, revision=entry.revision)
    await world.log(subject, paused=True)
    process.start()

    world.google.call(world.google.world.push.notify, change_log(world, "ida@example.com"))
    await until(lambda: not open_channels(world.google, "ida"))

    assert [] == await world.channels(subject)


async def test_a_missing_scope_is_reported_to_auth(world: World) -> None:
    """What Google says of a grant reaches auth, which alone decides about the connection."""
    world.scopes = ("https://www.googleapis.com/auth/userinfo.email",)
    world.webhook().start()
    subject = await world.connection("jan@example.com")
    await world.log(subject)

    record = await world.until_channel(subject, status="refused")

    assert record.reason in {"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}
    assert ["scope_missing"] == [report.finding for report in world.reports]
