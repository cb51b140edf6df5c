"""The small pure parts: scopes, consent pages, Google's refusals, settings, cached tokens."""

import base64
import datetime as dt
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from nacl.public import PrivateKey, SealedBox
from pydantic import SecretStr

from drivewake.auth import consent, scopes
from drivewake.auth.database import QUERIES
from drivewake.auth.domain import Connection
from drivewake.auth.errors import (
    ClientRejectedError,
    GoogleError,
    GoogleUnavailableError,
    GrantBlockedError,
    GrantDeadError,
)
from drivewake.auth.google import refusal
from drivewake.auth.pages import PAGES, page
from drivewake.auth.patience import Patience
from drivewake.auth.settings import Settings
from drivewake.auth.token_cache import MAX_CALLER_KEYS, BadKeyError, CachedToken, TokenCache
from drivewake.contracts.rpc import TokenReply
from drivewake.runtime.errors import ConfigurationError, TamperedError
from drivewake.runtime.settings import load

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DRIVE = "https://www.googleapis.com/auth/drive"


# -- Scopes -------------------------------------------------------------------------------------


def test_scopes_are_compared_by_their_long_names() -> None:
    """`email` is what Google calls userinfo.email; order and repeats do not matter."""
    email = "https://www.googleapis.com/auth/userinfo.email"
    assert (email, "openid") == scopes.parsed("openid email  openid")
    assert () == scopes.missing([email], ["email"])


def test_a_wider_scope_covers_what_it_implies() -> None:
    """Full access covers reading; reading does not cover writing."""
    assert () == scopes.missing([DRIVE], [f"{DRIVE}.readonly", f"{DRIVE}.metadata.readonly"])
    assert (DRIVE,) == scopes.missing([f"{DRIVE}.readonly"], [DRIVE])


# -- Consent ------------------------------------------------------------------------------------


def test_the_challenge_is_the_one_of_the_standard() -> None:
    """The example of RFC 7636, appendix B."""
    verifier = SecretStr("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" == consent.challenge(verifier)


def test_a_proof_survives_being_stored() -> None:
    """Verifier and nonce come back as they were; each is long, and never shown."""
    proof = consent.Proof.fresh()
    assert proof == consent.Proof.parse(proof.dump())
    assert 43 <= len(proof.verifier.get_secret_value()) <= 128
    assert proof.verifier.get_secret_value() not in repr(proof)
    with pytest.raises(TamperedError):
        consent.Proof.parse(SecretStr("half"))


def test_the_consent_address_keeps_what_was_there() -> None:
    """An authorization address with a query of its own keeps it."""
    url = consent.consent_url(
        "https://accounts.example/auth?hd=x",
        client_id="c&d",
        redirect_uri="https://us.example/back",
        wanted=("s",),
        state="st",
        proof=consent.Proof.fresh(),
        login_hint="1001",
    )
    query = parse_qs(urlsplit(url).query)
    assert (["x"], ["c&d"], ["1001"]) == (query["hd"], query["client_id"], query["login_hint"])


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("access_denied", "cancelled"),
        ("admin_policy_enforced", "blocked"),
        ("server_error", "refused"),
        ("<script>", "refused"),
    ],
)
def test_errors_have_pages(error: str, name: str) -> None:
    """Whatever Google, or somebody in its name, sends back: there is a page for it."""
    assert name == consent.page_of(error)
    assert name in PAGES


def test_details_cannot_leave_their_place() -> None:
    """Markup in a detail is text."""
    answer = page("refused", '"><img src=x onerror=alert(1)>')
    assert "<img" not in answer.content
    assert "&lt;img" in answer.content


# -- Google's refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "invalid_grant"}', GrantDeadError),
        (400, b'{"error": "invalid_grant", "error_subtype": "invalid_rapt"}', GrantDeadError),
        (403, b'{"error": "admin_policy_enforced"}', GrantBlockedError),
        (
            400,
            b'{"error": "invalid_grant", "error_subtype": "admin_policy_enforced"}',
            GrantBlockedError,
        ),
        (401, b'{"error": "invalid_client"}', ClientRejectedError),
        (400, b'{"error": "redirect_uri_mismatch"}', ClientRejectedError),
        (429, b'{"error": "invalid_grant"}', GoogleUnavailableError),
        (500, b'{"error": "invalid_grant"}', GoogleUnavailableError),
        (503, b"<html>", GoogleUnavailableError),
        (400, b"<html>", GoogleUnavailableError),
        (400, b'{"error": 5}', GoogleUnavailableError),
        (400, b'{"error": "<script>alert(1)</script>"}', GoogleUnavailableError),
        (404, b"", GoogleUnavailableError),
        (302, b"", GoogleUnavailableError),
    ],
)
def test_refusals_are_told_apart(status: int, body: bytes, kind: type[GoogleError]) -> None:
    """Dead, blocked, our own fault, or just not now: a grant dies only of Google's clear word."""
    error = refusal(status, body)
    assert kind is type(error)
    assert "script" not in str(error) + error.code


