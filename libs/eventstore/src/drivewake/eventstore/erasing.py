"""What an erasure does in the database. Every step may be repeated; none touches an event."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final, Self

import msgspec

from drivewake.eventstore.connections import Connection, connect, translated
from drivewake.eventstore.queries import load_queries

_SQL = load_queries("erasing")
_ERASER: Final[Mapping[str, str]] = MappingProxyType(
    {"application_name": "drivewake-eraser", "lock_timeout": "30s"}
)
CHUNK_ROWS: Final = 5_000


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure as the database keeps it; connection "" is the whole tenant."""

    id: str
    tenant: str
    connection: str
    asked_at: dt.datetime


class ErasureDesk:
    """One session of a user with the role `drivewake_eraser`. Raises StoreErrors."""

    def __init__(self, session: Connection) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator[Self]:
        """Connect, and disconnect at the end."""
        session = await connect(dsn, _ERASER)
        try:
            yield cls(session)
        finally:
            with suppress(Exception):
                await session.close(timeout=1.0)
            session.terminate()

    async def plan(self, tenant: str, connection: str) -> tuple[int, int]:
        """Return how many keys are alive and how many heads the tenant has."""
        async with translated():
            return (
                int(await self._session.fetchval(_SQL["live_keys"], tenant, connection)),
                int(await self._session.fetchval(_SQL["heads_of_tenant"], tenant)),
            )

    async def begin(self, id_: str, tenant: str, connection: str, asked_by: str) -> Erasure:
        """Open the record; one that there is keeps its id and instant."""
        async with translated():
            row = await self._session.fetchrow(_SQL["begin"], id_, tenant, connection, asked_by)
        assert row is not None  # noqa: S101 - the function returns one row
        return Erasure(id=row["id"], tenant=tenant, connection=connection, asked_at=row["asked_at"])

    async def erase_keys(self, erasure: Erasure) -> int:
        """Delete the keys; from here on nothing sealed under them is appended or opened."""
        async with translated():
            return int(await self._session.fetchval(_SQL["erase_keys"], erasure.id))

    async def drop_heads(
        self, erasure: Erasure, kind: str, heads: Mapping[str, int]
    ) -> Sequence[str]:
        """Delete heads at their revisions; return the ids of those that moved meanwhile."""
        async with translated():
            rows = await self._session.fetch(
                _SQL["drop_heads"], erasure.id, kind, list(heads), list(heads.values())
            )
        return [row[0] for row in rows]

    async def drop_parts(self, erasure: Erasure, kinds: Sequence[str]) -> int:
        """Delete heads of what hangs on files whose own heads are gone."""
        async with translated():
            return int(
                await self._session.fetchval(
                    _SQL["drop_parts"], erasure.id, list(kinds), timeout=600.0
                )
            )

    async def drop_chunk(self, erasure: Erasure, kinds: Sequence[str]) -> int:
        """Delete some of the rest: heads (of a connection those of `kinds`), marks, cursors."""
        async with translated():
            return int(
                await self._session.fetchval(
                    _SQL["drop_chunk"], erasure.id, list(kinds), CHUNK_ROWS
                )
            )

    async def projections(self) -> Sequence[str]:
        """Return the names of the read models."""
        async with translated():
            return [row["nspname"] for row in await self._session.fetch(_SQL["projections"])]

    async def projected(self, name: str, lane: int) -> int:
        """Return up to which position a read model is true, 0 before it has begun."""
        async with translated():
            place = await self._session.fetchval(
                f'select position from "{name}".checkpoint where lane = $1',  # noqa: S608 - from the catalogue
                lane,
            )
        return int(place or 0)

    async def finish(self, erasure: Erasure, counts: Mapping[str, int]) -> None:
        """Take the bytes of what was deleted out of the tables' files; note what was done."""
        async with translated():
            for table in ("data_key", "head"):
                await self._session.execute(f"vacuum eventstore.{table}", timeout=3600.0)
            await self._session.execute("vacuum full eventstore.data_key")
            await self._session.fetchval(
                _SQL["finish"], erasure.id, msgspec.json.encode(dict(counts))
            )
