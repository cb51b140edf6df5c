"""Service accounts and the connections that are had by them, in Postgres."""

from collections.abc import Callable, Sequence

import msgspec

from drivewake.auth import rows
from drivewake.auth.audit import entry
from drivewake.auth.audit_store import append_audit
from drivewake.auth.database import QUERIES, Database
from drivewake.auth.domain import Connection
from drivewake.auth.records import By, Delegate, ServiceAccount
from drivewake.auth.signin_store import written
from drivewake.runtime.keyring import Sealed


class ServiceAccountStore:
    """Implements the port ServiceAccounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def service_accounts(self, tenant: str | None) -> Sequence[ServiceAccount]:
        """Return the service accounts of a tenant, or all."""
        found = await self._database.rows("service_accounts", tenant)
        return [ServiceAccount(**row) for row in found]

    async def service_account(self, account: str) -> tuple[ServiceAccount, Sealed] | None:
        """Return one service account and its sealed key, None if there is none."""
        row = await self._database.row("service_account", account)
        if row is None:
            return None
        known = ServiceAccount(
            **{name: row[name] for name in ("id", "tenant", "email", "client_id", "added_at")}
        )
        return known, Sealed(row["key_id"], row["sealed"])

    async def put_service_account(
        self, account: ServiceAccount, grant: str, seal: Callable[[str], Sealed], by: By
    ) -> ServiceAccount:
        """Add an account, or give the one of this tenant and address a new key."""
        async with self._database.transaction() as session:
            known = await session.fetchval(
                QUERIES["service_account_id"], account.tenant, account.email
            )
            made = msgspec.structs.replace(account, id=known or account.id)
            sealed = seal(made.id)
            await session.execute(
                QUERIES["put_service_account"],
                made.id,
                made.tenant,
                made.email,
                made.client_id,
                grant,
                sealed.key_id,
                sealed.data,
                made.added_at,
            )
            action = "service_account.key_changed" if known else "service_account.added"
            fact = entry(by, made.added_at, action, why=made.email, tenant=made.tenant)
            await append_audit(session, [fact])
        return made

    async def delegate(self, request: Delegate) -> Connection:
        """Make or revive the subject's connection, in one transaction; what `decide` raises."""
        async with self._database.transaction() as session:
            connection = await written(session, request.fresh, request.decide, request.now)
            await session.execute(
                QUERIES["put_delegation"], connection.id, request.account, request.now
            )
            label = request.seal_label(connection.id)
            await session.execute(
                QUERIES["label_connection"], connection.id, label.key_id, label.data
            )
            fact = rows.change_entry(request.by, connection, request.now)
            await append_audit(session, [fact])
            return connection
