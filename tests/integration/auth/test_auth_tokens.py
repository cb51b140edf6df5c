"""Access tokens by request/reply: who gets them, what they cost, what ends them."""

import asyncio
import base64
import datetime as dt
import gzip
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey, SealedBox
from pydantic import SecretStr

from drivewake.auth.errors import GoogleUnavailableError
from drivewake.auth.google import Endpoints, GoogleHttp
from drivewake.contracts import subjects
from drivewake.contracts.rpc import Refusal, ReportReply, TokenAnswer, TokenReply
from drivewake.runtime.errors import BusError

World = Any  # the fixture of conftest.py
ScriptedGoogle = Any  # of conftest.py
DRIVE = "https://www.googleapis.com/auth/drive.readonly"
ACTIVITY = "https://www.googleapis.com/auth/drive.activity.readonly"


async def test_a_thousand_racing_callers_cost_one_refresh(world: World) -> None:
    """All of a storm get the token of the one refresh that it causes."""
    connection = await world.connect()
    world.google.refresh_gate.clear()
    storm = [asyncio.create_task(world.token(connection)) for _ in range(1000)]
    await world.until(lambda: world.google.refreshes == 1)
    world.google.refresh_gate.set()
    tokens = set(await asyncio.gather(*storm))
    assert {world.google.issued[-1]} == tokens
    assert 1 == world.google.refreshes


async def test_a_token_is_handed_out_until_shortly_before_its_end(world: World) -> None:
    """A second question costs nothing; a token about to end is not handed out again."""
    connection = await world.connect()
    assert await world.token(connection) == await world.token(connection)
    assert 1 == world.google.refreshes
    reply = await world.ask(connection)
    left = reply.expires_at - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=58) < left < dt.timedelta(minutes=60)


async def test_a_short_lived_token_is_renewed_in_time(world: World) -> None:
    """A token of two seconds is renewed before they are over."""
    world.google.lifetime_s = 2
    connection = await world.connect()
    first = await world.token(connection)

    async def renewed() -> bool:
        return bool(first != await world.token(connection))

    await world.until(renewed)


async def test_a_token_opens_for_the_caller_alone(world: World) -> None:
    """The reply is sealed to the key in the question: the same for the same key, else another."""
    connection = await world.connect()
    again = [await world.ask(connection), await world.ask(connection)]
    assert again[0] == again[1]
    other = PrivateKey.generate()
    key = base64.b64encode(bytes(other.public_key)).decode()
    reply = await world.ask(connection, public_key=key)
    assert reply.sealed != again[0].sealed
    opened = SealedBox(other).decrypt(base64.b64decode(reply.sealed)).decode()
    assert world.google.issued[-1] == opened
    with pytest.raises(Exception, match="decrypt"):
        world.opened(reply)


async def test_a_rejected_token_is_replaced_once(world: World) -> None:
    """Who tells that Google refused a token gets another; late tellers get that one too."""
    connection = await world.connect()
    rejected = await world.ask(connection)
    storm = await asyncio.gather(
        *(world.ask(connection, rejected=rejected.token_id) for _ in range(200))
    )
    assert 1 == len({reply.token_id for reply in storm})
    assert rejected.token_id != storm[0].token_id
    assert 2 == world.google.refreshes


async def test_rejecting_everything_does_not_hammer_google(world: World) -> None:
    """A caller that refuses each new token at once is told to wait."""
    connection = await world.connect()
    reply = await world.ask(connection)
    answers = []
    for _ in range(20):
        answers.append(await world.ask(connection, rejected=reply.token_id))
        if isinstance(answers[-1], TokenReply):
            reply = answers[-1]
    assert 4 == world.google.refreshes
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    assert {("google_unavailable", True)} == {(r.code, r.retry) for r in refusals}


