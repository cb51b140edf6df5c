"""States of a connection: what moves them, and what never may."""

import datetime as dt
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.auth.domain import (
    QUIET,
    REVOKE_BACKOFF_MAX_S,
    Connection,
    Established,
    Fact,
    GrantDied,
    Overtaken,
    Refreshed,
    Reported,
    RevokeFinished,
    RevokePostponed,
    RevokeRequested,
    Rewatched,
    Unblocked,
    decide,
    given_up,
    may_use,
)
from drivewake.auth.errors import ConnectionEndingError
from drivewake.contracts.connections import Status

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
GRACE = dt.timedelta(seconds=30)
STATUSES: tuple[Status, ...] = get_args(Status)


def a_connection(status: Status = "active", **changes: object) -> Connection:
    """Return a connection in a status, since noon."""
    connection = Connection(
        id="c",
        tenant="t",
        principal_kind="user",
        issuer="google",
        subject="1",
        status=status,
        reason="",
        since=NOON,
        scopes=("a", "b"),
        revision=4,
        created_at=NOON,
        revoke_at=NOON + GRACE if status == "revoking" else None,
    )
    return msgspec.structs.replace(connection, **changes)


def after(connection: Connection, fact: Fact, now: dt.datetime = NOON + MINUTE) -> Connection:
    """Return the connection after a fact that changes it."""
    change = decide(connection, fact, now)
    assert change is not None
    return change.connection


