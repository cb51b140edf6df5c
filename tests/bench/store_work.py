"""What a bench of the store writes, and the processes that write it.

Every writer is a process of its own: it prepares its batches, waits for the others, writes, and
tells when it began and ended. Events are 600 bytes of JSON, data and metadata together.
"""

import datetime as dt
import gc
import json
import multiprocessing
import random
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import asyncpg
import msgspec
import uvloop

from drivewake.contracts import keys
from drivewake.eventstore.connections import WRITER, connect
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import Appended, Batch, NewEvent
from drivewake.runtime.keyring import KEY_BYTES, Keyring

EVENT_BYTES: Final = 600
DUPLICATES: Final = 0.1
"""Share of a batch that the batch before it held too."""
NOON: Final = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
TENANT: Final = "acme"
TYPE: Final = "file.renamed"
PATIENCE_S: Final = 600.0

Write = Callable[[Sequence[Any]], Awaitable[object]]
Start = Callable[[], object]
Run = tuple[float, float, int]
"""When a writer began and ended (monotonic), and how many events it stored."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one writer does: `events` in batches of `batch`, into a lane of its own."""

    dsn: str
    events: int
    batch: int
    lane: int = 0


def new_events(
    count: int, lane: int = 0, *, repeated: float = 0.0, batch: int = 0
) -> list[NewEvent]:
    """Return `count` events, those of a lane unlike all others.

    With `repeated`, every batch but the first ends with that share of the one before it.
    """
    secret = b"a secret of the bench"
    made: list[NewEvent] = []
    fresh = iter(range(count))
    while len(made) < count:
        start = len(made)
        again = int(batch * repeated) if start else 0
        wanted = min(batch or count, count - start)
        for number in (next(fresh) for _ in range(max(wanted - again, 0))):
            file = f"1file{lane}x{number:026d}"
            parts = keys.file_state_parts(f"{TENANT}{lane}", file, number, TYPE)
            at = NOON + dt.timedelta(milliseconds=number)
            made.append(_event(keys.event_key(secret, at, *parts), file, at, number, lane))
        made += random.Random(start).sample(made[start - batch : start], min(again, wanted))
    return made


def _event(key: uuid.UUID, file: str, at: dt.datetime, number: int, lane: int) -> NewEvent:
    metadata = json.dumps(
        {"source": "/drivewake/normalizer", "log": f"log{lane}", "time": at.isoformat()},
        separators=(",", ":"),
    ).encode()
    ref = {"id": file, "name": f"name {number}", "mime_type": "text/plain", "version": number}
    fields = {"type": TYPE, "file": ref, "before": "", "after": f"name {number}"}
    short = len(json.dumps(fields, separators=(",", ":"))) + len(metadata)
    fields["before"] = "x" * (EVENT_BYTES - short)
    return NewEvent(
        key=key,
        tenant=f"{TENANT}{lane}",
        connection=f"connection{lane}",
        stream=file,
        type=TYPE,
        occurred_at=at,
        data=json.dumps(fields, separators=(",", ":")).encode(),
        metadata=metadata,
    )


async def timed(plan: Plan, events: Sequence[Any], write: Write, start: Start) -> Run:
    """Write all batches, one after the other, when everybody is ready.

    `write` may return what was stored of a batch; else all of it was.
    """
    batches = [events[at : at + plan.batch] for at in range(0, len(events), plan.batch)]
    stored = 0
    gc.collect()
    gc.freeze()  # what is prepared is no burden of whoever writes it
    start()
    began_s = time.monotonic()
    for batch in batches:
        result = await write(batch)
        stored += result.stored if isinstance(result, Appended) else len(batch)
    return began_s, time.monotonic(), stored


# -- contestants -----------------------------------------------------------------------------


async def append(plan: Plan, start: Start) -> Run:
    """Ours, with duplicates."""
    events = new_events(plan.events, plan.lane, repeated=DUPLICATES, batch=plan.batch)
    async with PostgresStore.open(plan.dsn, writers=1, readers=1) as store:
        await store.prepare(NOON)
        return await timed(
            plan, events, lambda batch: store.append(Batch(events=batch, lane=plan.lane)), start
        )


async def sealed_append(plan: Plan, start: Start) -> Run:
    """Ours, with duplicates, each event encrypted under its connection's key."""
    events = new_events(plan.events, plan.lane, repeated=DUPLICATES, batch=plan.batch)
    keyring = Keyring({"k1": secrets.token_bytes(KEY_BYTES)})
    async with PostgresStore.open(plan.dsn, writers=1, readers=1) as plain:
        await plain.prepare(NOON)
        data_keys = plain.data_keys(keyring)
        await data_keys.load([(event.tenant, event.connection) for event in events[:1]], make=True)
        store = SealedStore(plain, data_keys)
        return await timed(
            plan, events, lambda batch: store.append(Batch(events=batch, lane=plan.lane)), start
        )