async def test_a_dead_grant_is_never_tried_again(world: World) -> None:
    """invalid_grant asks the person to come back, once; nobody asks Google again."""
    connection = await world.connect()
    world.google.end_grants("1001")
    assert "grant_dead" == await world.refused(connection)
    state = await world.until_status(connection, "reauthorization_required")
    assert "invalid_grant" in state.reason
    for _ in range(5):
        assert "not_active" == await world.refused(connection)
    assert 1 == world.google.refreshes
    assert [] == await world.rows("select * from auth.refresh_token")


async def test_who_comes_back_after_a_dead_grant_is_active_again(world: World) -> None:
    """Reauthorising revives the same connection, and its tokens."""
    connection = await world.connect()
    world.google.end_grants("1001")
    await world.refused(connection)
    assert 303 == (await world.sign_in(reauthorize=connection))[0]
    await world.published(connection, 3)
    await world.token(connection)
    statuses = [state.status for state in await world.history(connection)]
    assert ["active", "reauthorization_required", "active"] == statuses


async def test_an_old_refusal_does_not_kill_a_new_grant(world: World) -> None:
    """A refresh under way when the person comes back may fail: the new grant stays."""
    connection = await world.connect()
    (old,) = world.google.refresh_tokens
    world.google.refresh_gate.clear()
    asking = asyncio.create_task(world.ask(connection))
    await world.until(lambda: world.google.refreshes == 1)
    assert 303 == (await world.sign_in())[0]
    del world.google.refresh_tokens[old]
    world.google.refresh_gate.set()
    reply = await asking
    assert isinstance(reply, TokenReply), reply
    assert world.google.issued[-1] == world.opened(reply)
    assert "active" == (await world.one("select status from auth.connection"))["status"]


@pytest.mark.parametrize("code", ["admin_policy_enforced", "access_denied"])
async def test_an_administrators_block_blocks(world: World, code: str) -> None:
    """An administrator's refusal of the token endpoint is a state of its own."""
    connection = await world.connect()
    world.google.answer_token = (400, msgspec.json.encode({"error": code}))
    assert "not_active" == await world.refused(connection)
    state = await world.until_status(connection, "blocked")
    assert code in state.reason
    await world.refused(connection)
    assert 1 == world.google.refreshes


@pytest.mark.parametrize(
    "answer", [(500, b""), (503, b"x"), (429, b"{}"), (200, b"<html>"), (400, b"{}")], ids=str
)
async def test_a_failing_google_changes_no_connection(
    world: World, answer: tuple[int, bytes]
) -> None:
    """Whoever asks is told to come later, Google is not hammered, and nobody must consent anew."""
    connection = await world.connect()
    world.google.answer_token = answer
    replies = [await world.ask(connection) for _ in range(20)]
    assert {("google_unavailable", True)} == {(reply.code, reply.retry) for reply in replies}
    assert world.google.refreshes < 5
    world.google.answer_token = None

    async def recovered() -> bool:
        return isinstance(await world.ask(connection), TokenReply)

    await world.until(recovered)
    assert ["active"] == [state.status for state in await world.history(connection)]


async def test_a_google_that_never_ends_is_given_up_on(google: ScriptedGoogle) -> None:
    """No answer in time, or one that unpacks to more than any answer is: come later."""
    here = f"{google.url}/token"
    endpoints = Endpoints(
        authorization_url="", token_url=here, revoke_url="", jwks_url="", issuer=""
    )
    asking = GoogleHttp(
        endpoints,
        client_id="c",
        client_secret=SecretStr(google.client_secret),
        redirect_uri="",
        timeout_s=0.3,
    )
    await asking.open()
    google.refresh_gate.clear()
    with pytest.raises(GoogleUnavailableError, match="did not answer"):
        await asking.refresh(SecretStr("1//0token"))
    google.refresh_gate.set()
    google.answer_token = (200, gzip.compress(bytes(50_000_000)))
    google.answer_headers = {"Content-Encoding": "gzip"}
    with pytest.raises(GoogleUnavailableError):
        await asking.refresh(SecretStr("1//0token"))
    await asking.close()


