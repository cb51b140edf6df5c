"""Links, sign-ins and what comes of them, in Postgres."""

import datetime as dt
from collections.abc import Callable

from drivewake.auth import rows
from drivewake.auth.audit import entry
from drivewake.auth.audit_store import append_audit
from drivewake.auth.database import QUERIES, Database, Session
from drivewake.auth.domain import Connection
from drivewake.auth.errors import SignInError
from drivewake.auth.records import By, Decide, Establish, Link, SignIn

EVENTS_KEPT = dt.timedelta(days=30)
MAX_OPENINGS = 20
"""Mail scanners open links too; each opening costs a row for some minutes."""


class SignInStore:
    """Implements the ports SignIns and Housekeeping."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_link(self, link: Link, now: dt.datetime, by: By) -> None:
        """Store a link."""
        async with self._database.transaction() as session:
            values = (link.id, link.tenant, link.connection, link.expires_at)
            await session.execute(QUERIES["add_link"], *values)
            of = {"tenant": link.tenant, "connection": link.connection or ""}
            await append_audit(session, [entry(by, now, "link.made", **of)])

    async def open_link(
        self, link: str, sign_in: Callable[[Link], SignIn], now: dt.datetime
    ) -> SignIn | None:
        """Store and return the sign-in that an unspent, unexpired link leads to."""
        async with self._database.transaction() as session:
            row = await session.fetchrow(QUERIES["open_link"], link, now, MAX_OPENINGS)
            if row is None:
                return None
            made = sign_in(rows.link_of(row))
            await session.execute(
                QUERIES["add_sign_in"],
                made.id,
                made.link,
                made.tenant,
                made.connection,
                made.browser,
                made.sealed.key_id,
                made.sealed.data,
                made.expires_at,
            )
            return made

    async def take_sign_in(self, sign_in: str, browser: bytes, now: dt.datetime) -> SignIn | None:
        """Remove and return an unexpired sign-in, if this browser began it. Works once."""
        row = await self._database.row("take_sign_in", sign_in, browser, now)
        return None if row is None else rows.sign_in_of(row)

    async def establish(self, request: Establish) -> Connection:
        """Make or revive the principal's connection in the tenant, with its new grant."""
        async with self._database.transaction() as session:
            if await session.fetchrow(QUERIES["spend_link"], request.link, request.now) is None:
                raise SignInError("spent")
            connection = await written(session, request.fresh, request.decide, request.now)
            await rows.put_grant(session, request.seal_grant(connection.id), request.now)
            label = request.seal_label(connection.id)
            if label is not None:
                await session.execute(
                    QUERIES["label_connection"], connection.id, label.key_id, label.data
                )
            await append_audit(session, [rows.change_entry(request.by, connection, request.now)])
            return connection

    async def forget_expired(self, now: dt.datetime) -> None:
        """Delete links and sign-ins that nobody can use any more."""
        await self._database.rows("forget_sign_ins", now)
        await self._database.rows("forget_links", now)
        await self._database.rows("forget_security_events", now - EVENTS_KEPT)


async def written(
    session: Session, fresh: Connection, decide: Decide, now: dt.datetime
) -> Connection:
    """Return the connection, inserted or moved; waits for a racing sign-in of the principal."""
    inserted = await session.fetchrow(
        QUERIES["insert_connection"],
        fresh.id,
        fresh.tenant,
        fresh.principal_kind,
        fresh.issuer,
        fresh.subject,
        fresh.status,
        fresh.reason,
        fresh.since,
        list(fresh.scopes),
        list(fresh.watched_folders),
        fresh.revision,
        fresh.created_at,
    )
    if inserted is not None:
        await rows.add_transition(session, fresh, now)
        return fresh
    row = await session.fetchrow(
        QUERIES["lock_principal"], fresh.tenant, fresh.issuer, fresh.subject
    )
    if row is None:
        raise SignInError("again")
    before = rows.connection_of(row)
    change = decide(before)
    return before if change is None else await rows.write_change(session, before, change, now)
