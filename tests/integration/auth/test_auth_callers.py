"""Who may call the HTTP API: every forged token is refused, and tenants are walls."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from drivewake.lab.issuer import DevIssuer

World = Any  # the fixture of conftest.py
HOUR = 3600


def claims(issuer: DevIssuer) -> dict[str, Any]:
    """Return claims that would let an admin in."""
    now = int(time.time())
    who = {"iss": issuer.url, "aud": "drivewake", "sub": "ada", "roles": ["admin"], "tenant": "*"}
    return {**who, "iat": now, "exp": now + HOUR}


def part(value: dict[str, Any]) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(issuer: DevIssuer) -> str:
    """Alg none."""
    return f"{part({'alg': 'none', 'kid': 'dev-1'})}.{part(claims(issuer))}."


def confused(issuer: DevIssuer) -> str:
    """HS256, its secret the public RSA key."""
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"{part({'alg': 'HS256', 'kid': 'dev-1'})}.{part(claims(issuer))}"
    mac = hmac.digest(public, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def by_somebody(**header: object) -> Callable[[DevIssuer], str]:
    """Signed with a key of the attacker's, which the header may bring along."""

    def forge(issuer: DevIssuer) -> str:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        given: dict[str, Any] = {"kid": "dev-1", **header}
        if "jwk" in given:
            given["jwk"] = public
        return jwt.encode(claims(issuer), key, "RS256", headers=given)

    return forge


def by_another_algorithm(issuer: DevIssuer) -> str:
    """ES256, under the id of an RSA key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(claims(issuer), key, "ES256", headers={"kid": "dev-1"})


def with_header(**header: object) -> Callable[[DevIssuer], str]:
    """Truly signed, with a header that leads elsewhere."""
    return lambda issuer: issuer.signed(claims(issuer), header)


def saying(**changes: object) -> Callable[[DevIssuer], str]:
    """Truly signed, with other claims."""
    return lambda issuer: issuer.signed({**claims(issuer), **changes}, {"typ": "at+jwt"})


def cut(issuer: DevIssuer) -> str:
    """The signature's last half is missing."""
    return issuer.access_token()[:-100]