async def test_a_wrong_client_secret_is_no_connections_fault(quiet_world: World) -> None:
    """invalid_client keeps every connection active: an operator must act, no person."""
    await quiet_world.start()
    connection = await quiet_world.connect()
    quiet_world.google.client_secret = "changed-at-google"
    reply = await quiet_world.ask(connection)
    assert ("google_unavailable", True) == (reply.code, reply.retry)
    assert "invalid_client" in reply.reason
    assert "active" == (await quiet_world.one("select status from auth.connection"))["status"]


async def test_two_replicas_may_refresh_at_once(quiet_world: World) -> None:
    """Each replica refreshes once for all who ask it; both tokens are good, the grant lives."""
    world = quiet_world
    await world.start()
    await world.start()
    connection = await world.connect()
    world.google.refresh_gate.clear()
    storm = [asyncio.create_task(world.token(connection)) for _ in range(200)]
    await world.until(lambda: world.google.refreshes == 2)
    world.google.refresh_gate.set()
    tokens = set(await asyncio.gather(*storm))
    assert set(world.google.issued[-2:]) == tokens
    assert 2 == world.google.refreshes
    assert "active" == (await world.one("select status from auth.connection"))["status"]


async def test_a_state_that_moved_elsewhere_ends_tokens_here(quiet_world: World) -> None:
    """What one replica learns, the others act upon: no cached token outlives it."""
    world = quiet_world
    await world.start()
    await world.start()
    connection = await world.connect()
    for _ in range(50):
        await world.token(connection)
    assert 2 == world.google.refreshes
    await world.report(connection, "blocked")
    await world.until_status(connection, "blocked")

    async def refused_by_all() -> bool:
        replies = await asyncio.gather(*(world.ask(connection) for _ in range(20)))
        return {Refusal} == {type(reply) for reply in replies}

    await world.until(refused_by_all)


async def test_a_state_that_moves_during_a_refresh_ends_it(world: World) -> None:
    """Blocked while Google was being asked: the token that comes back is given to nobody."""
    connection = await world.connect()
    world.google.refresh_gate.clear()
    asking = asyncio.create_task(world.ask(connection))
    await world.until(lambda: world.google.refreshes == 1)
    await world.report(connection, "blocked")
    await world.until_status(connection, "blocked")
    await asyncio.sleep(0)
    world.google.refresh_gate.set()
    assert "not_active" == (await asking).code
    assert "not_active" == await world.refused(connection)


async def test_who_gives_up_waiting_ends_nothing(world: World) -> None:
    """A caller that goes away does not take the refresh from the others."""
    connection = await world.connect()
    world.google.refresh_gate.clear()
    first = asyncio.create_task(world.ask(connection))
    await world.until(lambda: world.google.refreshes == 1)
    second = asyncio.create_task(world.ask(connection))
    first.cancel()
    world.google.refresh_gate.set()
    assert isinstance(await second, TokenReply)
    assert 1 == world.google.refreshes


async def test_a_token_for_another_tenant_is_refused(world: World) -> None:
    """A connection's id is no use under another tenant, cached or not, and costs no refresh."""
    connection = await world.connect()
    assert "unknown_connection" == await world.refused(connection, tenant="other")
    await world.token(connection)
    assert "unknown_connection" == await world.refused(connection, tenant="other")
    assert 1 == world.google.refreshes


@pytest.mark.parametrize("caller", ["normalizer", "operator", "auth", "x"])
async def test_only_readers_of_drive_may_ask(world: World, caller: str) -> None:
    """Of the services, poller and webhook get tokens, and may report."""
    connection = await world.connect()
    assert "not_allowed" == await world.refused(connection, caller=caller)
    report = await world.report(connection, "blocked", caller=caller)
    assert "not_allowed" == report.code
    assert "active" == (await world.one("select status from auth.connection"))["status"]


