"""Tenants, connections and refresh tokens in Postgres."""

import datetime as dt
from collections.abc import Sequence

from drivewake.auth import rows
from drivewake.auth.audit import entry
from drivewake.auth.audit_store import append_audit
from drivewake.auth.database import QUERIES, Database, Session
from drivewake.auth.domain import Connection
from drivewake.auth.errors import TenantExistsError, UnknownError
from drivewake.auth.records import Account, By, Decide, Grant, Tenant


class TenantStore:
    """Implements the port Tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self) -> Sequence[Tenant]:
        """Return all tenants, by id."""
        return [Tenant(**row) for row in await self._database.rows("tenants")]

    async def tenant(self, tenant: str) -> Tenant | None:
        """Return one tenant, None if there is none of this id."""
        row = await self._database.row("tenant", tenant)
        return None if row is None else Tenant(**row)

    async def add_tenant(self, tenant: Tenant, by: By) -> None:
        """Add a tenant; TenantExistsError if the id is taken."""
        async with self._database.transaction() as session:
            values = (tenant.id, tenant.name, tenant.created_at)
            if await session.fetchrow(QUERIES["add_tenant"], *values) is None:
                raise TenantExistsError
            fact = entry(by, tenant.created_at, "tenant.added", tenant=tenant.id)
            await append_audit(session, [fact])


class ConnectionStore:
    """Implements the ports Connections, Grants and Revocations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def connection(self, tenant: str, connection: str) -> Connection | None:
        """Return one connection of a tenant."""
        row = await self._database.row("connection", tenant, connection)
        return None if row is None else rows.connection_of(row)

    async def accounts(self, tenant: str | None, after: str, limit: int) -> Sequence[Account]:
        """Return up to `limit` connections with an id above `after`, by id."""
        found = await self._database.rows("accounts", tenant, after, limit)
        return [rows.account_of(row) for row in found]

    async def account(self, connection: str) -> Account | None:
        """Return one connection, whoever's it is."""
        row = await self._database.row("account", connection)
        return None if row is None else rows.account_of(row)

    async def apply(self, connection: str, decide: Decide, now: dt.datetime, by: By) -> Connection:
        """Lock the row, let `decide` say what changes, write it; return the connection after."""
        async with self._database.transaction() as session:
            return await _apply(session, connection, decide, now, by)

    async def apply_to_grant(
        self, connection: str, grant: str, decide: Decide, now: dt.datetime, by: By
    ) -> Connection:
        """Do `apply` only if `grant` is still the id of the current grant."""
        async with self._database.transaction() as session:
            # The connection first: everybody locks in this order.
            row = await session.fetchrow(QUERIES["lock_connection"], connection)
            current = await session.fetchval(QUERIES["lock_refresh_token"], connection)
            if current is None:
                held = await session.fetchrow(QUERIES["delegation"], connection)
                current = None if held is None else held["grant_id"]
            if row is None:
                raise UnknownError
            if current != grant:
                return rows.connection_of(row)
            return await _apply(session, connection, decide, now, by)

    async def grant(self, connection: str) -> Grant | None:
        """Return the current refresh token, None if there is none (any more)."""
        row = await self._database.row("refresh_token", connection)
        if row is not None:
            return rows.grant_of(row)
        row = await self._database.row("delegation", connection)
        return None if row is None else rows.delegation_of(row)

    async def replace_grant(self, grant: Grant, *, expected: str) -> bool:
        """Put `grant` in the place of the grant whose id is `expected`; say if it was there."""
        row = await self._database.row(
            "replace_refresh_token",
            grant.connection,
            expected,
            grant.id,
            grant.sealed.key_id,
            grant.sealed.data,
            grant.marks.prefix if grant.marks else None,
            grant.marks.double if grant.marks else None,
        )
        return row is not None

    async def shares_principal(self, connection: str) -> bool:
        """Return whether another living connection has the same principal at Google."""
        row = await self._database.row("shares_principal", connection)
        return row is not None and bool(row[0])

    async def principal_lives(self, issuer: str, subject: str) -> bool:
        """Return whether any living connection has this principal."""
        row = await self._database.row("principal_lives", issuer, subject)
        return row is not None and bool(row[0])

    async def due_revocations(self, now: dt.datetime, limit: int) -> Sequence[Connection]:
        """Return connections in `revoking` whose time has come, the longest waiting first."""
        found = await self._database.rows("due_revocations", now, limit)
        return [rows.connection_of(row) for row in found]


async def _apply(
    session: Session, connection: str, decide: Decide, now: dt.datetime, by: By
) -> Connection:
    row = await session.fetchrow(QUERIES["lock_connection"], connection)
    if row is None:
        raise UnknownError
    before = rows.connection_of(row)
    change = decide(before)
    if change is None:
        return before
    after = await rows.write_change(session, before, change, now)
    if after.revision > before.revision:
        await append_audit(session, [rows.change_entry(by, after, now)])
    return after