FORGED: dict[str, Callable[[DevIssuer], str]] = {
    "alg-none": unsigned,
    "hs256-with-rsa-key": confused,
    "another-key": by_somebody(),
    "another-key-and-kid-path": by_somebody(kid="../../dev/null"),
    "kid-path": with_header(kid="../../"),
    "kid-sql": with_header(kid="' or 1=1 --"),
    "kid-number": lambda issuer: f"{part({'alg': 'RS256', 'kid': 1})}.{part(claims(issuer))}.x",
    "jku": by_somebody(jku="https://evil.example/keys"),
    "jku-truly-signed": with_header(jku="https://evil.example/keys"),
    "jwk": by_somebody(jwk=True),
    "x5u": by_somebody(x5u="https://evil.example/cert"),
    "crit": with_header(crit=["b64"]),
    "another-algorithm": by_another_algorithm,
    "wrong-audience": saying(aud="somebody-else"),
    "no-audience": saying(aud=None),
    "wrong-issuer": saying(iss="https://evil.example"),
    "expired": saying(exp=int(time.time()) - HOUR),
    "no-expiry": saying(exp=None),
    "expiry-text": saying(exp="9999999999"),
    "not-yet": saying(nbf=int(time.time()) + HOUR),
    "issued-later": saying(iat=int(time.time()) + HOUR),
    "no-subject": saying(sub=None),
    "no-role": saying(roles=["root"]),
    "roles-object": saying(roles={"admin": True}),
    "no-tenant": saying(tenant=None),
    "tenant-wildcards": saying(tenant="a.>"),
    "security-event": with_header(typ="secevent+jwt"),
    "cut": cut,
    "garbage": lambda _: "a.b.c",
    "huge": lambda _: "x" * 9000,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_nobody(
    shared_world: World, forge: Callable[[DevIssuer], str]
) -> None:
    """401 with a reason that repeats nothing of the token."""
    token = forge(shared_world.issuer)
    status, body = await shared_world.api("GET", "/v1/tenants", token=token)
    assert (401, 401) == (status, body["status"])
    assert token not in json.dumps(body)


async def test_strange_key_ids_do_not_hammer_the_issuer(shared_world: World) -> None:
    """A hundred tokens of unknown keys cost the issuer at most one question."""
    issuer = shared_world.issuer
    await shared_world.api("GET", "/v1/tenants")
    before = issuer.key_fetches
    for number in range(100):
        token = issuer.signed(claims(issuer), {"kid": f"key-{number}"})
        assert 401 == (await shared_world.api("GET", "/v1/tenants", token=token))[0]
    assert 1 >= issuer.key_fetches - before


async def test_an_issuer_that_is_away_is_no_fault_of_the_caller(quiet_world: World) -> None:
    """503 before its keys were ever had; once had, it may go away without anybody noticing."""
    world = quiet_world
    await world.start()
    world.issuer.down = True
    try:
        assert 503 == (await world.api("GET", "/v1/tenants"))[0]
        world.issuer.down = False

        async def lets_in() -> bool:
            return bool(200 == (await world.api("GET", "/v1/tenants"))[0])

        await world.until(lets_in)
        world.issuer.down = True
        assert 200 == (await world.api("GET", "/v1/tenants"))[0]
    finally:
        world.issuer.down = False


@pytest.mark.parametrize(("skew_s", "status"), [(-30, 200), (30, 200), (-600, 401), (600, 401)])
async def test_clocks_may_differ_by_a_minute_and_no_more(
    shared_world: World, skew_s: int, status: int
) -> None:
    """A token of an issuer whose clock is ten minutes off does not hold, and the answer says so."""
    now = int(time.time()) + skew_s
    token = shared_world.issuer.access_token(iat=now, nbf=now, exp=now + 5)
    answer, body = await shared_world.api("GET", "/v1/tenants", token=token)
    assert status == answer
    assert status == 200 or "expired" in body["detail"] or "clocks" in body["detail"]


ROLES: list[tuple[str, str, Any, str]] = [
    ("GET", "/v1/tenants", None, "reader"),
    ("POST", "/v1/tenants", {"id": "x.y", "name": "X"}, "admin"),
    ("GET", "/v1/connections", None, "reader"),
    ("POST", "/v1/connections", {"tenant": "nobody"}, "operator"),
    ("GET", "/v1/connections/x", None, "reader"),
    ("POST", "/v1/connections/x/reauthorize", None, "operator"),
    ("POST", "/v1/connections/x/revoke", None, "operator"),
    ("PUT", "/v1/connections/x/watched-folders", {"folders": []}, "operator"),
    ("GET", "/v1/service-accounts", None, "reader"),
    ("POST", "/v1/service-accounts", {"key": {}}, "admin"),
    ("POST", "/v1/service-accounts/x/connections", {"subjects": ["x"]}, "operator"),
    ("GET", "/v1/audit", None, "admin"),
    ("GET", "/v1/keys", None, "admin"),
    ("POST", "/v1/keys/rotate", None, "admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "needed"), ROLES)
async def test_a_role_may_do_its_own_and_what_lesser_ones_may(
    shared_world: World, method: str, path: str, body: object, needed: str
) -> None:
    """Below the role that a path needs it answers 403, from there on it does not."""
    ranks = ["reader", "operator", "admin"]
    for role in ranks:
        token = shared_world.issuer.access_token(roles=[role])
        status, _ = await shared_world.api(method, path, body, token)
        assert (ranks.index(role) < ranks.index(needed)) == (403 == status)


async def test_tenants_cannot_see_each_other(world: World) -> None:
    """A caller of another tenant finds nothing: by list, by id, by name, and changes nothing."""
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    connection = await world.connect()
    token = world.issuer.access_token(tenant="other")
    for method, path, body in [
        ("GET", f"/v1/connections/{connection}", None),
        ("POST", f"/v1/connections/{connection}/reauthorize", None),
        ("POST", f"/v1/connections/{connection}/revoke", None),
        ("PUT", f"/v1/connections/{connection}/watched-folders", {"folders": ["a"]}),
        ("GET", "/v1/connections?tenant=default", None),
        ("POST", "/v1/connections", {"tenant": "default"}),
    ]:
        status, answer = await world.api(method, path, body, token)
        assert 404 == status, (method, path)
        assert (await world.api(method, path.replace(connection, "nobody"), body, token))[
            1
        ] == answer
    assert [] == (await world.api("GET", "/v1/connections", None, token))[1]["connections"]
    _, seen = await world.api("GET", "/v1/tenants", None, token)
    assert ["other"] == [tenant["id"] for tenant in seen["tenants"]]
    assert 403 == (await world.api("POST", "/v1/tenants", {"id": "b", "name": "B"}, token))[0]
    row = await world.one("select status, revision from auth.connection")
    assert ("active", 1) == (row["status"], row["revision"])


async def test_one_caller_cannot_take_the_others_turn(quiet_world: World) -> None:
    """Beyond its burst a caller is told when to come again; another one is served."""
    world = quiet_world
    await world.start(api_rate_per_s=0.01, api_burst=5)
    greedy = world.issuer.access_token("greedy")
    answers = await asyncio.gather(
        *(world.api("GET", "/v1/tenants", token=greedy) for _ in range(20))
    )
    assert [200] * 5 + [429] * 15 == sorted(status for status, _ in answers)
    assert 200 == (await world.api("GET", "/v1/tenants", token=world.issuer.access_token()))[0]
    async with world.http.get(
        f"{world.url}/v1/tenants", headers={"Authorization": f"Bearer {greedy}"}
    ) as answer:
        assert 429 == answer.status
        assert 1 <= int(answer.headers["Retry-After"]) <= 100
        assert "application/problem+json" == answer.content_type