async def test_a_scope_that_was_not_granted_is_refused(world: World) -> None:
    """A caller that needs more than was granted is told so."""
    connection = await world.connect()
    drive = "https://www.googleapis.com/auth/drive"
    assert "scope_missing" == await world.refused(connection, scopes=(drive,))
    await world.token(connection, scopes=(DRIVE, f"{drive}.metadata.readonly"))


@pytest.mark.parametrize(
    "key", ["", "x", "AAAA", base64.b64encode(bytes(32)).decode(), "é", "A" * 43 + "=" + "\n"]
)
async def test_a_bad_public_key_is_refused(world: World, key: str) -> None:
    """What is no Curve25519 key gets no token."""
    connection = await world.connect()
    assert "invalid_request" == await world.refused(connection, public_key=key)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"tenant": 1}', b"null"], ids=repr
)
async def test_garbage_is_answered_as_garbage(world: World, body: bytes) -> None:
    """A request that cannot be read is refused, not a crash."""
    for subject in (subjects.token_rpc("poller"), subjects.report_rpc("poller")):
        reply = await world.bus.request(subject, body, timeout_s=5)
        assert "invalid_request" == msgspec.json.decode(reply, type=TokenAnswer).code


async def test_an_unknown_connection_is_refused(world: World) -> None:
    """A connection that never was has no token."""
    assert "unknown_connection" == await world.refused("nobody")


@pytest.mark.parametrize("hostile", ["", "*", "a.b", "\x00", "x" * 65, "' or 1=1 --"])
async def test_an_impossible_id_is_refused(shared_world: World, hostile: str) -> None:
    """What cannot be an id is a bad request, of tenant and connection alike."""
    assert "invalid_request" == await shared_world.refused(hostile)
    assert "invalid_request" == await shared_world.refused("c", tenant=hostile)
    assert "invalid_request" == (await shared_world.report(hostile, "blocked")).code


async def test_a_hostile_reason_is_stored_as_text(world: World) -> None:
    """Control characters of a report do no harm in database, log or message."""
    connection = await world.connect()
    await world.report(connection, "blocked", reason="\x00\r\nforged\x1b[31m" + "x" * 9000)
    state = await world.until_status(connection, "blocked")
    assert state.reason.isprintable()
    assert "forged" in state.reason
    assert 300 == len(state.reason)


# -- Reports ------------------------------------------------------------------------------------


async def test_reports_move_a_connection(world: World) -> None:
    """What callers learn from Google becomes states, each published."""
    for finding, status in (
        ("unauthorized", "degraded"),
        ("blocked", "blocked"),
        ("scope_missing", "reauthorization_required"),
    ):
        connection = await world.connect()
        reply = await world.report(connection, finding)
        assert ReportReply(status=status) == reply
        state = await world.until_status(connection, status)
        assert "Google said so" == state.reason


async def test_a_degraded_connection_still_gets_tokens(world: World) -> None:
    """Degraded means: it is still tried."""
    connection = await world.connect()
    await world.report(connection, "unauthorized")
    await world.token(connection)


async def test_a_degraded_connection_recovers_after_a_quiet_time(world: World) -> None:
    """When nothing was refused for ten minutes, the next refresh makes it active."""
    connection = await world.connect()
    await world.report(connection, "unauthorized")
    await world.published(connection, 2)
    await world.rows("update auth.connection set last_finding_at = now() - interval '11 min'")
    await world.token(connection)
    assert "active" == (await world.published(connection, 3)).status


async def test_a_report_of_death_is_verified(world: World) -> None:
    """A grant is dead when Google says so to auth: a wrong report changes nothing."""
    connection = await world.connect()
    assert ReportReply(status="active") == await world.report(connection, "grant_dead")
    assert 1 == world.google.refreshes
    world.google.end_grants("1001")
    await world.until(lambda: _reported_dead(world, connection))


