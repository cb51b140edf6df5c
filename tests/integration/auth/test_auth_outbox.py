"""From the database to DRIVE_CONNECTION: every revision, in order, through any crash."""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from drivewake.auth.database import Database
from drivewake.auth.domain import Reported, decide
from drivewake.auth.outbox import BATCH, Announcer, Reconciler, message_of
from drivewake.auth.records import By, Transition
from drivewake.auth.store import Store
from drivewake.contracts import keys, subjects
from drivewake.contracts.connections import CONNECTIONS
from drivewake.runtime.bus import Message, PublishAck
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    StreamFullError,
    TooLargeError,
)
from drivewake.runtime.lifecycle import Stop

World = Any  # the fixture of conftest.py
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
async def store(database: str) -> Any:  # noqa: ANN401 - an async generator
    """The store of auth on this test's database."""
    opened = Database(SecretStr(database))
    await opened.open()
    yield Store(opened)
    await opened.close()


async def connected(world: World, revisions: int = 1, name: str = "c1") -> str:
    """Write a connection with so many revisions, as the database has it after a crash."""
    await world.rows(
        "insert into auth.connection (id, tenant, principal_kind, issuer, subject, status, reason,"
        " since, scopes, watched_folders, revision, created_at) values"
        " ($3, 'default', 'user', 'google', $3, 'active', '', $1, '{a}', '{}', $2, $1)",
        NOON,
        revisions,
        name,
    )
    for revision in range(1, revisions + 1):
        await world.rows(
            "insert into auth.transition (connection, revision, tenant, principal_kind, status,"
            " reason, since, scopes, watched_folders, at) values"
            " ($4, $2, 'default', 'user', 'active', $3, $1, '{a}', '{}', $1)",
            NOON,
            revision,
            f"revision {revision}",
            name,
        )
    return name


async def revisions(world: World, name: str = "c1") -> list[int]:
    """Return the revisions on the stream, in its order."""
    return [state.revision for state in await world.history(name)]


async def transition(store: Store) -> Transition:
    """Return the connection's current revision, as it is published."""
    connection = await store.connection("default", "c1")
    assert connection is not None
    return Transition(connection=connection, at=NOON)


class Failing:
    """A bus on which publishing fails: `before` the broker has it, or after."""

    def __init__(self, bus: Any, *, before: bool, at: int) -> None:  # noqa: ANN401 - a bus
        self._bus = bus
        self._before = before
        self._at = at

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the bus has
        return getattr(self._bus, name)

    async def publish(self, message: Message, **more: Any) -> PublishAck:  # noqa: ANN401 - as the bus
        """Publish, or fail."""
        self._at -= 1
        if self._at < 0 and self._before:
            raise BusUnavailableError
        ack: PublishAck = await self._bus.publish(message, **more)
        if self._at < 0:
            raise BusUnavailableError
        return ack


class Picky(Failing):
    """A bus that refuses some messages, `error` each time, and counts the refusals."""

    def __init__(self, bus: Any, error: BusError, picks: Callable[[Message], bool]) -> None:  # noqa: ANN401 - a bus
        super().__init__(bus, before=False, at=1_000_000)
        self.error = error
        self.picks = picks
        self.refusals = 0

    async def publish(self, message: Message, **more: Any) -> PublishAck:  # noqa: ANN401 - as the bus
        """Publish, or refuse."""
        if self.picks(message):
            self.refusals += 1
            raise self.error
        return await super().publish(message, **more)


class SetClock(SystemClock):
    """A clock whose monotonic time stands where a test puts it."""

    at_s = 0.0

    def monotonic_s(self) -> float:
        """Return the time that was put."""
        return self.at_s


