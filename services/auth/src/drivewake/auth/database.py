"""A pool of connections to Postgres and the named queries of `sql/queries`."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Final, TypeAlias

import asyncpg
from pydantic import SecretStr

from drivewake.auth.errors import StoreUnavailableError
from drivewake.runtime.errors import ConfigurationError

Row: TypeAlias = asyncpg.Record
Session: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

POOL_SIZE: Final = 8
TIMEOUT_S: Final = 5.0
_HEADER: Final = re.compile(r"^-- (\w+): .+$", re.MULTILINE)

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
)
"""What says that the database is away, restarting or overloaded; the rest are bugs."""

_REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""What says that the role, its password or its rights are wrong."""


def _read_queries() -> dict[str, str]:
    """Return the queries by name; each stands under a line `-- name: what it is for`."""
    found: dict[str, str] = {}
    for file in resources.files("drivewake.auth").joinpath("sql/queries").iterdir():
        text = file.read_text()
        headers = list(_HEADER.finditer(text))
        ends = [*(header.start() for header in headers[1:]), len(text)]
        for header, end in zip(headers, ends, strict=True):
            if header[1] in found:
                raise ValueError(f"two queries are called {header[1]}")
            found[header[1]] = text[header.end() : end].strip()
    return found


QUERIES: Final[Mapping[str, str]] = _read_queries()


class Database:
    """A pool that connects when first asked, so that a service starts while Postgres is away."""

    def __init__(self, url: SecretStr) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            url.get_secret_value(),
            min_size=0,
            max_size=POOL_SIZE,
            timeout=TIMEOUT_S,
            command_timeout=TIMEOUT_S,
            server_settings={
                "application_name": "drivewake-auth",
                "idle_in_transaction_session_timeout": "30s",
            },
        )

    async def open(self) -> None:
        """Make the pool usable; connects to nothing yet."""
        await self._pool

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def ready(self) -> None:
        """Return if the database answers; raises StoreUnavailableError."""
        async with self.transaction() as session:
            await session.fetchval("select 1 from auth.tenant limit 1")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run one transaction.

        Raises StoreUnavailableError when the database is away, ConfigurationError when it is
        not the one that auth was made for.
        """
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as session, session.transaction():
                yield session
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
            raise ConfigurationError(
                "the database lacks tables of auth: run `python -m drivewake.auth migrate`"
            ) from error
        except _REFUSED as error:
            raise ConfigurationError(
                f"the database refuses what DRIVEWAKE_POSTGRES_DSN names ({type(error).__name__})"
            ) from error
        except _AWAY as error:
            raise StoreUnavailableError(
                f"the database did not answer ({type(error).__name__})"
            ) from error

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a named query, run by itself."""
        async with self.transaction() as session:
            return await session.fetch(QUERIES[query], *values)

    async def row(self, query: str, *values: object) -> asyncpg.Record | None:
        """Return the first row of a named query, run by itself; None without one."""
        async with self.transaction() as session:
            return await session.fetchrow(QUERIES[query], *values)
