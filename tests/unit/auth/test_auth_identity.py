"""id_tokens: only what Google signed, for us, now, for this sign-in, names anybody."""

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from drivewake.auth.errors import GoogleUnavailableError, IdentityError
from drivewake.auth.identity import IdTokens
from drivewake.runtime.jwks import KEYS_MAX_AGE_S, KEYS_MIN_AGE_S

ISSUER, AUDIENCE, NONCE = "https://accounts.google.com", "client", SecretStr("nonce")


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Google's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    """Somebody's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwks(**keys: rsa.RSAPrivateKey) -> bytes:
    """Return a key set document."""
    found = [
        {
            **jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True),
            "kid": key_id,
            "alg": "RS256",
        }
        for key_id, key in keys.items()
    ]
    return json.dumps({"keys": found}).encode()


class Google:
    """Publishes keys; time passes when told."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.fetched = 0
        self.now_s = 1000.0
        self.tokens = IdTokens(
            issuer=ISSUER,
            audience=AUDIENCE,
            fetch_keys=self.fetch,
            monotonic_s=lambda: self.now_s,
        )

    async def fetch(self) -> bytes:
        """Return the key set."""
        self.fetched += 1
        return self.document


def claims(**changes: object) -> dict[str, Any]:
    """Return good claims with changes; None removes one."""
    now = dt.datetime.now(dt.UTC)
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "azp": AUDIENCE,
        "sub": "1001",
        "email": "a@example.com",
        "nonce": "nonce",
        "iat": now,
        "exp": now + dt.timedelta(hours=1),
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(
    key: rsa.RSAPrivateKey, header: dict[str, Any] | None = None, **changes: object
) -> SecretStr:
    """Return a token signed with RS256."""
    return SecretStr(jwt.encode(claims(**changes), key, "RS256", {"kid": "k1"} | (header or {})))


async def test_a_good_token_names_its_subject(key: rsa.RSAPrivateKey) -> None:
    """The subject is the identity; the address is only shown, and not in a repr."""
    google = Google(jwks(k1=key))
    identity = await google.tokens.verify(signed(key), NONCE)
    assert (ISSUER, "1001") == (identity.issuer, identity.subject)
    assert "a@example.com" not in repr(identity)


async def test_google_may_leave_out_the_scheme_of_its_name(key: rsa.RSAPrivateKey) -> None:
    """`accounts.google.com` is the same issuer, and gives the same identity."""
    google = Google(jwks(k1=key))
    identity = await google.tokens.verify(signed(key, iss="accounts.google.com"), NONCE)
    assert ISSUER == identity.issuer


@pytest.mark.parametrize("email", [None, 5, "", "x" * 400], ids=["none", "number", "empty", "long"])
async def test_the_address_is_not_needed(key: rsa.RSAPrivateKey, email: object) -> None:
    """An absent or strange address is no address, and no obstacle."""
    google = Google(jwks(k1=key))
    assert (await google.tokens.verify(signed(key, email=email), NONCE)).email is None


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "x"},
        {"nonce": None},
        {"nonce": 5},
        {"nonce": ""},
        {"iss": "https://accounts.google.com.evil.example"},
        {"iss": "http://accounts.google.com"},
        {"aud": "other"},
        {"aud": [AUDIENCE + "x"]},
        {"azp": "other"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"exp": 1_700_000_000},
        {"iat": 9_999_999_999},
        {"exp": None},
        {"iat": None},
    ],
    ids=str,
)
async def test_any_wrong_claim_is_refused(key: rsa.RSAPrivateKey, changes: dict[str, Any]) -> None:
    """Each claim that must hold is checked."""
    google = Google(jwks(k1=key))
    with pytest.raises(IdentityError):
        await google.tokens.verify(signed(key, **changes), NONCE)


def unsigned(_: rsa.RSAPrivateKey) -> str:
    """A token without signature (alg none)."""
    return jwt.encode(claims(), "", "none", {"kid": "k1"})


def confused(key: rsa.RSAPrivateKey) -> str:
    """An HS256 token whose secret is Google's public key."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(value: dict[str, Any]) -> str:
        text = json.dumps(value, default=lambda at: int(at.timestamp())).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    text = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(claims())}"
    mac = hmac.digest(public, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize("forge", [unsigned, confused])
async def test_other_algorithms_are_refused(
    key: rsa.RSAPrivateKey, forge: Callable[[rsa.RSAPrivateKey], str]
) -> None:
    """No signature, or one with the public key as a secret, proves nothing."""
    google = Google(jwks(k1=key))
    with pytest.raises(IdentityError):
        await google.tokens.verify(SecretStr(forge(key)), NONCE)


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../k1"},
        {"kid": None},
        {"kid": "k2"},
        {"kid": "k2", "jku": "https://evil.example/keys"},
    ],
    ids=str,
)
async def test_keys_come_from_google_alone(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey, header: dict[str, Any]
) -> None:
    """A header cannot say where a key is to be had."""
    google = Google(jwks(k1=key))
    if header["kid"] is None:
        token = SecretStr(jwt.encode(claims(), other_key, "RS256"))
    else:
        token = signed(other_key, header)
    with pytest.raises(IdentityError):
        await google.tokens.verify(token, NONCE)


async def test_another_keys_signature_is_refused(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    """The right key id does not make up for the wrong key."""
    google = Google(jwks(k1=key))
    with pytest.raises(IdentityError):
        await google.tokens.verify(signed(other_key), NONCE)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é", "x" * 10_000])
async def test_what_is_no_token_is_refused(key: rsa.RSAPrivateKey, text: str) -> None:
    """Garbage names nobody, and costs no fetch of keys."""
    google = Google(jwks(k1=key))
    with pytest.raises(IdentityError):
        await google.tokens.verify(SecretStr(text), NONCE)
    assert 0 == google.fetched


async def test_new_keys_are_found_and_unknown_ones_do_not_hammer(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    """An unknown key id asks Google again, at most once a minute; known ones once an hour."""
    google = Google(jwks(k1=key))
    for _ in range(3):
        await google.tokens.verify(signed(key), NONCE)
        with pytest.raises(IdentityError):
            await google.tokens.verify(signed(other_key, {"kid": "k2"}), NONCE)
    assert 1 == google.fetched
    google.document = jwks(k1=key, k2=other_key)
    google.now_s += KEYS_MIN_AGE_S
    await google.tokens.verify(signed(other_key, {"kid": "k2"}), NONCE)
    assert 2 == google.fetched
    google.now_s += KEYS_MAX_AGE_S
    await google.tokens.verify(signed(key), NONCE)
    assert 3 == google.fetched


@pytest.mark.parametrize("document", [b"", b"<html>", b"[]", b"{}", b'{"keys": [{}]}', b"[" * 9000])
async def test_keys_that_make_no_sense_mean_come_later(
    key: rsa.RSAPrivateKey, document: bytes
) -> None:
    """A broken key document is Google's trouble, not the person's."""
    google = Google(document)
    with pytest.raises(GoogleUnavailableError):
        await google.tokens.verify(signed(key), NONCE)


async def test_no_error_repeats_the_token(key: rsa.RSAPrivateKey) -> None:
    """Neither message nor cause of a refusal holds what was refused."""
    google, token = Google(jwks(k1=key)), signed(key, aud="other")
    with pytest.raises(IdentityError) as caught:
        await google.tokens.verify(token, NONCE)
    assert token.get_secret_value()[:20] not in str(caught.value)
    assert caught.value.__cause__ is None