async def _reported_dead(world: World, connection: str) -> bool:
    reply = await world.report(connection, "grant_dead")
    return isinstance(reply, ReportReply) and reply.status == "reauthorization_required"


async def test_a_report_on_a_foreign_connection_is_refused(world: World) -> None:
    """Nobody's state moves by another tenant's name."""
    connection = await world.connect()
    reply = await world.report(connection, "blocked", tenant="other")
    assert "unknown_connection" == reply.code


async def test_scopes_that_a_person_took_back_are_noticed(world: World) -> None:
    """A refresh that names fewer scopes than are needed asks the person to come back."""
    connection = await world.connect()
    world.google.scope = f"openid {DRIVE}"
    assert "not_active" == await world.refused(connection)
    state = await world.until_status(connection, "reauthorization_required")
    assert ACTIVITY not in state.scopes


# -- What is stored -----------------------------------------------------------------------------


async def test_a_refresh_token_that_google_replaces_is_kept(world: World) -> None:
    """The next refresh uses the new one."""
    world.google.rotates = True
    world.google.lifetime_s = 1
    connection = await world.connect()
    first = await world.token(connection)

    async def renewed() -> bool:
        return bool(first != await world.token(connection))

    await world.until(renewed)
    used = [form["refresh_token"] for form in world.google.forms if "refresh_token" in form]
    assert 2 <= len(set(used))


async def test_a_swapped_row_is_refused(world: World) -> None:
    """A refresh token moved to another connection's row does not open, and is not sent."""
    first = await world.connect()
    world.google.subject = "2002"
    second = await world.connect()
    await world.rows(
        "update auth.refresh_token mine set sealed = other.sealed, key_id = other.key_id"
        " from auth.refresh_token other where mine.connection = $1 and other.connection = $2",
        first,
        second,
    )
    reply = await world.ask(first)
    assert ("internal", False) == (reply.code, reply.retry)
    assert 0 == world.google.refreshes
    await world.token(second)


async def test_a_flipped_bit_is_refused(world: World) -> None:
    """A changed ciphertext does not open."""
    connection = await world.connect()
    await world.rows(
        "update auth.refresh_token set sealed = set_bit(sealed, 200, 1 - get_bit(sealed, 200))"
    )
    assert "internal" == await world.refused(connection)
    assert 0 == world.google.refreshes


async def test_a_key_is_rotated_by_use(quiet_world: World) -> None:
    """A token under an older key of the ring opens, and lies under the current one after that."""
    world = quiet_world
    replica = await world.start()
    connection = await world.connect()
    await replica.stop()
    world.keys = {"k2": bytes(range(32)), **world.keys}
    await world.start()
    await world.token(connection)
    assert "k2" == (await world.one("select key_id from auth.refresh_token"))["key_id"]
    world.keys = {"k2": world.keys["k2"]}
    await world.replicas[-1].stop()
    await world.start()
    await world.token(connection)


async def test_a_retired_key_opens_nothing(quiet_world: World) -> None:
    """A token under a key that is gone is refused; the connection is not punished for it."""
    world = quiet_world
    replica = await world.start()
    connection = await world.connect()
    await replica.stop()
    world.keys = {"k2": bytes(range(32))}
    await world.start()
    reply = await world.ask(connection)
    assert ("internal", False) == (reply.code, reply.retry)
    assert 0 == world.google.refreshes
    assert "active" == (await world.one("select status from auth.connection"))["status"]


async def test_nobody_answers_before_changes_are_followed(quiet_world: World) -> None:
    """Without its stream, auth answers no question: a cache could go stale unseen."""
    await quiet_world.bus.link.client.jetstream().delete_stream(
        quiet_world.bus.link.name(subjects.CONNECTION.name)
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(quiet_world.start(), 1)
    with pytest.raises(BusError):
        await quiet_world.bus.request(subjects.token_rpc("poller"), b"", timeout_s=0.5)
