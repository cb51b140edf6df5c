"""Google's security events: only Google's own take effect, at once, and each once."""

import base64
import hashlib
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

World = Any  # the fixture of conftest.py
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"


def event_token(
    world: World,
    event: str,
    said: dict[str, Any],
    key: rsa.RSAPrivateKey | None = None,
    algorithm: str = "RS256",
    **claims: Any,  # noqa: ANN401 - claims over the ordinary ones; None removes one
) -> str:
    """Return a security event token as Google signs one: without an expiry."""
    given = {
        "iss": f"{world.google.url}/",
        "aud": ["drivewake-test"],
        "iat": int(time.time()),
        "jti": f"jti-{time.monotonic_ns()}",
        "events": {event: said},
        **claims,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    headers = {"kid": "signing-1", "typ": "secevent+jwt"}
    return jwt.encode(kept, key or world.google.key, algorithm, headers=headers)


def about(world: World, sub: str = "1001", **more: str) -> dict[str, Any]:
    """Return what an event says of an account."""
    return {"subject": {"subject_type": "iss-sub", "iss": world.google.url, "sub": sub}, **more}


async def deliver(world: World, token: str) -> int:
    """Deliver a token; return the answer's status."""
    headers = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
    async with world.http.post(f"{world.url}/v1/risc", data=token, headers=headers) as answer:
        body = await answer.text()
        assert 202 == answer.status or "err" in body, body
        return int(answer.status)


@pytest.mark.parametrize(
    ("event", "reason", "status", "shredded"),
    [
        (f"{OAUTH}tokens-revoked", "", "reauthorization_required", True),
        (f"{RISC}account-disabled", "hijacking", "reauthorization_required", True),
        (f"{RISC}account-disabled", "bulk-account", "blocked", False),
        (f"{RISC}sessions-revoked", "", "degraded", False),
        (f"{RISC}account-credential-change-required", "", "degraded", False),
        (f"{RISC}verification", "", "active", False),
        (f"{RISC}something-new", "", "active", False),
    ],
)
async def test_an_event_takes_effect_at_once(
    world: World, event: str, reason: str, status: str, shredded: bool
) -> None:
    """Before it is answered, the state is committed; a token that must not be is gone."""
    connection = await world.connect()
    await world.token(connection)
    assert 202 == await deliver(world, event_token(world, event, about(world, reason=reason)))
    row = await world.one("select status from auth.connection where id = $1", connection)
    assert status == row["status"]
    assert shredded == (not await world.rows("select from auth.refresh_token"))
    if status in {"reauthorization_required", "blocked"}:
        assert "not_active" == await world.refused(connection)
        await world.until_status(connection, status)
    else:
        await world.token(connection)


async def test_an_account_that_is_enabled_again_is_tried_again(world: World) -> None:
    """Disabled is blocked; enabled is degraded, and its tokens can be had."""
    connection = await world.connect()
    await deliver(world, event_token(world, f"{RISC}account-disabled", about(world)))
    assert "not_active" == await world.refused(connection)
    await deliver(world, event_token(world, f"{RISC}account-enabled", about(world)))
    await world.until_status(connection, "degraded")
    await world.token(connection)


@pytest.mark.parametrize("alg", ["prefix", "hash_base64_sha512_sha512"])
async def test_a_revoked_token_is_found_by_its_name(world: World, alg: str) -> None:
    """By the beginning, or by the hash of the hash: that connection and no other."""
    first = await world.connect()
    (token,) = world.google.refresh_tokens
    world.google.subject = "2002"
    second = await world.connect()
    name = token[:16]
    if alg != "prefix":
        once = hashlib.sha512(token.encode()).digest()
        name = base64.b64encode(hashlib.sha512(once).digest()).decode()
    said = {
        "subject": {
            "subject_type": "oauth_token",
            "token_type": "refresh_token",
            "token_identifier_alg": alg,
            "token": name,
        }
    }
    assert 202 == await deliver(world, event_token(world, f"{OAUTH}token-revoked", said))
    assert "not_active" == await world.refused(first)
    await world.token(second)


async def test_an_event_that_comes_again_changes_nothing(world: World) -> None:
    """Who came back after a revocation is not revoked by the same event, nor by an old one."""
    connection = await world.connect()
    token = event_token(world, f"{OAUTH}tokens-revoked", about(world))
    assert 202 == await deliver(world, token)
    assert connection == await world.connect()
    assert 202 == await deliver(world, token)
    hours_ago = int(time.time()) - 7200
    old = event_token(world, f"{OAUTH}tokens-revoked", about(world), iat=hours_ago)
    assert 202 == await deliver(world, old)
    assert "active" == (await world.one("select status from auth.connection"))["status"]
    assert 1 < len(await world.rows("select from auth.security_event"))


async def test_a_token_that_is_not_for_us_is_refused(world: World) -> None:
    """400 as RFC 8935 wants it, and nothing happens."""
    await world.connect()
    wrong: list[dict[str, Any]] = [
        {"iss": "https://evil.example"}, {"aud": "somebody-else"}, {"aud": None}, {"jti": None},
        {"jti": 5}, {"iat": None}, {"iat": "now"}, {"iat": 10**30}, {"events": None},
        {"events": []}, {"events": {}},
    ]  # fmt: skip
    for claims in wrong:
        token = event_token(world, f"{OAUTH}tokens-revoked", about(world), **claims)
        assert 400 == await deliver(world, token), claims
    assert "active" == (await world.one("select status from auth.connection"))["status"]


async def test_a_forged_token_is_refused(world: World) -> None:
    """Another key, no signature, the public key as a secret, an id_token, garbage."""
    await world.connect()
    event, said = f"{OAUTH}tokens-revoked", about(world)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    truly = event_token(world, event, said)
    header, _, signature = truly.split(".")
    forged = [
        event_token(world, event, said, key=other),
        jwt.encode({"events": {event: said}}, "", "none", headers={"kid": "signing-1"}),
        f"{header}.eyJldmVudHMiOnt9fQ.{signature}",
        world.google.id_token("nonce"),
        "",
        "a.b.c",
        "x" * 40_000,
    ]
    assert [400] * len(forged) == [await deliver(world, token) for token in forged]
    assert "active" == (await world.one("select status from auth.connection"))["status"]


async def test_a_strange_subject_concerns_nobody(world: World) -> None:
    """Whatever stands in the place of a subject is taken and changes nothing."""
    await world.connect()
    for said in (
        {},
        {"subject": "1001"},
        {"subject": {"sub": ["1001"]}},
        {"subject": {"sub": ""}},
        {"subject": {"token_type": "refresh_token", "token": "%%%", "token_identifier_alg": "x"}},
        {"subject": {"token_type": "access_token", "token": "1//0", "sub": None}},
    ):
        assert 202 == await deliver(world, event_token(world, f"{OAUTH}tokens-revoked", said))
    assert "active" == (await world.one("select status from auth.connection"))["status"]
