"""Projections: read models built from events alone, each in a schema of its own.

Every table with a column `tenant` is separated by it: a reader of one tenant sees its rows alone
(`eventstore.admit_reader`), `drivewake_reader` and the projector see all.

A read model carries its place with it: `checkpoint(lane, position, version)` stands in its
schema and moves in the transaction that applies a batch. A new version is built beside the live
one, in `{name}_next`, and takes its name in one transaction; readers notice nothing but the
result. An erasure among the events makes a read model be built anew, from what can still be
read: nothing of what was erased stays, in no row and in no file. One runner of a name and lane
works at a time, the others wait for its lock.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import asyncpg
import msgspec

from drivewake.contracts.events import ERASURES
from drivewake.contracts.subjects import DOORBELL
from drivewake.eventstore import metrics
from drivewake.eventstore.connections import PROJECTOR, AnyConnection, connect, translated
from drivewake.eventstore.coordination import hold_lock
from drivewake.eventstore.errors import ProjectionFailedError, StoreUnavailableError
from drivewake.eventstore.follower import POLL_S, ReadAhead
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.store import EventReader, StoredEvent
from drivewake.eventstore.waiting import Retry, unless_stopped
from drivewake.runtime.bus import Doorbell
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

BATCH_EVENTS: Final = 5_000
SWITCH_ATTEMPTS: Final = 20
STANDBY_S: Final = 5.0
NEAR_EVENTS: Final = 1_000
"""So close behind the head, the switch may apply what is left while readers wait."""

_SQL = load_queries("projection")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_log = get_logger(__name__)

Progress = Callable[[int, int], None]
"""Told the position applied and the position of the newest event."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """How a read model stands, and what building it anew would mean; positions are of its lane.

    - `version`: what this program builds; `live_version` is None where nothing is live.
    - `built`: where an interrupted build of this version would be continued, else None.
    - `events`: how many a rebuild would apply.
    """

    name: str
    lane: int
    version: int
    live_version: int | None
    live_position: int
    built: int | None
    head: int

    @property
    def events(self) -> int:
        """Return how many events a rebuild would apply."""
        return self.head - (self.built or 0)

    @property
    def lag(self) -> int:
        """Return how many events the live read model is behind."""
        return self.head - self.live_position


class _ErasedError(Exception):
    """What was built holds something that was erased since: it must be built anew."""


class Projection(Protocol):
    """How events become a read model.

    `name` is its schema; raise `version` with every change of `schema_sql` or of what `apply`
    makes of the same events. Names in both are unqualified: the schema is on the search path.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - the class docstring says it
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def schema_sql(self) -> str: ...  # noqa: D102

    async def apply(self, connection: AnyConnection, events: Sequence[StoredEvent]) -> None:
        """Apply events, in order, inside the transaction that is open. Must not wait for else."""
        ...


