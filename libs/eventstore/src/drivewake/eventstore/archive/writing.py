"""Archiving: a month is written, proved, taken out of the table and deleted, in this order.

A run may be killed anywhere and is simply repeated. Until a month is detached its files are
written anew under the same names; a month that was detached is proved once more, against the
rows that are still there, before these are deleted.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Literal

import asyncpg
import msgspec

from drivewake.contracts.subjects import DAY_S, STREAMS
from drivewake.eventstore.archive.files import Files
from drivewake.eventstore.archive.records import (
    FORMAT,
    MAX_MANIFEST_BYTES,
    PART_EVENTS,
    Manifest,
    Part,
    decode_manifest,
    encode_line,
    encode_manifest,
    folder,
    pack,
    unpack,
)
from drivewake.eventstore.connections import AnyConnection, translate
from drivewake.eventstore.coordination import lock_number
from drivewake.eventstore.errors import ArchiveError
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.store import StoredEvent
from drivewake.runtime.clock import Clock
from drivewake.runtime.logging import get_logger

LEAST_MONTHS: Final = 4
"""A month that was dropped is dedupe memory that was dropped. So months stay longer than anything
is kept that could be replayed; the database itself refuses to let a younger one go."""
ATTEMPTS: Final = 5

assert max(stream.max_age_s for stream in STREAMS) < LEAST_MONTHS * 28 * DAY_S  # noqa: S101

_SQL = load_queries("archive")
_STORE_SQL = load_queries("store")
_log = get_logger(__name__)

Step = Literal["write", "verify", "detach", "drop", "done"]
Progress = Callable[[dt.date, Step, int], None]
"""Told the month, the step that begins, and how many events the step before it handled."""


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A month in the archive: its manifest, and whether its rows are still there, detached."""

    manifest: Manifest
    state: Literal["detached", "dropped"]


async def archived(session: AnyConnection) -> list[Archived]:
    """Return what was archived, in that order."""
    rows = await session.fetch(_SQL["archived"])
    return [Archived(manifest=decode_manifest(row["manifest"]), state=row["state"]) for row in rows]


async def months(session: AnyConnection) -> list[dt.date]:
    """Return the months that have a partition, oldest first."""
    rows = await session.fetch(_SQL["months"])
    return [dt.date(int(row["month"][:4]), int(row["month"][4:]), 1) for row in rows]


async def due(session: AnyConnection, now: dt.datetime, older_than: int) -> list[dt.date]:
    """Return the months that ended at least `older_than` months ago.

    Raises ValueError below LEAST_MONTHS.
    """
    if older_than < LEAST_MONTHS:
        raise ValueError(
            f"the youngest {LEAST_MONTHS} months stay: facts of theirs may still be replayed, "
            "and would be stored a second time"
        )
    first_to_stay = now.year * 12 + now.month - 1 - older_than
    found = await months(session)
    return [one for one in found if one.year * 12 + one.month - 1 < first_to_stay]


async def rest(session: AnyConnection) -> int:
    """Return how many events have no partition of their month, and so never go; up to 10,000."""
    return int(await session.fetchval(_SQL["rest"], 10_000))


