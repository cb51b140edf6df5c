"""States of a connection and what moves it from one to the next. Pure: time is an argument.

status                    | moves on
--------------------------+---------------------------------------------------------------
active                    | grant died, scopes missing → reauthorization_required;
                          | blocked → blocked; unauthorized → degraded; revoke → revoking
degraded                  | as active; refreshed after a quiet time → active
reauthorization_required, | established → active; revoke → revoking
blocked                   | … and blocked → degraded: what blocked it may be over
revoking                  | revocation finished → revoked; nothing else
revoked                   | established → active: the principal came back
"""

import datetime as dt
from typing import Final, Literal, assert_never

import msgspec

from drivewake.auth.errors import ConnectionEndingError
from drivewake.contracts.connections import PrincipalKind, Status

Finding = Literal["unauthorized", "blocked", "scope_missing", "grant_dead"]

WORKING: Final[frozenset[Status]] = frozenset({"active", "degraded"})
"""Statuses in which a connection may be used."""

QUIET: Final = dt.timedelta(minutes=10)
"""A degraded connection is active again when Google refused nothing for this long."""

REVOKE_GIVE_UP: Final = dt.timedelta(hours=24)
"""After so long without an answer from Google the tokens are shredded untold."""

REVOKE_BACKOFF_S: Final = 5.0
REVOKE_BACKOFF_MAX_S: Final = 900.0
MAX_REASON: Final = 300
MAX_WATCHED_FOLDERS: Final = 100


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a connection but its secrets.

    `revision` rises by one with every change that others must hear of. `last_finding_at` is
    when Google was last reported to refuse; `revoke_at` is when Google is to be told next.
    """

    id: str
    tenant: str
    principal_kind: PrincipalKind
    issuer: str
    subject: str
    status: Status
    reason: str
    since: dt.datetime
    scopes: tuple[str, ...]
    revision: int
    created_at: dt.datetime
    watched_folders: tuple[str, ...] = ()
    last_finding_at: dt.datetime | None = None
    revoke_at: dt.datetime | None = None
    revoke_attempts: int = 0


class Established(msgspec.Struct, frozen=True):
    """The principal consented, now, to these scopes."""

    scopes: tuple[str, ...]


class Refreshed(msgspec.Struct, frozen=True):
    """Google gave an access token; `scopes` as it names them, empty if it did not."""

    scopes: tuple[str, ...]
    required: frozenset[str]


class GrantDied(msgspec.Struct, frozen=True):
    """Google said invalid_grant to the grant that is still the current one."""

    reason: str


class Reported(msgspec.Struct, frozen=True):
    """A caller, or Google's token endpoint, found something that auth believes."""

    finding: Literal["unauthorized", "blocked", "scope_missing"]
    reason: str


class Unblocked(msgspec.Struct, frozen=True):
    """What blocked the account may be over; the next refresh tells."""

    reason: str


class RevokeRequested(msgspec.Struct, frozen=True):
    """Somebody wants the connection to end; channels get `grace` to be stopped."""

    reason: str
    grace: dt.timedelta


class RevokePostponed(msgspec.Struct, frozen=True):
    """Google could not be told yet."""


class RevokeFinished(msgspec.Struct, frozen=True):
    """Google was told, knew already, or is given up on: tokens go."""

    reason: str


class Rewatched(msgspec.Struct, frozen=True):
    """An operator chose the folders whose activity is read."""

    folders: tuple[str, ...]


class Overtaken(msgspec.Struct, frozen=True):
    """The stream holds a later revision than the database: it was restored from an older day."""

    revision: int


Fact = (
    Established | Refreshed | GrantDied | Reported | Unblocked | RevokeRequested | RevokePostponed
    | RevokeFinished | Rewatched | Overtaken
)  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """What a fact does to a connection; `shred` says that its refresh token must go."""

    connection: Connection
    shred: bool = False


def decide(  # noqa: C901, PLR0911 - one arm a fact, one line an arm
    connection: Connection, fact: Fact, now: dt.datetime
) -> Change | None:
    """Return what the fact changes, None if nothing.

    The revision rises only if others must hear of it. Raises ConnectionEndingError for a
    consent that comes while the connection is being revoked: the revocation at Google would
    kill the new grant too.
    """
    match fact:
        case Established(scopes):
            return _established(connection, scopes, now)
        case Refreshed():
            return _refreshed(connection, fact, now)
        case GrantDied(reason):
            return _grant_died(connection, reason, now)
        case Reported():
            return _reported(connection, fact, now)
        case Unblocked(reason):
            return _unblocked(connection, reason, now)
        case RevokeRequested():
            return _revoke_requested(connection, fact, now)
        case RevokePostponed():
            return _revoke_postponed(connection, now)
        case RevokeFinished(reason):
            return _revoke_finished(connection, reason, now)
        case Rewatched(folders):
            return _rewatched(connection, folders)
        case Overtaken(revision):
            return _overtaken(connection, revision)
    assert_never(fact)