ALIVE = {"active", "degraded"}
TABLE: dict[str, tuple[Fact, dict[str, str]]] = {
    # A fact, and where it leads from each status; from those not named, nowhere.
    "established": (
        Established(("a", "b")),
        {status: "active" for status in STATUSES if status != "revoking"},
    ),
    "refreshed": (Refreshed(("a", "b"), frozenset("a")), {}),
    "narrowed": (
        Refreshed(("a",), frozenset("ab")),
        dict.fromkeys(ALIVE, "reauthorization_required"),
    ),
    "died": (GrantDied("x"), dict.fromkeys({*ALIVE, "blocked"}, "reauthorization_required")),
    "unauthorized": (
        Reported("unauthorized", "x"),
        {"active": "degraded", "degraded": "degraded"},
    ),
    "blocked": (Reported("blocked", "x"), dict.fromkeys(ALIVE, "blocked")),
    "scope": (
        Reported("scope_missing", "x"),
        dict.fromkeys(ALIVE, "reauthorization_required"),
    ),
    "revoke": (
        RevokeRequested("x", GRACE),
        {s: "revoking" for s in STATUSES if s not in {"revoking", "revoked"}},
    ),
    "postponed": (RevokePostponed(), {"revoking": "revoking"}),
    "finished": (RevokeFinished("x"), {"revoking": "revoked"}),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_transitions(name: str, status: Status) -> None:
    """Each fact leads from each status exactly where the table says."""
    fact, leads = TABLE[name]
    if name == "established" and status == "revoking":
        with pytest.raises(ConnectionEndingError):
            decide(a_connection(status), fact, NOON)
        return
    change = decide(a_connection(status), fact, NOON + MINUTE)
    assert leads.get(status) == (change.connection.status if change else None)


def test_a_new_status_has_a_new_since_and_a_reason() -> None:
    """What others read of a transition: from when, and why."""
    moved = after(a_connection(), Reported("blocked", "by policy"))
    assert ("blocked", "by policy", NOON + MINUTE, 5) == (
        moved.status,
        moved.reason,
        moved.since,
        moved.revision,
    )


def test_only_what_is_dead_or_revoked_is_shredded() -> None:
    """A grant that may still live at Google is kept, so that it can be revoked there."""
    facts: list[Fact] = [
        Reported("blocked", "x"),
        Reported("scope_missing", "x"),
        RevokeRequested("x", GRACE),
    ]
    kept = [decide(a_connection(), fact, NOON) for fact in facts]
    assert [False] * 3 == [change.shred for change in kept if change]
    died = decide(a_connection(), GrantDied("x"), NOON)
    ended = decide(a_connection("revoking"), RevokeFinished("x"), NOON)
    assert died is not None
    assert ended is not None
    assert (True, True) == (died.shred, ended.shred)


def test_a_degraded_connection_needs_a_quiet_time() -> None:
    """A refresh makes it active only when nothing was refused for ten minutes."""
    degraded = after(a_connection(), Reported("unauthorized", "x"), NOON)
    refreshed = Refreshed(("a", "b"), frozenset("a"))
    assert decide(degraded, refreshed, NOON + QUIET - MINUTE) is None
    assert "active" == after(degraded, refreshed, NOON + QUIET).status
    again = after(degraded, Reported("unauthorized", "x"), NOON + QUIET - MINUTE)
    assert degraded.revision == again.revision
    assert decide(again, refreshed, NOON + QUIET) is None


def test_scopes_that_change_are_news() -> None:
    """Other scopes in a refresh are a new revision; none named means nothing new."""
    wider = after(a_connection(), Refreshed(("a", "b", "c"), frozenset("a")))
    assert (("a", "b", "c"), 5, "active") == (wider.scopes, wider.revision, wider.status)
    assert decide(a_connection(), Refreshed((), frozenset("a")), NOON) is None


def test_channels_get_their_grace_only_from_a_living_grant() -> None:
    """Google is told after the grace; at once where no token could stop a channel."""
    assert NOON + GRACE == after(a_connection(), RevokeRequested("x", GRACE), NOON).revoke_at
    blocked = a_connection("blocked")
    assert NOON == after(blocked, RevokeRequested("x", GRACE), NOON).revoke_at


def test_webhook_alone_may_use_a_revoking_connection_and_only_in_the_grace() -> None:
    """Everybody may use a working one; nobody one that has ended."""
    revoking = a_connection("revoking")
    assert may_use(revoking, "webhook", NOON)
    assert not may_use(revoking, "webhook", NOON + GRACE)
    assert not may_use(revoking, "poller", NOON)
    usable = {s for s in STATUSES if may_use(a_connection(s, revoke_at=None), "poller", NOON)}
    assert ALIVE == usable


def test_telling_google_is_tried_ever_more_rarely_and_given_up_after_a_day() -> None:
    """The delay grows to a quarter of an hour; after 24 hours it is over."""
    connection, delays = a_connection("revoking"), []
    for _ in range(30):
        connection = after(connection, RevokePostponed(), NOON)
        assert connection.revoke_at is not None
        delays.append((connection.revoke_at - NOON).total_seconds())
    assert [5.0, 10.0, 20.0] == delays[:3]
    assert REVOKE_BACKOFF_MAX_S == delays[-1]
    assert not given_up(connection, NOON + dt.timedelta(hours=23))
    assert given_up(connection, NOON + dt.timedelta(hours=24))


def test_a_stream_that_is_ahead_is_overtaken() -> None:
    """The next revision is above the stream's; one that is not ahead changes nothing."""
    assert 10 == after(a_connection(), Overtaken(9)).revision
    assert decide(a_connection(), Overtaken(4), NOON) is None


def test_what_blocked_an_account_may_be_over() -> None:
    """Blocked becomes degraded, which is tried again; any other status stays."""
    blocked = decide(a_connection(), Reported("blocked", "x"), NOON)
    assert blocked is not None
    change = decide(blocked.connection, Unblocked("enabled again"), NOON)
    assert change is not None
    assert ("degraded", "enabled again") == (change.connection.status, change.connection.reason)
    assert decide(change.connection, Unblocked("enabled again"), NOON) is None


FACTS: st.SearchStrategy[Fact] = st.sampled_from(
    [
        *(fact for fact, _ in TABLE.values()),
        Rewatched(("f",)),
        Rewatched(()),
        Overtaken(3),
        Overtaken(50),
        Unblocked("enabled"),
    ]
)


@given(st.lists(st.tuples(FACTS, st.integers(0, 3600)), max_size=40))
def test_whatever_happens_revisions_rise_with_what_others_see(
    steps: list[tuple[Fact, int]],
) -> None:
    """Any history: the revision never falls, and rises whenever the published state differs."""
    connection, now = a_connection(), NOON
    for fact, seconds in steps:
        now += dt.timedelta(seconds=seconds)
        try:
            change = decide(connection, fact, now)
        except ConnectionEndingError:
            assert "revoking" == connection.status
            continue
        if change is None:
            continue
        moved = change.connection
        assert moved.revision >= connection.revision
        assert (moved.revision > connection.revision) or _seen(moved) == _seen(connection)
        assert ("revoking" == moved.status) == (moved.revoke_at is not None)
        connection = moved


def _seen(connection: Connection) -> tuple[object, ...]:
    """Return what others see of a connection."""
    return (
        connection.status,
        connection.reason,
        connection.since,
        connection.scopes,
        connection.watched_folders,
    )