class Archivist:
    """Archives months of one database; `session` belongs to a member of `drivewake_keeper`."""

    def __init__(
        self,
        session: AnyConnection,
        files: Files,
        clock: Clock,
        *,
        progress: Progress = lambda _month, _step, _events: None,
        part_events: int = PART_EVENTS,
    ) -> None:
        self._session = session
        self._files = files
        self._clock = clock
        self._progress = progress
        self._part_events = part_events

    async def run(self, older_than: int) -> list[Manifest]:
        """Archive all months that are due, and finish what an earlier run left; return them.

        Raises ArchiveError, and what the files raise; what was not finished is repeated by the
        next run.
        """
        going = await due(self._session, self._clock.now(), older_than)
        lock = lock_number("archive"), 0
        if not await self._session.fetchval(_STORE_SQL["try_lock"], *lock):
            raise ArchiveError("another run is archiving at this moment")
        try:
            found = await archived(self._session)
            done = [await self._finish(one.manifest) for one in found if one.state == "detached"]
            return done + [await self._archive(month) for month in going]
        except asyncpg.PostgresError as error:
            raise translate(error) from error
        finally:
            if not self._session.is_closed():
                await self._session.fetchval(_STORE_SQL["unlock"], *lock)

    async def _archive(self, month: dt.date) -> Manifest:
        for _ in range(ATTEMPTS):
            self._progress(month, "write", 0)
            manifest = await self._write(month)
            self._progress(month, "verify", manifest.events)
            same = await self._prove(manifest, "eventstore.event")
            self._progress(month, "detach", manifest.events)
            if same and await self._detach(manifest):
                return await self._drop(manifest)
        raise ArchiveError(f"{month:%Y-%m} changes, or its table is in use: try again later")

    async def _finish(self, manifest: Manifest) -> Manifest:
        """Prove and delete a month that an earlier run had detached."""
        self._progress(manifest.month, "verify", manifest.events)
        place = manifest.month, manifest.number
        table = await self._session.fetchval(_SQL["archived_table"], *place)
        if not await self._prove(manifest, table):
            raise ArchiveError(f"{table} is not what was archived of it: its rows stay")
        return await self._drop(manifest)

    # -- steps --

    async def _write(self, month: dt.date) -> Manifest:
        """Write the files of a month and then its manifest."""
        number = int(await self._session.fetchval(_SQL["next_number"], month))
        start = dt.datetime(month.year, month.month, 1, tzinfo=dt.UTC)
        bounds = await self._session.fetchrow(_SQL["key_bounds"], start)
        assert bounds is not None  # noqa: S101 - a query without a table
        parts = []
        rows = self._rows("eventstore.event", bounds["first_key"], bounds["end_key"])
        async for events in rows:
            file, part = pack(events)
            part = msgspec.structs.replace(part, name=f"{folder(month, number)}/{part.name}")
            await self._files.put(part.name, file)
            parts.append(part)
        manifest = Manifest(
            format=FORMAT,
            month=month,
            number=number,
            schema_version=await self._session.fetchval(_SQL["schema_version"]),
            first_key=bounds["first_key"],
            end_key=bounds["end_key"],
            events=sum(part.events for part in parts),
            written_at=self._clock.now(),
            parts=tuple(parts),
        )
        await self._files.put(manifest.name, encode_manifest(manifest))
        return manifest

    async def _rows(
        self, table: str, first_key: object, end_key: object
    ) -> AsyncIterator[Sequence[StoredEvent]]:
        """Yield what a table holds of a month, as many events at once as a file takes.

        A file is of one lane.
        """
        query = _SQL["month_rows"].format(table=table)
        lane, position = -1, 0
        while rows := await self._session.fetch(
            query, first_key, end_key, lane, position, self._part_events
        ):
            lane = rows[0]["lane"]
            events = [_stored(row) for row in rows if row["lane"] == lane]
            position = events[-1].position
            yield events

    async def _prove(self, manifest: Manifest, table: str) -> bool:
        """Read everything back; return whether it is what the rows are.

        Raises ArchiveError when it is not what was written.
        """
        await _same_manifest(self._files, manifest)
        parts = iter(manifest.parts)
        async for events in self._rows(table, manifest.first_key, manifest.end_key):
            part = next(parts, None)
            if part is None or not await self._same(part, events):
                return False
        return next(parts, None) is None

    async def _same(self, part: Part, events: Sequence[StoredEvent]) -> bool:
        kept = unpack(part, await self._files.get(part.name, limit_bytes=part.bytes))
        return [encode_line(event) for event in events] == [encode_line(event) for event in kept]

    async def _detach(self, manifest: Manifest) -> bool:
        """Take the month out of the table; False if it has changed or is in use."""
        lanes = {part.lane for part in manifest.parts}
        events = [sum(p.events for p in manifest.parts if p.lane == lane) for lane in lanes]
        lasts = [max(p.last_position for p in manifest.parts if p.lane == lane) for lane in lanes]
        text = encode_manifest(manifest).decode()
        try:
            await self._session.fetchval(
                _SQL["detach"], manifest.month, text, list(lanes), events, lasts
            )
        except (
            asyncpg.SerializationError,
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
        ) as error:
            _log.warning("a month stays for now", action="detach_retry", reason=str(error))
            return False
        except (asyncpg.CheckViolationError, asyncpg.ObjectInUseError) as error:
            raise ArchiveError(str(error)) from error
        return True

    async def _drop(self, manifest: Manifest) -> Manifest:
        self._progress(manifest.month, "drop", manifest.events)
        await self._session.fetchval(_SQL["drop"], manifest.month, manifest.number)
        self._progress(manifest.month, "done", manifest.events)
        _log.info(
            "month archived",
            action="month_archived",
            month=f"{manifest.month:%Y-%m}",
            events=manifest.events,
        )
        return manifest


async def verify(files: Files, manifest: Manifest) -> int:
    """Read an archived month from its files alone; return the number of its events.

    Raises ArchiveError for the first thing that is missing or not as written.
    """
    await _same_manifest(files, manifest)
    for part in manifest.parts:
        for event in unpack(part, await files.get(part.name, limit_bytes=part.bytes)):
            if not manifest.first_key <= event.key < manifest.end_key:
                raise ArchiveError(f"{part.name}: position {event.position} is of another month")
    return manifest.events


def _stored(row: asyncpg.Record) -> StoredEvent:
    fields = dict(row)
    sealed = fields.pop("sealed")
    if sealed is not None:
        fields["data"] = sealed
    return StoredEvent(**fields, sealed=sealed is not None)


async def _same_manifest(files: Files, manifest: Manifest) -> None:
    """Raise ArchiveError unless the file holds this manifest."""
    kept = await files.get(manifest.name, limit_bytes=MAX_MANIFEST_BYTES)
    if decode_manifest(kept) != manifest:
        raise ArchiveError(f"{manifest.name} is another than was written")