async def copy(plan: Plan, start: Start) -> Run:
    """The ceiling: COPY of rows that are ready, without a question asked."""
    session = await connect(plan.dsn, WRITER)
    events = new_events(plan.events, plan.lane)
    columns = (
        "position",
        "lane",
        *(name for name in NewEvent.__struct_fields__ if name != "sealed"),
    )
    rows = [
        (position, plan.lane, *(getattr(event, name) for name in columns[2:]))
        for position, event in enumerate(events, 1)
    ]
    try:
        return await timed(
            plan,
            rows,
            lambda batch: session.copy_records_to_table(
                "event",
                schema_name="eventstore",
                columns=columns,
                records=batch,
            ),
            start,
        )
    finally:
        await session.close()


async def message_db(plan: Plan, start: Start) -> Run:
    """message-db's function as its clients call it: a message a call, each its own commit."""
    return await _message_db(plan, start, together=False)


async def message_db_together(plan: Plan, start: Start) -> Run:
    """message-db's function, all calls of a batch pipelined in one transaction."""
    return await _message_db(plan, start, together=True)


async def _message_db(plan: Plan, start: Start, *, together: bool) -> Run:
    session = await asyncpg.connect(
        plan.dsn, server_settings={"search_path": "message_store, public"}
    )
    events = new_events(plan.events, plan.lane)
    call = "select message_store.write_message($1, $2, $3, $4::jsonb, $5::jsonb)"
    statement = await session.prepare(call)

    async def write(batch: Sequence[NewEvent]) -> None:
        rows = [
            (str(e.key), f"{TENANT}{plan.lane}-1", e.type, e.data.decode(), e.metadata.decode())
            for e in batch
        ]
        if together:
            await statement.executemany(rows)
            return
        for row in rows:
            await statement.fetchval(*row)

    try:
        return await timed(plan, events, write, start)
    finally:
        await session.close()


async def emmett(plan: Plan, start: Start) -> Run:
    """The function of emmett: a batch a call into one stream, which is what it likes best."""
    session = await asyncpg.connect(plan.dsn)
    events = new_events(plan.events, plan.lane)
    call = (
        "select * from emt_append_to_stream($1::text[], $2::jsonb[], $3::jsonb[], $4::text[],"
        " $5::text[], $6::text[], $7, 'file', $8, 'emt:default')"
    )
    streams = iter(range(plan.events))

    async def write(batch: Sequence[NewEvent]) -> None:
        size = len(batch)
        await session.fetchrow(
            call,
            [str(event.key) for event in batch],
            [event.data.decode() for event in batch],
            [event.metadata.decode() for event in batch],
            ["1"] * size,
            [event.type for event in batch],
            ["E"] * size,
            f"file-{plan.lane}-{next(streams)}",
            0,
        )

    try:
        return await timed(plan, events, write, start)
    finally:
        await session.close()


async def marten(plan: Plan, start: Start) -> Run:
    """The shape of Marten's quick append, in SQL of our own: a batch a call into one stream."""
    session = await asyncpg.connect(plan.dsn)
    events = new_events(plan.events, plan.lane)
    streams = iter(range(plan.events))

    async def write(batch: Sequence[NewEvent]) -> None:
        await session.fetchval(
            "select peer.quick_append($1, $2, $3, $4, $5::jsonb[], $6::jsonb[])",
            f"file-{plan.lane}-{next(streams)}",
            TENANT,
            [event.key for event in batch],
            [event.type for event in batch],
            [event.data.decode() for event in batch],
            [event.metadata.decode() for event in batch],
        )

    try:
        return await timed(plan, events, write, start)
    finally:
        await session.close()


Contestant = Callable[[Plan, Start], Coroutine[Any, Any, Run]]


_ready: Barrier


def _set_ready(ready: Barrier) -> None:
    global _ready  # noqa: PLW0603 - a barrier reaches a pool's process in no other way
    _ready = ready


def _write(contestant: Contestant, plan: Plan) -> Run:
    return uvloop.run(contestant(plan, lambda: _ready.wait(PATIENCE_S)))


def together(contestant: Contestant, plans: Sequence[Plan]) -> float:
    """Return events stored a second, from the first begin to the last end of all writers."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        len(plans),
        mp_context=context,
        initializer=_set_ready,
        initargs=(context.Barrier(len(plans)),),
    ) as pool:
        runs = list(pool.map(_write, [contestant] * len(plans), plans))
    seconds = max(end for _, end, _ in runs) - min(begin for begin, _, _ in runs)
    return sum(stored for _, _, stored in runs) / seconds