async def test_a_refused_revision_holds_up_its_own_connection_alone(
    quiet_world: World, store: Store
) -> None:
    """The rest of that connection waits in order, others go on; it is tried again later."""
    await connected(quiet_world, 4, "c1")
    await connected(quiet_world, 2, "c2")
    refused = keys.digest_of(*keys.connection_parts("default", "c1", 2))
    bus = Picky(quiet_world.bus, TooLargeError(), lambda message: message.id == refused)
    clock = SetClock()
    announcer = Announcer(store, bus, clock=clock)
    assert 3 == await announcer.publish_pending()
    assert ([1], [1, 2]) == (await revisions(quiet_world), await revisions(quiet_world, "c2"))
    assert (0, 1) == (await announcer.publish_pending(), bus.refusals)
    clock.at_s = 1.0
    assert (0, 2) == (await announcer.publish_pending(), bus.refusals)
    clock.at_s = 2.0
    assert (0, 2) == (await announcer.publish_pending(), bus.refusals)
    clock.at_s, bus.picks = 3.0, lambda _: False
    assert 3 == await announcer.publish_pending()
    assert [1, 2, 3, 4] == await revisions(quiet_world)


async def test_more_refused_revisions_than_a_batch_hold_nobody_up(
    quiet_world: World, store: Store
) -> None:
    """However much a refused connection has waiting, the others come through."""
    await connected(quiet_world, BATCH + 1, "c1")
    await connected(quiet_world, 1, "c2")
    bus = Picky(quiet_world.bus, TooLargeError(), lambda message: message.subject.endswith("c1"))
    announcer = Announcer(store, bus, clock=SetClock())
    assert [0, 1] == [await announcer.publish_pending() for _ in range(2)]
    assert ([], [1]) == (await revisions(quiet_world), await revisions(quiet_world, "c2"))


