"""Judging Pub/Sub's tokens and reading its envelopes."""

import datetime as dt
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.runtime.jwks import KEYS_LAST_RESORT_S, KEYS_MIN_AGE_S, RETRY_S, KnownKeys
from drivewake.webhook.domain import InvalidPushError
from drivewake.webhook.senders.workspace import (
    ALGORITHM,
    PushTokens,
    read_event_type,
    read_token,
)

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ACCOUNT = "pusher@project.iam.gserviceaccount.com"
AUDIENCE = "https://hooks.example.com/v1/notifications/workspace/acme/ann/log1"
CLAIMS = {
    "iss": "https://accounts.google.com",
    "aud": AUDIENCE,
    "azp": "113774264463038321964",
    "email": ACCOUNT,
    "email_verified": True,
    "sub": "113774264463038321964",
    "iat": int(NOW.timestamp()),
    "exp": int((NOW + HOUR).timestamp()),
}
ATTRIBUTES = {
    "ce-id": "1",
    "ce-source": "//workspaceevents.googleapis.com/subscriptions/x",
    "ce-specversion": "1.0",
    "ce-type": "google.workspace.drive.file.v3.contentChanged",
}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Google's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def other_key() -> rsa.RSAPrivateKey:
    """Somebody else's key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Tokens:
    """A judge that knows one key, under a clock that is turned by hand."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.now_s = 0.0
        self.wanted: list[str] = []
        self.known = KnownKeys(frozenset({ALGORITHM}), lambda: self.now_s)
        self.known.learn(document(key))
        self.tokens = PushTokens(self.known, ACCOUNT, self.wanted.append)

    def judge(self, token: str, now: dt.datetime = NOW) -> str:
        """Judge a token for the one address."""
        return self.tokens.judge(token, AUDIENCE, now)


def document(key: rsa.RSAPrivateKey) -> bytes:
    """Return the key set document of a key."""
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return json.dumps({"keys": [{**jwk, "kid": "k1", "alg": ALGORITHM, "use": "sig"}]}).encode()


def signed(key: rsa.RSAPrivateKey, header: dict[str, Any] | None = None, **changes: Any) -> str:  # noqa: ANN401
    """Return a token; a claim changed to None is left out."""
    claims = {k: v for k, v in (CLAIMS | changes).items() if v is not None}
    return jwt.encode(claims, key, ALGORITHM, header or {"kid": "k1"})


def test_googles_token_for_our_account_and_address_is_genuine(key: rsa.RSAPrivateKey) -> None:
    """Google names itself with and without the scheme."""
    tokens = Tokens(key)

    assert "genuine" == tokens.judge(signed(key))
    assert "genuine" == tokens.judge(signed(key, iss="accounts.google.com"))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": AUDIENCE.replace("log1", "log2")},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"iss": "https://accounts.google.com.evil.example"},
        {"iss": None},
        {"email": "pusher@another.iam.gserviceaccount.com"},
        {"email": ACCOUNT.upper()},
        {"email": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"exp": None},
    ],
    ids=str,
)
def test_any_wrong_claim_is_forged(key: rsa.RSAPrivateKey, changes: dict[str, Any]) -> None:
    """Google signs for everybody: whose token it is, and for which log, is ours to check."""
    assert "forged" == Tokens(key).judge(signed(key, **changes))


def test_a_token_ends(key: rsa.RSAPrivateKey) -> None:
    """A minute of grace for clocks; a replay after it is refused."""
    tokens, token = Tokens(key), signed(key)

    assert "genuine" == tokens.judge(token, NOW + HOUR + dt.timedelta(seconds=59))
    assert "expired" == tokens.judge(token, NOW + HOUR + dt.timedelta(seconds=60))
    assert "expired" == tokens.judge(token, NOW + 24 * HOUR)


def test_what_google_did_not_sign_is_forged(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    """Other keys, other algorithms, keys that the token brings, no token at all."""
    tokens = Tokens(key)
    unsigned = jwt.encode(CLAIMS, "", "none", {"kid": "k1"})
    shared = jwt.encode(CLAIMS, "k" * 64, "HS256", {"kid": "k1"})
    brought = signed(other_key, {"kid": "k1", "jku": "https://evil.example/keys"})

    for token in (signed(other_key), unsigned, shared, brought, "", "a.b.c", "x" * 4096):
        assert "forged" == tokens.judge(token)
    assert [] == tokens.wanted


def test_a_key_that_is_not_known_is_asked_for_beside_the_path(
    key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    """Unknown keys, and keys older than a day, mean come later."""
    tokens = Tokens(key)
    strange = signed(other_key, {"kid": "k2"})

    assert "no_keys" == tokens.judge(strange)
    assert ["k2"] == tokens.wanted
    tokens.now_s = KEYS_LAST_RESORT_S
    assert "no_keys" == tokens.judge(signed(key))


def test_strange_key_ids_do_not_hasten_the_next_question(key: rsa.RSAPrivateKey) -> None:
    """At most once a minute, and after a failure not at once."""
    tokens = Tokens(key)

    assert not tokens.known.is_due("k2")
    tokens.now_s = KEYS_MIN_AGE_S
    assert tokens.known.is_due("k2")
    assert not tokens.known.is_due("k1")
    assert not tokens.known.is_due()
    tokens.known.failed()
    assert not tokens.known.is_due("k2")
    tokens.now_s += RETRY_S
    assert tokens.known.is_due("k2")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([(b"authorization", b"Bearer a.b.c")], "a.b.c"),
        ([(b"authorization", b"bearer a.b.c")], "a.b.c"),
        ([(b"authorization", b"Basic a.b.c")], ""),
        ([(b"authorization", b"Bearer \xff")], ""),
        ([(b"authorization", b"Bearer " + b"x" * 4096)], ""),
        ([(b"authorization", b"Bearer a.b.c")] * 2, ""),
        ([], ""),
    ],
)
def test_a_bearer_token_stands_there_once(headers: list[tuple[bytes, bytes]], token: str) -> None:
    """Two of them are none: another server may have believed the other one."""
    assert token == read_token(headers)


def test_the_type_of_the_event_is_read() -> None:
    """Its data does not matter."""
    message = {"attributes": ATTRIBUTES, "messageId": "7", "data": "e30=", "publishTime": "x"}
    body = json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()

    assert ATTRIBUTES["ce-type"] == read_event_type(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"ce-type": ""},
        {"ce-type": "x" * 2000},
        {"ce-type": "a\nb"},
        {"ce-specversion": "2.0"},
        {"ce-id": ""},
        {"ce-source": ""},
        {"ce-type": 7},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_other_attributes_are_no_event(changes: dict[str, Any]) -> None:
    """A CloudEvent has id, source, version and type."""
    message = {"attributes": ATTRIBUTES | changes, "messageId": "7"}

    with pytest.raises(InvalidPushError):
        read_event_type(json.dumps({"message": message}).encode())


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.just(b"[" * 60_000),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.dictionaries(
                st.sampled_from(["message", "attributes", "messageId", "data"]), inner
            ),
        ).map(lambda found: json.dumps(found).encode()),
    )
)
def test_whatever_comes_is_refused_in_one_way(body: bytes) -> None:
    """Nothing but InvalidPushError comes of rubbish."""
    with pytest.raises(InvalidPushError):
        read_event_type(body)
