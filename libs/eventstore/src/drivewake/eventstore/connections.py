"""Connections to Postgres: how they are set up, and what their failures mean.

asyncpg's prepared statements need sessions: connect directly, or through a pooler in session
mode. Sockets and passwords are the DSN's business.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from drivewake.eventstore.errors import (
    KeyTakenError,
    PoisonError,
    StoreError,
    StoreMismatchError,
    StoreUnavailableError,
)

# In quotes: generic for type checkers, not at run time.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
AnyConnection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
)

CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 15.0
ACQUIRE_TIMEOUT_S: Final = 15.0

_KEEPALIVE: Final = {
    # A peer that vanished without a word is noticed in half a minute, not in two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
WRITER: Final[Mapping[str, str]] = MappingProxyType(
    {**_KEEPALIVE, "application_name": "drivewake-writer", "transaction_timeout": "5s"}
)
READER: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_KEEPALIVE,
        "application_name": "drivewake-reader",
        # Reading a lane is walking its index; the planner, short of statistics on young
        # partitions, would sometimes rather sort a month.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
    }
)
LEASE: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_KEEPALIVE,
        "application_name": "drivewake-lease",
        # Who is paused for long loses the lock.
        "idle_session_timeout": "30s",
    }
)

SHARES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_KEEPALIVE,
        "application_name": "drivewake-shares",
        # It is asked every second: who is silent for this long has lost its shares.
        "idle_session_timeout": "10s",
    }
)

PROJECTOR: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_KEEPALIVE,
        "application_name": "drivewake-projector",
        "idle_session_timeout": "60s",
        "idle_in_transaction_session_timeout": "60s",
    }
)

_SCHEMA_OR_RIGHTS: Final = (
    asyncpg.SyntaxOrAccessError,  # class 42: no such table, function or column; no privilege
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.exceptions.ClientConfigurationError,
)
_REFUSED_VALUE: Final = (
    asyncpg.DataError,  # class 22, said by the server
    asyncpg.exceptions._base.DataError,  # noqa: SLF001 - said by the client; its name is shadowed
    asyncpg.ProgramLimitExceededError,
    UnicodeEncodeError,
)
_TROUBLE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    UnicodeEncodeError,
)


async def open_pool(dsn: str, settings: Mapping[str, str], *, size: int) -> Pool:
    """Open a pool of up to `size` connections.

    Raises StoreUnavailableError, StoreMismatchError (wrong user, password or database).
    """
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            init=set_up,
            reset=_leave,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=dict(settings),
        )
    except _TROUBLE as error:
        raise translate(error) from error
    assert pool is not None  # noqa: S101 - None only without awaiting
    return pool


async def connect(dsn: str, settings: Mapping[str, str]) -> Connection:
    """Open one connection outside of any pool; raises what `open_pool` raises."""
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=dict(settings),
        )
        await set_up(connection)
    except _TROUBLE as error:
        raise translate(error) from error
    return connection


async def set_up(connection: Connection) -> None:
    """Let JSON pass as the bytes that it is: `bytes` returns what is given to it."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )


async def _leave(_: AnyConnection) -> None:
    """Skip the pool's reset: our statements leave nothing behind, and it costs a round trip."""


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[AnyConnection]:
    """Lend a connection, and speak of its failures in the store's words.

    After anything unexpected, a cancellation included, the connection is cut: what the server
    still makes of it is then its own affair, and no half-finished protocol is handed on.
    """
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            try:
                yield connection
            except StoreError:
                raise
            except BaseException:
                with suppress(asyncpg.InterfaceError):  # it may be gone already
                    connection.terminate()
                raise
    except _TROUBLE as error:
        raise translate(error) from error


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Speak of a single connection's failures in the store's words."""
    try:
        yield
    except _TROUBLE as error:
        raise translate(error) from error


def translate(error: BaseException) -> StoreError:
    """Return the store's word for a failure of asyncpg, Postgres or the network.

    Messages of Postgres quote values, so only its kind of error is repeated.
    """
    kind = type(error).__name__
    if isinstance(error, _REFUSED_VALUE):
        return PoisonError(kind)
    if isinstance(error, asyncpg.UniqueViolationError):
        return KeyTakenError()
    if isinstance(error, _SCHEMA_OR_RIGHTS):
        return StoreMismatchError(f"the event store's database does not fit: {kind}")
    return StoreUnavailableError(f"the event store did not answer: {kind}")
