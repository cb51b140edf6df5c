"""Rows of the tables as what the domain knows, and back."""

import datetime as dt

from drivewake.auth.audit import entry
from drivewake.auth.database import QUERIES, Row, Session
from drivewake.auth.domain import Change, Connection
from drivewake.auth.records import Account, By, Delegation, Entry, Grant, Link, SignIn, Transition
from drivewake.runtime.keyring import Sealed


def connection_of(row: Row) -> Connection:
    """Return a row of auth.connection."""
    return Connection(
        id=row["id"],
        tenant=row["tenant"],
        principal_kind=row["principal_kind"],
        issuer=row["issuer"],
        subject=row["subject"],
        status=row["status"],
        reason=row["reason"],
        since=row["since"],
        scopes=tuple(row["scopes"]),
        revision=row["revision"],
        created_at=row["created_at"],
        watched_folders=tuple(row["watched_folders"]),
        last_finding_at=row["last_finding_at"],
        revoke_at=row["revoke_at"],
        revoke_attempts=row["revoke_attempts"],
    )


def account_of(row: Row) -> Account:
    """Return a row of auth.connection with its sealed label."""
    label = None if row["label"] is None else Sealed(row["label_key"], row["label"])
    return Account(connection=connection_of(row), label=label)


def transition_of(row: Row) -> Transition:
    """Return a row of auth.transition, joined with what never changes of its connection."""
    return Transition(
        connection=Connection(
            id=row["connection"],
            tenant=row["tenant"],
            principal_kind=row["principal_kind"],
            issuer=row["issuer"],
            subject=row["subject"],
            status=row["status"],
            reason=row["reason"],
            since=row["since"],
            scopes=tuple(row["scopes"]),
            revision=row["revision"],
            created_at=row["created_at"],
            watched_folders=tuple(row["watched_folders"]),
        ),
        at=row["at"],
    )


def grant_of(row: Row) -> Grant:
    """Return a row of auth.refresh_token."""
    return Grant(
        id=row["id"],
        connection=row["connection"],
        tenant=row["tenant"],
        sealed=Sealed(row["key_id"], row["sealed"]),
    )


def delegation_of(row: Row) -> Delegation:
    """Return a row of the query `delegation`."""
    return Delegation(
        id=row["grant_id"],
        connection=row["id"],
        tenant=row["tenant"],
        sealed=Sealed(row["key_id"], row["sealed"]),
        account=row["account"],
        subject=Sealed(row["label_key"], row["label"]),
    )


def link_of(row: Row) -> Link:
    """Return a row of auth.link."""
    return Link(
        id=row["id"],
        tenant=row["tenant"],
        connection=row["connection"],
        expires_at=row["expires_at"],
    )


def sign_in_of(row: Row) -> SignIn:
    """Return a row of auth.sign_in."""
    return SignIn(
        id=row["id"],
        link=row["link"],
        tenant=row["tenant"],
        connection=row["connection"],
        browser=row["browser"],
        sealed=Sealed(row["key_id"], row["sealed"]),
        expires_at=row["expires_at"],
    )


async def write_change(
    session: Session, before: Connection, change: Change, now: dt.datetime
) -> Connection:
    """Write a change in the transaction that holds the row; a new revision goes to the outbox."""
    after = change.connection
    await session.execute(
        QUERIES["update_connection"],
        after.id,
        after.status,
        after.reason,
        after.since,
        list(after.scopes),
        list(after.watched_folders),
        after.revision,
        after.last_finding_at,
        after.revoke_at,
        after.revoke_attempts,
    )
    if change.shred:
        await session.execute(QUERIES["shred_refresh_token"], after.id)
        await session.execute(QUERIES["shred_delegation"], after.id)
    if after.revision > before.revision:
        await add_transition(session, after, now)
    return after


def change_entry(by: By, connection: Connection, now: dt.datetime) -> Entry:
    """Return what the audit chain says of a new revision."""
    return entry(
        by,
        now,
        "connection.changed",
        outcome=connection.status,
        why=connection.reason,
        tenant=connection.tenant,
        connection=connection.id,
    )


async def add_transition(session: Session, connection: Connection, now: dt.datetime) -> None:
    """Write a revision to the outbox."""
    await session.execute(
        QUERIES["add_transition"],
        connection.id,
        connection.revision,
        connection.tenant,
        connection.principal_kind,
        connection.status,
        connection.reason,
        connection.since,
        list(connection.scopes),
        list(connection.watched_folders),
        now,
    )


async def put_grant(session: Session, grant: Grant, now: dt.datetime) -> None:
    """Write a grant in the place of any other of its connection."""
    await session.execute(
        QUERIES["put_refresh_token"],
        grant.connection,
        grant.id,
        grant.tenant,
        grant.sealed.key_id,
        grant.sealed.data,
        now,
        grant.marks.prefix if grant.marks else None,
        grant.marks.double if grant.marks else None,
    )