def test_descriptions_are_not_repeated() -> None:
    """Google's prose may name a person."""
    body = b'{"error": "invalid_grant", "error_description": "a@example.com was suspended"}'
    error = refusal(400, body)
    assert "example.com" not in str(error) + error.code


# -- Settings -----------------------------------------------------------------------------------

GOOD = {
    "DRIVEWAKE_POSTGRES_DSN": "postgresql://u:hunter2@db/x",
    "DRIVEWAKE_AUTH_KEYRING": "k1:" + "AAECAwQF" * 5 + "AAA=",
    "DRIVEWAKE_OIDC_ISSUER": "https://id.example.org",
    "DRIVEWAKE_PUBLIC_URL": "https://drivewake.example.org/",
    "DRIVEWAKE_GOOGLE_CLIENT_ID": "c",
    "DRIVEWAKE_GOOGLE_CLIENT_SECRET": "s3cret-of-google",
}


def loaded(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    """Return the settings of an environment."""
    for name, value in (GOOD | {f"DRIVEWAKE_{n.upper()}": v for n, v in changes.items()}).items():
        monkeypatch.setenv(name, value)
    return load(Settings)


def test_googles_own_addresses_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a client has to be told to reach the real Google, always encrypted."""
    settings = loaded(monkeypatch)
    endpoints = msgspec.structs.astuple(settings.endpoints())
    assert all(url.startswith("https://") for url in endpoints)
    assert "https://drivewake.example.org/v1/callback" == settings.redirect_uri
    assert settings.is_public_https


@pytest.mark.parametrize(
    "name", ["google_token_url", "google_jwks_url", "public_url", "oidc_issuer", "oidc_jwks_url"]
)
@pytest.mark.parametrize("url", ["http://sim:8080/x", "ftp://x", "nonsense", "https://", "//x"])
def test_secrets_do_not_travel_unencrypted(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    """An address that is not https is refused by name, except on this machine."""
    with pytest.raises(ConfigurationError, match=f"DRIVEWAKE_{name.upper()}"):
        loaded(monkeypatch, **{name: url})
    loaded(monkeypatch, **{name: "http://127.0.0.1:8080/x"})


def test_a_closed_network_may_be_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says so may use http between containers."""
    loaded(monkeypatch, google_token_url="http://sim:8080/x", allow_plain_http="true")


def test_problems_name_variables_and_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad keyring is refused without being repeated."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(monkeypatch, auth_keyring="k1:hunter2")
    assert "DRIVEWAKE_AUTH_KEYRING" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repr of the settings is fit for a log."""
    shown = repr(loaded(monkeypatch))
    for secret in ("hunter2", "AAECAwQF", "s3cret-of-google"):
        assert secret not in shown


# -- Patience -----------------------------------------------------------------------------------


def test_failures_make_us_wait_longer_up_to_half_a_minute() -> None:
    """1, 2, 4 … 30 seconds; a success begins anew."""
    patience, key, waits = Patience(), ("t", "c"), []
    for _ in range(8):
        patience.failed(key, 100.0)
        tenths = (s / 10 for s in range(1000))
        waits.append(next(s for s in tenths if patience.may_ask(key, 100.0 + s)))
    assert [1, 2, 4, 8, 16, 30, 30, 30] == waits
    patience.succeeded(key)
    patience.failed(key, 200.0)
    assert patience.may_ask(key, 201.0)
    assert patience.may_ask(("t", "other"), 200.0)


def test_rejections_are_believed_three_times_in_ten_seconds() -> None:
    """A fourth is not; ten seconds after the first they count anew."""
    patience, key = Patience(), ("t", "c")
    assert [True, True, True, False] == [patience.may_renew(key, 50.0 + n) for n in range(4)]
    assert patience.may_renew(key, 60.0)


def test_troubles_are_not_remembered_without_end() -> None:
    """The oldest are forgotten, and those of a connection that changed."""
    patience = Patience(capacity=2)
    for connection in "abc":
        patience.failed(("t", connection), 100.0)
    assert 2 == len(patience)
    assert patience.may_ask(("t", "a"), 100.0)
    patience.forget(("t", "b"))
    assert patience.may_ask(("t", "b"), 100.0)


# -- Cached tokens ------------------------------------------------------------------------------


def a_token(connection: str = "c", revision: int = 1, lifetime_s: float = 3600) -> CachedToken:
    """Return a cached token, made at noon and at 1000 s of the monotonic clock."""
    return CachedToken(
        SecretStr("ya29.token"),
        token_id=f"id-{connection}",
        connection=Connection(
            id=connection,
            tenant="t",
            principal_kind="user",
            issuer="google",
            subject="1",
            status="active",
            reason="",
            since=NOON,
            scopes=(),
            revision=revision,
            created_at=NOON,
        ),
        scopes=frozenset(),
        lifetime_s=lifetime_s,
        now=NOON,
        monotonic_s=1000.0,
    )


def a_key() -> tuple[PrivateKey, str]:
    """Return a caller's key pair, the public one as it is sent."""
    key = PrivateKey.generate()
    return key, base64.b64encode(bytes(key.public_key)).decode()


def test_a_token_is_sealed_once_for_a_key() -> None:
    """The same key gets the same bytes; it opens them, and nobody else does."""
    token, (key, public) = a_token(), a_key()
    reply = token.reply_to(public)
    assert reply is token.reply_to(public)
    decoded = msgspec.json.decode(reply, type=TokenReply)
    opened = SealedBox(key).decrypt(base64.b64decode(decoded.sealed))
    assert b"ya29.token" == opened
    assert "ya29" not in repr(token)


def test_keys_of_callers_are_not_collected_without_end() -> None:
    """A token keeps its latest few sealed replies."""
    token = a_token()
    for _ in range(MAX_CALLER_KEYS + 5):
        token.reply_to(a_key()[1])
    assert MAX_CALLER_KEYS == len(token._sealed)


@pytest.mark.parametrize("key", ["", "!", "AAAA", base64.b64encode(bytes(32)).decode()])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """Not base64, not 32 bytes, or a point that opens for everybody."""
    with pytest.raises(BadKeyError):
        a_token().reply_to(key)


@pytest.mark.parametrize(
    ("lifetime_s", "fresh_s", "usable_s"), [(3600, 3300, 3570), (100, 80, 90), (1, 0.8, 0.9)]
)
def test_a_token_is_given_and_used_only_while_safe(
    lifetime_s: float, fresh_s: float, usable_s: float
) -> None:
    """It is handed out until five minutes, and declared usable until half a minute, before."""
    token = a_token(lifetime_s=lifetime_s)
    assert pytest.approx(1000 + fresh_s) == token.fresh_until_s
    assert NOON + dt.timedelta(seconds=usable_s) == token.expires_at
    cache = TokenCache(10)
    cache.put(token)
    assert token is cache.get(("t", "c"), 1000 + fresh_s - 0.01)
    assert cache.get(("t", "c"), 1000 + fresh_s) is None


def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    """The least recently used token goes."""
    cache = TokenCache(2)
    cache.put(a_token("a"))
    cache.put(a_token("b"))
    cache.get(("t", "a"), 1000)
    cache.put(a_token("c"))
    assert [True, False, True] == [cache.get(("t", c), 1000) is not None for c in "abc"]


def test_a_token_is_of_its_tenant_and_revision() -> None:
    """Another tenant finds nothing; a later revision drops it, its own does not."""
    cache = TokenCache(2)
    cache.put(a_token(revision=3))
    assert cache.get(("other", "c"), 1000) is None
    cache.overtaken(("t", "c"), 3)
    assert cache.get(("t", "c"), 1000) is not None
    cache.overtaken(("t", "c"), 4)
    assert cache.get(("t", "c"), 1000) is None


def test_only_the_rejected_token_is_dropped() -> None:
    """Who rejects an older token does not drop the newer one."""
    cache = TokenCache(2)
    cache.put(a_token())
    cache.reject(("t", "c"), "id-of-before")
    assert 1 == len(cache)
    cache.reject(("t", "c"), "id-c")
    assert 0 == len(cache)


def test_every_query_is_named_and_ends() -> None:
    """Queries are one statement each, under the name that the code calls."""
    assert "lock_connection" in QUERIES
    assert all(query.endswith(";") and 1 == query.count(";") for query in QUERIES.values())
