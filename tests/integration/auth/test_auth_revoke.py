"""Ending a connection: channels first, then Google, then the tokens; through any crash."""

import asyncio
from typing import Any

import pytest

World = Any  # the fixture of conftest.py


async def revoke(world: World, connection: str) -> None:
    """Ask for a revocation as an operator."""
    status, body = await world.api("POST", f"/v1/connections/{connection}/revoke")
    assert 202 == status
    assert body["status"] in {"revoking", "revoked"}


async def test_a_revocation_tells_google_and_shreds_the_token(world: World) -> None:
    """In the end the grant is dead at Google, no token is kept, and everybody has heard it."""
    connection = await world.connect()
    await world.token(connection)
    (refresh_token,) = world.google.refresh_tokens
    await revoke(world, connection)
    await world.until_status(connection, "revoked")
    assert ["active", "revoking", "revoked"] == [s.status for s in await world.history(connection)]
    assert [refresh_token] == world.google.revoked
    assert [] == await world.rows("select * from auth.refresh_token")
    assert "not_active" == await world.refused(connection)
    assert "not_active" == await world.refused(connection, caller="webhook")


async def test_channels_can_be_stopped_first(quiet_world: World) -> None:
    """While revoking, webhook still gets tokens, poller none, and Google was not told."""
    world = quiet_world
    await world.start(auth_revoke_grace_s=300)
    connection = await world.connect()
    await world.token(connection)
    await revoke(world, connection)
    await world.until_status(connection, "revoking")

    async def poller_is_refused() -> bool:
        return await world.ask(connection) == await world.ask(connection, caller="poller") and (
            "not_active" == getattr(await world.ask(connection), "code", "")
        )

    await world.until(poller_is_refused)
    await world.token(connection, caller="webhook")
    assert [] == world.google.revoked


async def test_a_revocation_goes_on_after_a_crash(quiet_world: World) -> None:
    """`revoking` in the database is finished by whoever starts next."""
    world = quiet_world
    replica = await world.start(auth_revoke_grace_s=300)
    connection = await world.connect()
    await revoke(world, connection)
    await replica.stop()
    assert [] == world.google.revoked
    await world.rows("update auth.connection set revoke_at = now()")
    await world.start()
    await world.until_status(connection, "revoked")
    assert 1 == len(world.google.revoked)


@pytest.mark.parametrize("answer", [(503, b""), (400, b'{"error": "invalid_request"}')], ids=str)
async def test_a_google_that_fails_is_told_later(world: World, answer: tuple[int, bytes]) -> None:
    """Until Google has heard it, the connection stays `revoking` and the token is kept."""
    world.google.answer_revoke = answer
    connection = await world.connect()
    await revoke(world, connection)
    await world.until(lambda: len(world.google.revoked) == 1)
    await world.until(lambda: _attempts(world, 1))
    assert 1 == len(await world.rows("select * from auth.refresh_token"))
    world.google.answer_revoke = None
    await world.rows("update auth.connection set revoke_at = now()")
    await world.until_status(connection, "revoked")
    assert {} == world.google.refresh_tokens


async def _attempts(world: World, number: int) -> bool:
    row = await world.one("select revoke_attempts from auth.connection")
    return bool(number == row["revoke_attempts"])


async def test_a_google_that_never_answers_does_not_keep_the_token_alive(world: World) -> None:
    """After a day the token goes all the same, and the reason tells what is left to do."""
    world.google.answer_revoke = (503, b"")
    connection = await world.connect()
    await revoke(world, connection)
    await world.until(lambda: _attempts(world, 1))
    await world.rows("update auth.connection set revoke_at = now(), since = now() - interval '2 d'")
    state = await world.until_status(connection, "revoked")
    assert "Google account" in state.reason
    assert [] == await world.rows("select * from auth.refresh_token")


async def test_a_grant_that_google_does_not_know_is_revoked_already(world: World) -> None:
    """invalid_token from the revoke endpoint is success."""
    connection = await world.connect()
    world.google.end_grants("1001")
    await revoke(world, connection)
    await world.until_status(connection, "revoked")


async def test_revoking_twice_is_revoking_once(world: World) -> None:
    """Racing and repeated requests make one transition."""
    connection = await world.connect()
    await asyncio.gather(*(revoke(world, connection) for _ in range(8)))
    await world.until_status(connection, "revoked")
    await revoke(world, connection)
    assert [1, 2, 3] == [state.revision for state in await world.history(connection)]
    assert 1 == len(world.google.revoked)


async def test_another_tenants_connection_of_the_same_account_survives(world: World) -> None:
    """Google would end both: while the other lives, it is not told; the last one tells it."""
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    first, second = await world.connect(), await world.connect("other")
    await revoke(world, first)
    state = await world.until_status(first, "revoked")
    assert "lives on" in state.reason
    assert [] == world.google.revoked
    await world.token(second, tenant="other")
    await revoke(world, second)
    await world.until_status(second, "revoked")
    assert 1 == len(world.google.revoked)


async def test_who_was_revoked_may_come_back(world: World) -> None:
    """The same principal gets its connection and history back with a new consent."""
    connection = await world.connect()
    await revoke(world, connection)
    await world.until_status(connection, "revoked")
    assert connection == await world.connect()
    await world.token(connection)
    assert [1, 2, 3, 4] == [state.revision for state in await world.history(connection)]


async def test_a_connection_without_a_grant_ends_at_once(quiet_world: World) -> None:
    """Where Google ended the grant already there is nothing to wait for, and nothing to tell."""
    await quiet_world.start(auth_revoke_grace_s=300)
    connection = await quiet_world.connect()
    quiet_world.google.end_grants("1001")
    await quiet_world.refused(connection)
    await revoke(quiet_world, connection)
    await quiet_world.until_status(connection, "revoked")
    assert [] == quiet_world.google.revoked


async def test_a_token_that_does_not_open_is_shredded_all_the_same(world: World) -> None:
    """A tampered row must not keep a connection from ending; the reason says what is left."""
    connection = await world.connect()
    await world.rows("update auth.refresh_token set sealed = '\\x00'")
    await revoke(world, connection)
    state = await world.until_status(connection, "revoked")
    assert "did not open" in state.reason
    assert [] == world.google.revoked
