"""Locks and places of readers, in Postgres."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from drivewake.eventstore.connections import (
    LEASE,
    AnyConnection,
    Connection,
    Pool,
    borrowed,
    connect,
    translated,
)
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.store import Lease

_SQL = load_queries("store")
_RETRY_S: Final = 0.5
_RECHECK_S: Final = 1.0


class PostgresCoordination:
    """Coordination by advisory locks of a session of their own, and a table of places."""

    def __init__(self, dsn: str, pool: Pool) -> None:
        self._dsn = dsn
        self._pool = pool

    @asynccontextmanager
    async def exclusive(self, name: str, lane: int) -> AsyncIterator[Lease]:
        """See store.Coordination. The lock ends with its session, however that ends."""
        connection = await connect(self._dsn, LEASE)
        try:
            async with translated():
                await hold_lock(connection, name, lane)
            yield _SessionLease(connection)
        finally:
            with suppress(Exception):
                await connection.close(timeout=1.0)
            connection.terminate()

    async def checkpoint(self, name: str, lane: int) -> int:
        """See store.Coordination."""
        async with borrowed(self._pool) as connection:
            position = await connection.fetchval(_SQL["checkpoint"], name, lane)
        return int(position or 0)

    async def save_checkpoint(self, name: str, lane: int, position: int) -> None:
        """See store.Coordination."""
        async with borrowed(self._pool) as connection:
            await connection.execute(_SQL["save_checkpoint"], name, lane, position)


class _SessionLease:
    """A lease that lives as long as its session; asks the server at most once a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._checked_s = time.monotonic()

    async def check(self) -> None:
        """See store.Lease."""
        if time.monotonic() - self._checked_s < _RECHECK_S and not self._connection.is_closed():
            return
        async with translated():
            await self._connection.fetchval("select 1", timeout=2.0)
        self._checked_s = time.monotonic()


async def hold_lock(connection: AnyConnection, name: str, lane: int) -> None:
    """Ask until the lock is the session's; it is given back by ending the session.

    Asking again and again, not waiting in the database: that keeps the session from being
    idle for too long, and ends when the task does.
    """
    while True:
        if await connection.fetchval(_SQL["try_lock"], lock_number(name), lane):
            return
        await asyncio.sleep(_RETRY_S)


def lock_number(name: str) -> int:
    """Return the first half of the advisory lock of a name, as Postgres' signed integer."""
    number = zlib.crc32(f"drivewake/{name}".encode())
    return number - (1 << 32) if number >= 1 << 31 else number