def may_use(connection: Connection, caller: str, now: dt.datetime) -> bool:
    """Return whether a caller may have an access token: webhook also while revoking.

    It needs one to stop its channels, until the moment that Google is told.
    """
    if connection.status in WORKING:
        return True
    in_grace = connection.revoke_at is not None and now < connection.revoke_at
    return connection.status == "revoking" and caller == "webhook" and in_grace


def given_up(connection: Connection, now: dt.datetime) -> bool:
    """Return whether Google has had its time to hear of this revocation."""
    return now - connection.since >= REVOKE_GIVE_UP


def _move(connection: Connection, status: Status, reason: str, now: dt.datetime) -> Connection:
    """Return the connection in another status, one revision on."""
    return msgspec.structs.replace(
        connection,
        status=status,
        reason=_readable(reason),
        since=now,
        revision=connection.revision + 1,
    )


def _readable(reason: str) -> str:
    """Return a reason that can be stored and shown, whoever wrote it."""
    return "".join(c if c.isprintable() else " " for c in reason[:MAX_REASON])


def _established(connection: Connection, scopes: tuple[str, ...], now: dt.datetime) -> Change:
    if connection.status == "revoking":
        raise ConnectionEndingError
    moved = _move(connection, "active", "", now)
    return Change(
        msgspec.structs.replace(
            moved, scopes=scopes, last_finding_at=None, revoke_at=None, revoke_attempts=0
        )
    )


def _refreshed(connection: Connection, fact: Refreshed, now: dt.datetime) -> Change | None:
    if connection.status not in WORKING:
        return None
    scopes = fact.scopes or connection.scopes
    narrowed = msgspec.structs.replace(connection, scopes=scopes)
    if not fact.required <= set(scopes):
        return Change(
            _move(narrowed, "reauthorization_required", "permissions were withdrawn", now)
        )
    if connection.status == "degraded" and _is_quiet(connection, now):
        return Change(_move(narrowed, "active", "Google accepts the tokens again", now))
    if scopes != connection.scopes:
        return Change(msgspec.structs.replace(narrowed, revision=connection.revision + 1))
    return None


def _is_quiet(connection: Connection, now: dt.datetime) -> bool:
    last = connection.last_finding_at or connection.since
    return now - last >= QUIET


def _grant_died(connection: Connection, reason: str, now: dt.datetime) -> Change | None:
    if connection.status not in WORKING and connection.status != "blocked":
        return None
    return Change(_move(connection, "reauthorization_required", reason, now), shred=True)


def _reported(connection: Connection, fact: Reported, now: dt.datetime) -> Change | None:
    if connection.status not in WORKING:
        return None
    noted = msgspec.structs.replace(connection, last_finding_at=now)
    match fact.finding:
        case "blocked":
            return Change(_move(noted, "blocked", fact.reason, now))
        case "scope_missing":
            return Change(_move(noted, "reauthorization_required", fact.reason, now))
        case "unauthorized":
            if connection.status == "degraded":
                return Change(noted)
            return Change(_move(noted, "degraded", fact.reason, now))
    assert_never(fact.finding)


def _unblocked(connection: Connection, reason: str, now: dt.datetime) -> Change | None:
    if connection.status != "blocked":
        return None
    moved = _move(connection, "degraded", reason, now)
    return Change(msgspec.structs.replace(moved, last_finding_at=now))


def _revoke_requested(
    connection: Connection, fact: RevokeRequested, now: dt.datetime
) -> Change | None:
    if connection.status in {"revoking", "revoked"}:
        return None
    # A token that does not live cannot stop channels: nothing to wait for.
    grace = fact.grace if connection.status in WORKING else dt.timedelta()
    moved = _move(connection, "revoking", fact.reason, now)
    return Change(msgspec.structs.replace(moved, revoke_at=now + grace, revoke_attempts=0))


def _revoke_postponed(connection: Connection, now: dt.datetime) -> Change | None:
    if connection.status != "revoking":
        return None
    delay_s = min(REVOKE_BACKOFF_S * 2.0**connection.revoke_attempts, REVOKE_BACKOFF_MAX_S)
    return Change(
        msgspec.structs.replace(
            connection,
            revoke_at=now + dt.timedelta(seconds=delay_s),
            revoke_attempts=min(connection.revoke_attempts + 1, 16),
        )
    )


def _rewatched(connection: Connection, folders: tuple[str, ...]) -> Change | None:
    chosen = tuple(sorted(set(folders)))
    if chosen == connection.watched_folders or connection.status in {"revoking", "revoked"}:
        return None
    return Change(
        msgspec.structs.replace(
            connection, watched_folders=chosen, revision=connection.revision + 1
        )
    )


def _revoke_finished(connection: Connection, reason: str, now: dt.datetime) -> Change | None:
    if connection.status != "revoking":
        return None
    moved = _move(connection, "revoked", reason, now)
    return Change(msgspec.structs.replace(moved, revoke_at=None), shred=True)


def _overtaken(connection: Connection, revision: int) -> Change | None:
    if revision <= connection.revision:
        return None
    return Change(msgspec.structs.replace(connection, revision=revision + 1))
