"""Security event tokens reach a receiver, signed by the published key."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest

ALICE = "alice@example.com"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"
_PATIENCE_S = 20.0


class Receiver:
    """Keeps what it got; answers from a script, then 202."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.statuses: list[int] = []
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((self.headers["content-type"], body.decode()))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.url = f"http://127.0.0.1:{self.server.server_port}/risc"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def wait(self, count: int) -> list[tuple[str, str]]:
        """Return what came once there are `count`."""
        give_up = time.monotonic() + _PATIENCE_S
        while len(self.got) < count and time.monotonic() < give_up:
            time.sleep(0.01)
        assert len(self.got) == count, self.got
        return self.got

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver(control: httpx.Client) -> Iterator[Receiver]:
    """A registered receiver of two clients' events."""
    found = Receiver()
    body = {"url": found.url, "clientIds": ["one", "two"]}
    assert control.post("/_sim/risc/receivers", json=body).status_code == 200
    yield found
    found.close()


def verified(control: httpx.Client, token: str) -> dict[str, Any]:
    """Return the claims, as a receiver must verify them."""
    configuration = control.get("/.well-known/risc-configuration").json()
    keys = control.get(urlsplit(configuration["jwks_uri"]).path).json()
    header = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(keys)[header["kid"]].key,
        ["RS256"],
        audience="two",
        issuer=configuration["issuer"],
    )
    assert header["typ"] == "secevent+jwt"
    return claims


@pytest.mark.parametrize(
    ("event", "uri"),
    [
        ("sessions-revoked", RISC),
        ("tokens-revoked", OAUTH),
        ("account-disabled", RISC),
        ("account-enabled", RISC),
        ("account-credential-change-required", RISC),
    ],
)
def test_an_event_about_an_account_names_it_by_issuer_and_subject(
    control: httpx.Client, receiver: Receiver, event: str, uri: str
) -> None:
    """OAuth: RS256, iss and jwks from risc-configuration, aud are client ids, no exp."""
    body = {"type": event, "email": ALICE, "reason": "hijacking"}
    jti = control.post("/_sim/risc/events", json=body).json()["jti"]
    kind, token = receiver.wait(1)[0]
    claims = verified(control, token)
    told = claims["events"][uri + event]

    access = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    headers = {"Authorization": f"Bearer {access}"}
    user_id = control.get("/v1/userinfo", headers=headers).json()["sub"]
    assert "application/secevent+jwt" == kind
    assert {"iss", "aud", "iat", "jti", "events"} == set(claims)
    assert jti == [claims["jti"]]
    assert ("iss-sub", user_id) == (told["subject"]["subject_type"], told["subject"]["sub"])
    assert "hijacking" == told["reason"]


def test_a_revoked_token_is_named_by_prefix_or_double_hash(
    control: httpx.Client, receiver: Receiver
) -> None:
    """OAuth: the first 16 characters, or SHA-512 of SHA-512."""
    token = "1//0" + "x" * 98
    body = {"type": "token-revoked", "refreshToken": token}
    control.post("/_sim/risc/events", json=body)
    receiver.wait(1)
    control.post("/_sim/risc/events", json={**body, "alg": "hash_base64_sha512_sha512"})
    told = [
        verified(control, got)["events"][OAUTH + "token-revoked"]["subject"]["token"]
        for _, got in receiver.wait(2)
    ]

    twice = hashlib.sha512(hashlib.sha512(token.encode()).digest()).digest()
    assert [token[:16], base64.b64encode(twice).decode()] == told


def test_a_verification_carries_its_state(control: httpx.Client, receiver: Receiver) -> None:
    """It has no subject."""
    control.post("/_sim/risc/events", json={"type": "verification", "state": "s t"})
    claims = verified(control, receiver.wait(1)[0][1])

    assert {RISC + "verification": {"state": "s t"}} == claims["events"]


def test_an_event_may_be_sent_twice_with_the_same_jti(
    control: httpx.Client, receiver: Receiver
) -> None:
    """OAuth: dedupe jti."""
    for _ in range(2):
        body = {"type": "account-disabled", "email": ALICE, "jti": "again"}
        control.post("/_sim/risc/events", json=body)
    tokens = [verified(control, token)["jti"] for _, token in receiver.wait(2)]

    assert ["again", "again"] == tokens


def test_only_202_is_success_and_5xx_is_tried_again(
    control: httpx.Client, receiver: Receiver
) -> None:
    """OAuth: 202 = ok; every attempt is in the ledger."""
    receiver.statuses = [503, 200]
    control.post("/_sim/risc/events", json={"type": "account-disabled", "email": ALICE})
    tokens = {token for _, token in receiver.wait(3)}
    give_up = time.monotonic() + _PATIENCE_S
    facts: list[dict[str, Any]] = []
    while len(facts) < 3 and time.monotonic() < give_up:
        facts = control.get("/_sim/ledger?types=security").json()["facts"]

    assert 1 == len(tokens)
    assert [(1, 503), (2, 200), (3, 202)] == [(f["attempt"], f["status"]) for f in facts]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "sessions-revoked"},
        {"type": "token-revoked"},
        {"type": "sessions-lost", "email": ALICE},
        {"type": "sessions-revoked", "email": "nobody@example.com"},
    ],
)
def test_an_event_that_cannot_be_is_refused(
    control: httpx.Client, receiver: Receiver, body: dict[str, str]
) -> None:
    """400, and nothing is sent."""
    assert 400 == control.post("/_sim/risc/events", json=body).status_code
    assert [] == receiver.got


def test_ended_grants_are_refused_and_in_the_ledger(control: httpx.Client) -> None:
    """OAuth: causes on command, also where the user has no token; unknown ones are 400."""
    none = control.post("/_sim/grants/end", json={"email": ALICE, "cause": "admin_policy"})
    unknown = control.post("/_sim/grants/end", json={"email": ALICE, "cause": "boredom"})

    assert {"ended": 0} == none.json()
    assert 400 == unknown.status_code
