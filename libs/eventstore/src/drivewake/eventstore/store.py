"""Ports of the event store and the values that pass through them.

`postgres` is the real adapter, `memory` the one for tests and for who embeds no database;
both pass the same contract suite (`drivewake.lab.suites.eventstore`). Every method may raise
StoreUnavailableError; other errors of the tree in `errors` are named where they occur.
Objects are safe to share between tasks of one event loop.

What the store promises:

- A batch is stored whole or not at all, and is durable when `append` returns.
- A key is stored once. What is known already is reported, not raised and not stored again.
- Positions of a lane are dense (1, 2, 3 …), and become visible in their order: who has read up
  to a position will never find anything new at or below it.
- Events are never changed and never deleted.
"""

import datetime as dt
import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import msgspec

ABSENT: Final = 0
"""Expected revision of a head that must not exist yet."""
ANY: Final = -1
"""Expected revision of a head that is written whatever it is."""
EXISTS: Final = -2
"""Expected revision of a head that must exist, at whatever revision."""

MAX_BATCH_EVENTS: Final = 50_000
"""A batch holds a lock on its lane: it must stay far below the writer's transaction timeout."""
MAX_READ_EVENTS: Final = 10_000


class NewEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event to append; `codec.new_event` makes it from an Event of the contracts.

    - `key`: deterministic UUIDv8 (contracts.keys): dedupe key, event id and time index at once.
    - `stream`: what it is about: a file id, a connection id or a log id.
    - `occurred_at`: when it happened: Google's own time, else when it was observed; aware.
    - `data`: the event's data, a JSON object in UTF-8, or what `sealing` made of it if `sealed`.
    - `metadata`: a JSON object of the other CloudEvents attributes (time, source, log, cause …).
    """

    key: uuid.UUID
    tenant: str
    connection: str
    stream: str
    type: str
    occurred_at: dt.datetime
    data: bytes
    metadata: bytes
    sealed: bool = False


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as the store keeps it: NewEvent with its place."""

    lane: int
    position: int
    key: uuid.UUID
    tenant: str
    connection: str
    stream: str
    type: str
    occurred_at: dt.datetime
    data: bytes
    metadata: bytes
    sealed: bool = False


class Head(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What was last known of one thing; `revision` rises by one with every write, from 1."""

    revision: int
    state: bytes


class HeadWrite(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Replace the state of a head, if its revision is `expected` (or ABSENT, ANY, EXISTS).

    `kind` is a word of the domain: `file`, `sighting`, `connection` … `id` is unique within
    (tenant, kind). `state` is opaque to the store.
    """

    tenant: str
    kind: str
    id: str
    expected: int
    state: bytes


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One partition has settled a fact of a whole log, such as a snapshot.

    The append that sets the last of the `of` marks of (tenant, log, fact) appends `then`, if
    given, after the batch's other events. Setting a mark again changes nothing.
    """

    tenant: str
    log: str
    fact: str
    partition: int
    of: int
    then: NewEvent | None = None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which cursor of a log one partition is in the store.

    An older `observed_at` never replaces a younger one.
    """

    tenant: str
    connection: str
    log: str
    partition: int
    cursor: str
    observed_at: dt.datetime


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """All that one append writes, in one transaction; all its tenants belong to `lane`.

    A key may stand twice in `events` (the second is a duplicate); a head may not. With
    `key_epoch` the batch is refused unless that is the store's (see `data_keys`).
    """

    events: Sequence[NewEvent] = ()
    heads: Sequence[HeadWrite] = ()
    marks: Sequence[Mark] = ()
    applied: Sequence[Applied] = ()
    lane: int = 0
    key_epoch: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be written as asked."""
        if len(self.events) > MAX_BATCH_EVENTS:
            raise ValueError(f"a batch holds at most {MAX_BATCH_EVENTS} events")
        if len({(head.tenant, head.kind, head.id) for head in self.heads}) < len(self.heads):
            raise ValueError("a batch writes a head at most once")


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What an append did.

    `first_position` is the place of the first event stored, the others follow it without a
    hole; 0 if nothing was stored. `duplicates` are the keys that were not stored because the
    store (or the batch, earlier) has them, in the batch's order.
    """

    first_position: int
    stored: int
    duplicates: tuple[uuid.UUID, ...] = ()


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a reader wants; an empty field leaves all in."""

    tenant: str = ""
    connection: str = ""
    stream: str = ""
    types: tuple[str, ...] = ()


EVERYTHING: Final = Selection()


class Appender(Protocol):
    """Writes to the store. Returning means durable; raising StoreUnavailableError means unknown."""

    async def append(self, batch: Batch) -> Appended:
        """Write a batch, whole or not at all.

        Raises HeadMovedError (somebody else advanced a head: read heads, decide again),
        PoisonError (retrying is useless: remove what is at fault), KeyTakenError,
        KeysChangedError, StoreMismatchError.
        """
        ...


class HeadReader(Protocol):
    """Reads heads as they were last committed."""

    async def heads(self, tenant: str, kind: str, ids: Collection[str]) -> Mapping[str, Head]:
        """Return the heads that exist, by id."""
        ...

    async def head_ids(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """Return the next ids behind `after` (first ""), in an order of its own, each once."""
        ...

    async def applied(self, tenant: str, connection: str) -> Sequence[Applied]:
        """Return the applied cursors of a connection's logs, by log and partition."""
        ...


class EventReader(Protocol):
    """Reads events in the order of one lane."""

    async def read(
        self, lane: int, after: int, limit: int, selection: Selection = EVERYTHING
    ) -> Sequence[StoredEvent]:
        """Return up to `limit` selected events behind position `after`, in order.

        None means that there is none up to the `last_position` known before the call. Raises
        ArchivedError, ArchiveError where there are some that only an archive has.
        """
        ...

    async def last_position(self, lane: int) -> int:
        """Return the position of the lane's newest event, 0 for none."""
        ...


class Lease(Protocol):
    """A lock that is held as long as its connection to the database lives."""

    async def check(self) -> None:
        """Return if the lock is still held, else raise StoreUnavailableError."""
        ...


class Coordination(Protocol):
    """Lets one reader of a name work at a time, and remembers where it stands."""

    def exclusive(self, name: str, lane: int) -> AbstractAsyncContextManager[Lease]:
        """Wait for the lock of (name, lane), hold it inside the context."""
        ...

    async def checkpoint(self, name: str, lane: int) -> int:
        """Return the position saved under the name, 0 for none."""
        ...

    async def save_checkpoint(self, name: str, lane: int, position: int) -> None:
        """Save a position; a lower one than the saved is ignored."""
        ...

    async def restarted(self, lane: int, position: int) -> int | None:
        """Return where to go on relaying if `position` was given before a restore, else None.

        It was then given away with its event: what follows has positions behind it.
        """
        ...


class EventStore(Appender, HeadReader, EventReader, Coordination, Protocol):
    """All of it. Code asks for the narrow ports above."""


def lane_of(tenant: str, lanes: int = 1) -> int:
    """Return the lane of a tenant: all its events, heads and marks live there."""
    digest = hashlib.blake2b(tenant.encode(), digest_size=8, person=b"drivewake-lane").digest()
    return int.from_bytes(digest, "big") % lanes
