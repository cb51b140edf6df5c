"""Locks and places of readers, in Postgres."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from drivewake.eventstore.connections import (
    LEASE,
    SHARES,
    AnyConnection,
    Connection,
    Pool,
    borrowed,
    connect,
    translated,
)
from drivewake.eventstore.queries import load_queries
from drivewake.eventstore.sharing import MEMBER, Shares, Standing
from drivewake.eventstore.store import Lease

_SQL = load_queries("store")
_RETRY_S: Final = 0.5
_RECHECK_S: Final = 1.0
SHARE_TIMEOUT_S: Final = 3.0


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

    @asynccontextmanager
    async def shares(self, name: str) -> AsyncIterator[Shares]:
        """See sharing.Sharing. Numbers are advisory locks of one session, and end with it."""
        connection = await connect(self._dsn, SHARES)
        try:
            async with translated():
                # Nobody takes it alone, so this never waits.
                await connection.fetchval(_SQL["join"], lock_number(name), MEMBER)
            yield _SessionShares(connection, name)
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

    async def restarted(self, lane: int, position: int) -> int | None:
        """See store.Coordination."""
        async with borrowed(self._pool) as connection:
            relayed = await connection.fetchval(_SQL["restarted"], lane, position)
        return None if relayed is None else int(relayed)

    async def restarts(self) -> int:
        """Return how often the store went on after it was restored to an older day."""
        async with borrowed(self._pool) as connection:
            return int(await connection.fetchval(_SQL["restarts"]))


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


class _SessionShares:
    """Shares that live as long as their session."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._number = lock_number(name)
        self._lock = asyncio.Lock()

    async def standing(self) -> Standing:
        """See sharing.Shares."""
        async with self._lock, translated():
            rows = await self._connection.fetch(
                # As pg_locks shows it: without a sign.
                *(_SQL["standing"], self._number % (1 << 32)),
                timeout=SHARE_TIMEOUT_S,
            )
        me = self._connection.get_server_pid()
        return Standing(
            members=sorted(row["pid"] for row in rows if row["number"] == MEMBER),
            me=me,
            held=frozenset(row["number"] for row in rows if row["number"] != MEMBER),
            mine=frozenset(
                row["number"] for row in rows if row["number"] != MEMBER and row["pid"] == me
            ),
        )

    async def claim(self, number: int) -> bool:
        """See sharing.Shares. Ask only for what is not held: Postgres counts a second time."""
        async with self._lock, translated():
            taken = await self._connection.fetchval(
                *(_SQL["try_lock"], self._number, number), timeout=SHARE_TIMEOUT_S
            )
        return bool(taken)

    async def release(self, number: int) -> None:
        """See sharing.Shares."""
        async with self._lock, translated():
            await self._connection.fetchval(
                *(_SQL["unlock"], self._number, number), timeout=SHARE_TIMEOUT_S
            )


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
