"""From the outbox to DRIVE_CONNECTION: every revision, in order, never backwards.

The stream itself is the judge of what it holds. Before a revision is published, the last
message of its subject is read; then it is written under the condition that the stream has
not moved since. A publisher that was paused in between is refused, not trusted, and a crash
between the broker's acknowledgement and our commit is seen on the next pass.

Order matters within a connection: a revision that the broker refuses holds up its own
connection alone, and is tried again later. What concerns all of them (the broker is away, the
stream is full or absent, nobody may write) ends the pass, and is tried again too.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from drivewake.auth.domain import Connection, Overtaken, decide
from drivewake.auth.errors import StoreUnavailableError
from drivewake.auth.outbox_holds import Holds
from drivewake.auth.ports import Connections, Outbox
from drivewake.auth.records import By, Transition
from drivewake.contracts import keys, subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS
from drivewake.contracts.connections import Connection as ConnectionState
from drivewake.contracts.envelope import HEADERS, Envelope, InvalidMessageError
from drivewake.contracts.ids import InvalidIdError
from drivewake.runtime.bus import Message, Publisher, StoredMessage, StreamReader
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import (
    BusError,
    BusPermissionError,
    BusUnavailableError,
    ConflictError,
    NotFoundError,
    StreamFullError,
)
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.metrics import Counter

SOURCE: Final = "/drivewake/auth"
BATCH: Final = 100
POLL_S: Final = 0.2
RETRY_S: Final = 1.0
MAX_CONFLICTS: Final = 5
RECONCILE_EVERY_S: Final = 600.0
PAGE: Final = 200

_log = get_logger(__name__)
PUBLISHED: Final = Counter("auth_transitions_published", meaning="Revisions of connections sent.")
REPAIRED: Final = Counter(
    "auth_transitions_repaired", meaning="Differences between the table and the stream closed."
)
REFUSED: Final = Counter(
    "auth_transitions_refused", meaning="Revisions that the broker refused; they are retried."
)
OF_ALL: Final = (
    BusUnavailableError,
    ConflictError,
    StreamFullError,
    NotFoundError,
    BusPermissionError,
)
"""Errors that would meet every other revision too."""


class Bus(Publisher, StreamReader, Protocol):
    """What of the bus is used here."""


def message_of(transition: Transition) -> Message:
    """Return the message of a revision: the same bytes and id, however often it is made."""
    connection = transition.connection
    identity = keys.digest_of(
        *keys.connection_parts(connection.tenant, connection.id, connection.revision)
    )
    envelope = Envelope(
        id=identity,
        source=SOURCE,
        type=CONNECTION_TYPE,
        time=transition.at,
        tenant=connection.tenant,
        connection=connection.id,
        data=ConnectionState(
            status=connection.status,
            principal_kind=connection.principal_kind,
            scopes=connection.scopes,
            revision=connection.revision,
            since=connection.since,
            reason=connection.reason,
            watched_folders=connection.watched_folders,
        ),
    )
    return Message(
        subject=subjects.connection(connection.tenant, connection.id),
        data=CONNECTIONS.encode(envelope),
        headers=HEADERS,
        id=identity,
    )


class Announcer:
    """Publishes revisions; several processes may run one each. `beat` says that it lives."""

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        beat: Callable[[], object] = bool,
        clock: Clock | None = None,
    ) -> None:
        self._outbox = outbox
        self._bus = bus
        self._beat = beat
        self._clock = clock or SystemClock()
        self._holds = Holds()

    async def run(self, stop: Stop) -> None:
        """Publish what is pending, for ever. Looking is cheap, and other processes write too."""
        while not stop.requested:
            self._beat()
            try:
                sent = await self.publish_pending()
            except StreamFullError:
                _log.error(
                    "DRIVE_CONNECTION is full and takes no state of any connection; raise its"
                    " size by provisioning with a larger scale",
                    action="outbox_stream_full",
                )
                await stop.sleep(RETRY_S)
                continue
            except (BusError, StoreUnavailableError) as error:
                _log.warning(
                    "connections could not be published, trying again",
                    action="outbox_retry",
                    error=type(error).__name__,
                )
                await stop.sleep(RETRY_S)
                continue
            if sent < BATCH:
                await stop.sleep(POLL_S)

    async def publish_pending(self) -> int:
        """Publish up to a batch of revisions; return how many."""
        held = self._holds.held(self._clock.monotonic_s())
        return await self._outbox.publish_pending(self._offer, BATCH, held)

    async def _offer(self, transition: Transition) -> bool:
        """Publish one revision; False if the broker refuses this one, which then waits."""
        connection = transition.connection
        try:
            await self._publish(transition)
        except OF_ALL:
            raise
        except (BusError, InvalidIdError) as error:
            delay_s = self._holds.refused(connection.id, self._clock.monotonic_s())
            REFUSED.add()
            _log.error(
                "the broker refuses a revision: its connection waits, the others go on",
                action="outbox_refused",
                tenant=connection.tenant,
                connection=connection.id,
                revision=connection.revision,
                error=f"{type(error).__name__}: {error}",
                retry_in_s=delay_s,
            )
            return False
        self._holds.published(connection.id)
        return True

    async def _publish(self, transition: Transition) -> None:
        """Publish one revision unless the stream holds it; raises BusError."""
        message = message_of(transition)
        for attempt in range(MAX_CONFLICTS):
            # This order makes the condition hold for what was read.
            expected = await self._bus.last_sequence(subjects.CONNECTION.name)
            last = await self._bus.last(subjects.CONNECTION.name, message.subject)
            if revision_of(last) >= transition.connection.revision:
                return
            try:
                ack = await self._bus.publish(message, expected_last=expected)
            except ConflictError:
                if attempt == MAX_CONFLICTS - 1:
                    raise
                continue
            if ack.duplicate:
                # The broker remembers the id. If the stream does not hold the message any more
                # (it was restored, or purged), only a message without that id is taken.
                message = msgspec.structs.replace(message, id="")
                continue
            PUBLISHED.add()
            _log.info(
                "connection published",
                action="connection_published",
                tenant=transition.connection.tenant,
                connection=transition.connection.id,
                revision=transition.connection.revision,
                status=transition.connection.status,
                sequence=ack.sequence,
            )
            return
        raise BusUnavailableError("DRIVE_CONNECTION takes the message and does not hold it")


def revision_of(message: StoredMessage | None) -> int:
    """Return the revision that a message of DRIVE_CONNECTION tells, 0 without a readable one."""
    if message is None:
        return 0
    try:
        return CONNECTIONS.decode(message.data).data.revision
    except InvalidMessageError:
        _log.exception(
            "a message on DRIVE_CONNECTION cannot be read",
            action="foreign_message",
            sequence=message.sequence,
        )
        return 0


class Reconciler:
    """Closes differences that no crash of ours explains: either side restored from a copy."""

    def __init__(
        self, connections: Connections, outbox: Outbox, reader: StreamReader, clock: Clock
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._reader = reader
        self._clock = clock

    async def run(self, stop: Stop) -> None:
        """Compare all connections at the start and every ten minutes."""
        while not stop.requested:
            try:
                await self.reconcile(stop)
            except (BusError, StoreUnavailableError) as error:
                _log.warning(
                    "connections could not be compared, trying again",
                    action="reconcile_retry",
                    error=type(error).__name__,
                )
                await stop.sleep(RETRY_S)
                continue
            await stop.sleep(RECONCILE_EVERY_S)

    async def reconcile(self, stop: Stop) -> None:
        """Compare the table with the stream, page by page."""
        after = ""
        while not stop.requested:
            page = await self._connections.accounts(None, after, PAGE)
            for account in page:
                await self._compare(account.connection)
            if len(page) < PAGE:
                return
            after = page[-1].connection.id

    async def _compare(self, connection: Connection) -> None:
        subject = subjects.connection(connection.tenant, connection.id)
        held = revision_of(await self._reader.last(subjects.CONNECTION.name, subject))
        if held == connection.revision:
            return
        if held < connection.revision:
            # Usually just not published yet; then nothing is marked and this changes nothing.
            await self._outbox.unpublish(connection.id, held)
            return
        now = self._clock.now()
        after = await self._connections.apply(
            connection.id,
            lambda current: decide(current, Overtaken(held), now),
            now,
            By("auth", "the stream holds a later revision than the database"),
        )
        if after.revision > held:
            REPAIRED.add()
            _log.error(
                "the database is older than the stream: the connection got a new revision",
                action="connection_overtaken",
                connection=connection.id,
                revision=after.revision,
                stream_revision=held,
            )