class ProjectionRunner:
    """Keeps one projection of one lane up to date, and rebuilds it."""

    def __init__(
        self,
        dsn: str,
        reader: EventReader,
        projection: Projection,
        *,
        lane: int = 0,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        if _NAME.fullmatch(projection.name) is None:
            raise ValueError(f"not a name for a schema: {projection.name!r}")
        self._dsn = dsn
        self._reader = reader
        self._projection = projection
        self._lane = lane
        self._beat = beat
        self._ahead = ReadAhead(reader, lane, BATCH_EVENTS)

    async def run(self, doorbell: Doorbell, stop: Stop) -> None:
        """Apply events until the stop: first build or rebuild what is missing or older.

        Raises ProjectionFailedError and StoreMismatchError, which no waiting repairs.
        """
        retry = Retry(stop)
        while not stop.requested:
            try:
                async with self._session() as session:
                    await unless_stopped(stop, self._work(session, doorbell, stop, retry))
            except StoreUnavailableError as error:
                _log.warning("projection tries again", **self._fields("retry"), reason=str(error))
                await retry.wait()

    async def _work(
        self, session: AnyConnection, doorbell: Doorbell, stop: Stop, retry: Retry
    ) -> None:
        name = self._projection.name
        await hold_lock(session, f"projection {name}", self._lane)
        while not stop.requested:
            live = await self._live_version(session)
            if live is not None and live > self._projection.version:
                _log.warning("a newer version is live", **self._fields("standby"), live=live)
                await stop.sleep(STANDBY_S)
            elif live is None:
                await self._create(session, name)
            elif live < self._projection.version:
                await self.rebuild()
            else:
                try:
                    await self._follow(session, doorbell, stop, retry)
                except _ErasedError:
                    _log.info("building anew after an erasure", **self._fields("erased"))
                    await self.rebuild()

    async def _follow(
        self, session: AnyConnection, doorbell: Doorbell, stop: Stop, retry: Retry
    ) -> None:
        """Apply what comes, until the stop or until another version takes over."""
        while not stop.requested:
            self._beat()
            before = await self._advance(session, self._projection.name)
            if before is None:
                return
            position, applied = before
            retry.reset()
            head = await self._reader.last_position(self._lane)
            metrics.PROJECTION_LAG.set(max(head - position, 0))
            if applied < BATCH_EVENTS:
                await doorbell.wait(DOORBELL, POLL_S)

    async def catch_up(self) -> int:
        """Apply everything that is there now, and return the position reached."""
        async with self._session() as session:
            await hold_lock(session, f"projection {self._projection.name}", self._lane)
            if await self._live_version(session) is None:
                await self._create(session, self._projection.name)
            while True:
                try:
                    reached = await self._advance(session, self._projection.name)
                except _ErasedError:
                    await self.rebuild()
                    continue
                if reached is None:
                    raise StoreUnavailableError("another version of the projection is live")
                if not reached[1]:
                    return reached[0]

    async def outlook(self) -> Outlook:
        """Look how the read model stands, and change nothing."""
        name, following = self._projection.name, f"{self._projection.name}_next"
        async with self._session() as session:
            live = await self._place_in(session, name)
            built = await self._place_in(session, following)
        return Outlook(
            name=name,
            lane=self._lane,
            version=self._projection.version,
            live_version=None if live is None else live[1],
            live_position=0 if live is None else live[0],
            built=built[0] if built and built[1] == self._projection.version else None,
            head=await self._reader.last_position(self._lane),
        )

    async def _place_in(self, session: AnyConnection, schema: str) -> tuple[int, int] | None:
        """Return position and version of a read model in this lane, None without one."""
        async with self._inside(session, schema):
            if not await session.fetchval(_SQL["exists"], schema):
                return None
            row = await session.fetchrow(_SQL["place"], self._lane)
        return None if row is None else (row["position"], row["version"])

    async def rebuild(self, progress: Progress = lambda _position, _head: None) -> None:
        """Build the read model anew beside the live one, then put it in its place.

        An interrupted build of the same version is continued. Raises ProjectionFailedError.
        """
        name, following = self._projection.name, f"{self._projection.name}_next"
        async with self._session() as session:
            await hold_lock(session, f"projection {name} rebuild", self._lane)
            while True:
                try:
                    head = await self._build(session, following, progress)
                    break
                except _ErasedError:
                    await self._drop(session, following)
        _log.info("projection rebuilt", **self._fields("rebuilt"), position=head)

    async def _build(self, session: AnyConnection, following: str, progress: Progress) -> int:
        """Build or go on building, and switch; return the position reached.

        Raises _ErasedError for an erasure that is younger than what was built already.
        """
        settled = await self._reader.last_position(self._lane)
        if await self._version_in(session, following) == self._projection.version:
            async with self._inside(session, following):
                row = await session.fetchrow(_SQL["checkpoint"], self._lane)
            settled = 0 if row is None else row["position"]
        else:
            await self._drop(session, following)
            await self._create(session, following)
        while True:
            reached = await self._advance(session, following, settled)
            if reached is None:
                raise StoreUnavailableError("the build was taken away")
            self._beat()
            head = await self._reader.last_position(self._lane)
            progress(reached[0], head)
            if head - reached[0] <= NEAR_EVENTS:
                break
        await self._switch(session, settled)
        progress(head, head)
        return head

    async def _advance(
        self, session: AnyConnection, schema: str, settled: int = 0
    ) -> tuple[int, int] | None:
        """Apply one batch; return position and count, None when another version is there."""
        async with self._inside(session, schema):
            row = await session.fetchrow(_SQL["checkpoint"], self._lane)
            if row is None or row["version"] != self._projection.version:
                return None
            return await self._apply_next(session, row["position"], settled)

    async def _apply_next(
        self, session: AnyConnection, position: int, settled: int
    ) -> tuple[int, int]:
        """Apply what follows; _ErasedError for an erasure behind position `settled`."""
        events = await self._ahead.read(position)
        if not events:
            return position, 0
        if any(event.type in ERASURES and event.position > settled for event in events):
            raise _ErasedError
        try:
            await self._projection.apply(session, events)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as error:
            raise ProjectionFailedError(
                f"projection {self._projection.name} failed between positions {position} and "
                f"{events[-1].position} of lane {self._lane}: {type(error).__name__}"
            ) from error
        await session.execute(_SQL["advance"], self._lane, events[-1].position)
        metrics.PROJECTED.add(len(events))
        return events[-1].position, len(events)

    async def _switch(self, session: AnyConnection, settled: int) -> None:
        """Catch up and take the live name, in one transaction, then drop what was live."""
        name = self._projection.name
        following, old = f"{name}_next", f"{name}_old"
        await self._drop(session, old)
        for attempt in range(1, SWITCH_ATTEMPTS + 1):
            try:
                async with self._inside(session, following):
                    await session.execute("set local lock_timeout = '2s'")
                    live = await session.fetchval(_SQL["exists"], name)
                    if live:
                        # Before anything else: from here on the live runner waits, holding nothing.
                        await session.execute(f"lock table {name}.checkpoint")
                    row = await session.fetchrow(_SQL["checkpoint"], self._lane)
                    position = 0 if row is None else row["position"]
                    while (reached := await self._apply_next(session, position, settled))[1]:
                        position = reached[0]
                    if live:
                        await session.execute(f"alter schema {name} rename to {old}")
                    await session.execute(f"alter schema {following} rename to {name}")
                break
            except StoreUnavailableError:
                if attempt == SWITCH_ATTEMPTS or session.is_closed():
                    raise
        await self._drop(session, old)

    async def _create(self, session: AnyConnection, schema: str) -> None:
        async with translated(), session.transaction():
            await session.execute(f"create schema {schema}")
            await session.execute(f"set local search_path to {schema}")
            await session.execute(_SQL["checkpoint_table"])
            await session.execute(_SQL["start"], self._lane, self._projection.version)
            await session.execute(self._projection.schema_sql)
            await session.execute(f"grant usage on schema {schema} to drivewake_reader")
            await session.execute(
                f"grant select on all tables in schema {schema} to drivewake_reader"
            )
            await session.execute(f"grant usage on schema {schema} to drivewake_tenant")
            for row in await session.fetch(_SQL["tenant_tables"], schema):
                await session.execute(_SQL["separate_tenants"].format(table=row["name"]))

    async def _drop(self, session: AnyConnection, schema: str) -> None:
        async with translated():
            await session.execute(f"drop schema if exists {schema} cascade")

    async def _live_version(self, session: AnyConnection) -> int | None:
        return await self._version_in(session, self._projection.name)

    async def _version_in(self, session: AnyConnection, schema: str) -> int | None:
        async with self._inside(session, schema):
            if not await session.fetchval(_SQL["exists"], schema):
                return None
            version = await session.fetchval(_SQL["live_version"])
        return None if version is None else int(version)

    @asynccontextmanager
    async def _inside(self, session: AnyConnection, schema: str) -> AsyncIterator[None]:
        """Open a transaction in which unqualified names are those of a schema."""
        async with translated(), session.transaction():
            await session.execute(f"set local search_path to {schema}")
            yield

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AnyConnection]:
        connection = await connect(self._dsn, PROJECTOR)
        try:
            yield connection
        finally:
            self._ahead.forget()
            with suppress(Exception):
                await connection.close(timeout=1.0)
            connection.terminate()

    def _fields(self, verb: str) -> dict[str, str]:
        return {"action": f"projection_{verb}", "projection": self._projection.name}