async def test_a_full_stream_is_retried_until_it_takes_the_revisions(
    quiet_world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream at its cap loses nothing: auth keeps the revisions and tries all of them again."""
    monkeypatch.setattr("drivewake.auth.outbox.RETRY_S", 0.01)
    await connected(quiet_world, 3)
    bus = Picky(quiet_world.bus, StreamFullError(), lambda _: bus.refusals < 3)
    stop = Stop()
    running = asyncio.create_task(Announcer(store, bus).run(stop))
    await quiet_world.published("c1", 3)
    stop.request()
    await running
    assert (3, [1, 2, 3]) == (bus.refusals, await revisions(quiet_world))


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_while_publishing_loses_and_repeats_nothing(
    quiet_world: World, store: Store, before: bool
) -> None:
    """Dying before or after the broker's acknowledgement, the stream ends up the same."""
    await connected(quiet_world, 5)
    failing = Failing(quiet_world.bus, before=before, at=2)
    with pytest.raises(BusUnavailableError):
        await Announcer(store, failing).publish_pending()
    await Announcer(store, quiet_world.bus).publish_pending()
    assert [1, 2, 3, 4, 5] == await revisions(quiet_world)
    assert 0 == await Announcer(store, quiet_world.bus).publish_pending()


async def test_a_crash_between_commit_and_publish_is_made_good(quiet_world: World) -> None:
    """What the database committed before auth died is published when it starts."""
    await connected(quiet_world, 3)
    await quiet_world.start()
    await quiet_world.published("c1", 3)
    assert [1, 2, 3] == await revisions(quiet_world)


async def test_a_publisher_that_was_paused_never_goes_backwards(
    quiet_world: World, store: Store
) -> None:
    """One that wakes up with an old revision in its hands is refused by the stream."""
    await connected(quiet_world, 3)
    stale = await transition(store)
    assert 3 == await Announcer(store, quiet_world.bus).publish_pending()
    await Announcer(store, quiet_world.bus)._publish(stale)
    assert [1, 2, 3] == await revisions(quiet_world)


async def test_racing_publishers_keep_the_order(quiet_world: World, store: Store) -> None:
    """Several processes look for work at once: each revision is there once, in order."""
    await connected(quiet_world, 50)
    announcers = [Announcer(store, quiet_world.bus) for _ in range(6)]
    sent = await asyncio.gather(*(announcer.publish_pending() for announcer in announcers))
    assert 50 == sum(sent)
    assert list(range(1, 51)) == await revisions(quiet_world)


async def test_a_foreign_writer_in_between_only_delays(quiet_world: World, store: Store) -> None:
    """The stream moves between our reading and writing: we look again, and publish then."""
    await connected(quiet_world, 1)
    bus = quiet_world.bus
    interrupted: list[bool] = []

    class Interrupted(Failing):
        async def publish(self, message: Message, **more: Any) -> PublishAck:  # noqa: ANN401
            if not interrupted:
                interrupted.append(True)
                other = Message(subject=subjects.connection("default", "c2"), data=b"{}")
                await bus.publish(other)
            ack: PublishAck = await bus.publish(message, **more)
            return ack

    assert 1 == await Announcer(store, Interrupted(bus, before=False, at=9)).publish_pending()
    (last,) = [m for m in await quiet_world.messages() if m.subject.endswith("c1")]
    assert 2 == last.sequence


async def test_a_message_is_the_same_however_often_it_is_made(
    store: Store, quiet_world: World
) -> None:
    """Id and bytes follow from connection and revision alone; another revision, another id."""
    await connected(quiet_world)
    first = await transition(store)
    assert message_of(first) == message_of(first)
    after = decide(first.connection, Reported("unauthorized", "x"), NOON)
    assert after is not None
    second = Transition(connection=after.connection, at=NOON)
    assert message_of(first).id != message_of(second).id


async def reconcile(world: World, store: Store) -> None:
    """Compare and publish, as the running service does."""
    await Reconciler(store, store, world.bus, SystemClock()).reconcile(Stop())
    await Announcer(store, world.bus).publish_pending()


async def test_a_stream_restored_from_an_older_copy_is_filled(
    quiet_world: World, store: Store
) -> None:
    """Revisions that the stream forgot are published again, in order."""
    await connected(quiet_world, 4)
    await Announcer(store, quiet_world.bus).publish_pending()
    stream = quiet_world.bus.link.name(subjects.CONNECTION.name)
    manager = quiet_world.bus.link.client.jetstream()
    for sequence in (3, 4):
        await manager.delete_msg(stream, sequence)
    await reconcile(quiet_world, store)
    assert [1, 2, 3, 4] == await revisions(quiet_world)


async def test_a_database_restored_from_an_older_copy_goes_on_above(
    quiet_world: World, store: Store
) -> None:
    """The stream holds later revisions than the database: the next one is above them."""
    await connected(quiet_world, 4)
    await Announcer(store, quiet_world.bus).publish_pending()
    await quiet_world.rows("delete from auth.transition where revision > 2")
    await quiet_world.rows("update auth.connection set revision = 2")
    await reconcile(quiet_world, store)
    assert [1, 2, 3, 4, 5] == await revisions(quiet_world)
    await reconcile(quiet_world, store)
    assert [1, 2, 3, 4, 5] == await revisions(quiet_world)


async def test_reconciling_what_agrees_changes_nothing(quiet_world: World, store: Store) -> None:
    """No difference, no message."""
    await connected(quiet_world, 2)
    await Announcer(store, quiet_world.bus).publish_pending()
    await reconcile(quiet_world, store)
    assert [1, 2] == await revisions(quiet_world)


async def test_a_refused_decision_writes_nothing(quiet_world: World, store: Store) -> None:
    """An error in the decision rolls everything back: row and outbox stay as they were."""
    await connected(quiet_world)

    def fail(_: object) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await store.apply("c1", fail, NOON, By("auth"))
    assert 1 == len(await quiet_world.rows("select * from auth.transition"))


async def test_messages_hold_no_secret_and_no_address(world: World) -> None:
    """What others hear of a connection is its state; not who it is, not its tokens."""
    await world.connect()
    (message,) = await world.messages()
    envelope = CONNECTIONS.decode(message.data)
    assert "/drivewake/auth" == envelope.source
    assert b"example.com" not in message.data
    assert b"1001" not in message.data.replace(envelope.connection.encode(), b"")
    assert envelope.id == message.headers.get("Nats-Msg-Id", envelope.id)
