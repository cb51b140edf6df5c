"""Going on after the database was restored to an older day.

The store lacks what was appended since, and DRIVE_EVENT has it. It is taken back, event by event
at its own position, so that downstream notices nothing. Where the stream does not reach back to
the store's end, or has a hole, positions are not given twice all the same: the lane goes on far
behind all that downstream has seen, and the store remembers the stretch that was lost
(`eventstore.restart`). Last, all logs are read again from the cursors up to which the restored
store is whole: for what had not been relayed yet, and because heads are as old as the store.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

import msgspec

from drivewake.contracts.events import POSITION_HEADER, decode_event
from drivewake.eventstore.codec import new_event
from drivewake.eventstore.connections import AnyConnection, translated
from drivewake.eventstore.errors import StoreMismatchError
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.recovery import fact_of
from drivewake.eventstore.store import Appender, Batch, NewEvent
from drivewake.runtime.bus import StoredMessage

STEP: Final = 1_000_000
"""Positions go on at the next but one multiple of this: further behind what downstream has seen
than the relay ever lags, and easy to see."""

CHUNK: Final = 1_000

_SQL = load_queries("restoring")


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """From where a log must be read again; `since` is when that cursor was read."""

    tenant: str
    connection: str
    log: str
    cursor: str
    since: dt.datetime


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """How a lane goes on: `head` was its last position, `seen` is the last that downstream has.

    `relayed` is the last position at which both have the same event. `taken_back` events came
    back from the stream; if that was not all, positions go on at `next_position`.
    """

    lane: int
    head: int
    seen: int
    relayed: int
    taken_back: int = 0
    next_position: int = 0

    @property
    def lacks(self) -> bool:
        """Whether downstream has seen what the store does not have."""
        return self.seen > self.relayed


class Published(Protocol):
    """What downstream has seen: DRIVE_EVENT by sequence."""

    async def bounds(self) -> tuple[int, int]:
        """Return the sequences of the first and the last message; (1, 0) without any."""
        ...

    async def at(self, sequence: int) -> StoredMessage | None:
        """Return the first message at or behind a sequence."""
        ...

    def behind(self, sequence: int) -> AsyncIterator[StoredMessage | None]:
        """Yield the messages behind a sequence, and None after the last."""
        ...


async def restart(
    session: AnyConnection, store: Appender, published: Published, *, dry: bool, chunk: int = CHUNK
) -> list[Restart]:
    """Let every lane go on as downstream has seen it; nothing is changed if `dry`.

    May be repeated: a lane that lacks nothing is left alone. `session` belongs to a member of
    `drivewake_keeper`, `store` writes to the same database.
    """
    async with translated():
        done = []
        for row in await session.fetch(_SQL["lanes"]):
            found, sequence = await _compare(session, published, row["id"], row["head"])
            if found.lacks and not dry:
                found = await _mend(session, store, published, found, sequence, chunk)
            done.append(found)
        if not dry and any(one.lacks for one in done):
            await session.execute(_SQL["resynced"])
    return done


async def _compare(
    session: AnyConnection, published: Published, lane: int, head: int
) -> tuple[Restart, int]:
    """Return how far store and stream agree, and the sequence of the last such message."""
    first, last = await published.bounds()
    newest = await _of_lane(published, lane, last) if first <= last else None
    if newest is None:
        return Restart(lane=lane, head=head, seen=0, relayed=head), last
    seen = _position(newest)
    if await _known(session, lane, newest):
        return Restart(lane=lane, head=head, seen=seen, relayed=max(head, seen)), last
    if await session.fetchval(_SQL["restarted"], lane, seen) is not None:
        return Restart(lane=lane, head=head, seen=seen, relayed=max(head, seen)), last
    relayed, sequence = await _agreed(session, published, lane, (first, last))
    following = await _of_lane(published, lane, sequence + 1)
    if following is not None and _position(following) > head:
        relayed = head  # the last ones were erased from the stream: nothing in it contradicts
    return Restart(lane=lane, head=head, seen=seen, relayed=min(relayed, head)), sequence


async def _agreed(
    session: AnyConnection, published: Published, lane: int, bounds: tuple[int, int]
) -> tuple[int, int]:
    """Return the last position at which the store has what downstream has, and its sequence.

    Store and stream are the same up to there and differ behind it, so halving finds it.
    """
    low, high = bounds[0] - 1, bounds[1]
    agreed = 0
    while low < high:
        middle = (low + high + 1) // 2
        message = await _of_lane(published, lane, middle)
        if message is not None and await _known(session, lane, message):
            low, agreed = middle, _position(message)
        else:
            high = middle - 1
    if agreed:
        return agreed, low
    oldest = await _of_lane(published, lane, bounds[0])
    return (0 if oldest is None else _position(oldest) - 1), low


async def _mend(
    session: AnyConnection,
    store: Appender,
    published: Published,
    found: Restart,
    sequence: int,
    chunk: int,
) -> Restart:
    """Take back what the stream has; skip the positions of what it has not."""
    taken = 0
    if found.head == found.relayed:
        messages = published.behind(sequence)
        taken = await _take_back(session, store, messages, found, chunk)
    if found.head == found.relayed and found.head + taken >= found.seen:
        return msgspec.structs.replace(found, taken_back=taken)
    beyond = (max(found.head, found.seen) // STEP + 2) * STEP
    await session.fetchval(_SQL["skip"], found.lane, beyond, found.relayed + taken)
    return msgspec.structs.replace(found, taken_back=taken, next_position=beyond + 1)


async def _take_back(
    session: AnyConnection,
    store: Appender,
    messages: AsyncIterator[StoredMessage | None],
    found: Restart,
    size: int,
) -> int:
    """Append what follows the store's end in the stream, as far as it has no hole."""
    taken = 0
    chunk: list[NewEvent] = []
    async for message in messages:
        more = message is not None and _position(message) == found.head + taken + len(chunk) + 1
        if message is not None and more:
            chunk.append(new_event(decode_event(message.data)))
        if chunk and (not more or len(chunk) == size):
            # Remembered first: a run that ends in between is repeated before anything is decided.
            facts = [fact for event in chunk if (fact := fact_of(event)) is not None]
            await session.execute(_SQL["remember"], facts)
            done = await store.append(Batch(events=chunk, lane=found.lane))
            if (done.first_position, done.stored) != (found.head + taken + 1, len(chunk)):
                raise StoreMismatchError("something else appends: stop the normalizer first")
            taken += len(chunk)
            chunk = []
        if not more:
            break
    return taken


async def _of_lane(published: Published, lane: int, sequence: int) -> StoredMessage | None:
    message = await published.at(sequence)
    if message is None or not message.headers.get(POSITION_HEADER, "").startswith(f"{lane}:"):
        return None
    return message


async def _known(session: AnyConnection, lane: int, message: StoredMessage) -> bool:
    id_ = message.headers.get("Nats-Msg-Id", "")
    return bool(await session.fetchval(_SQL["known"], lane, _position(message), id_))


def _position(message: StoredMessage) -> int:
    return int(message.headers[POSITION_HEADER].partition(":")[2])


async def logs(session: AnyConnection) -> Sequence[Log]:
    """Return from where each log must be read again so that the store misses nothing."""
    async with translated():
        rows = await session.fetch(_SQL["logs"])
    return [Log(**dict(row)) for row in rows]
