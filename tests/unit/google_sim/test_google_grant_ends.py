"""Refresh tokens die of everything that Google lets them die of."""

import pytest

from drivewake.lab.google.errors import OAuthError
from drivewake.lab.google.grants import (
    CAUSES,
    MAX_REFRESH_TOKENS,
    UNUSED_TTL_NS,
    Client,
    Grants,
    RefreshToken,
)

NS = 1_000_000_000
CLIENT, OTHER = Client("c", "s", "p"), Client("c2", "s", "p")
TIMED = Client("timed", "s", "p", refresh_ttl_s=604_800)
REDIRECT = "http://127.0.0.1/cb"
DRIVE, GMAIL = "https://www.googleapis.com/auth/drive", "https://mail.google.com/"


def connect(
    book: Grants, client: Client = CLIENT, user: str = "u@x", scopes: tuple[str, ...] = (DRIVE,)
) -> RefreshToken:
    """Consent as if the page was forced, and return the refresh token."""
    code, _ = book.consent(
        client,
        user,
        list(scopes),
        redirect_uri=REDIRECT,
        offline=True,
        force_refresh=True,
        include_granted=False,
        challenge=None,
        challenge_method="plain",
        nonce=None,
        now_ns=0,
    )
    refresh = book.redeem(client, code, REDIRECT, None, 1)[1]
    assert refresh is not None
    return refresh


def why_dead(book: Grants, refresh: RefreshToken, client: Client = CLIENT, at_ns: int = 2) -> str:
    """Return error and subtype of a refusal to refresh."""
    with pytest.raises(OAuthError) as caught:
        book.refresh(client, refresh.token, None, at_ns)
    body = caught.value.body()
    return f"{body['error']}/{body.get('error_subtype', '')}"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("revoked", "invalid_grant/"),
        ("time_based", "invalid_grant/"),
        ("inactivity", "invalid_grant/"),
        ("evicted", "invalid_grant/"),
        ("session_control", "invalid_grant/invalid_rapt"),
        ("admin_policy", "invalid_grant/admin_policy_enforced"),
        ("admin_policy_enforced", "admin_policy_enforced/"),
    ],
)
def test_every_cause_ends_refresh_tokens_with_its_own_answer(cause: str, expected: str) -> None:
    """OAuth: invalid_grant on command; who is not meant lives on."""
    book = Grants(0, 3600)
    doomed, spared = connect(book), connect(book, user="v@x")

    assert [doomed.token] == book.kill("u@x", cause)
    assert expected == why_dead(book, doomed)
    assert book.refresh(CLIENT, spared.token, None, 2).scopes == {DRIVE}


def test_every_cause_has_a_test() -> None:
    """The list above is whole, but for the password change, which has a test of its own."""
    tested = {"revoked", "time_based", "inactivity", "evicted", "session_control"}

    assert tested | {"admin_policy", "admin_policy_enforced", "password_change"} == set(CAUSES)


def test_a_password_change_ends_tokens_with_gmail_scopes_alone() -> None:
    """OAuth: password change with Gmail scopes."""
    book = Grants(0, 3600)
    mail, drive = connect(book, scopes=(DRIVE, GMAIL)), connect(book, OTHER)

    assert [mail.token] == book.kill("u@x", "password_change")
    assert "invalid_grant/" == why_dead(book, mail)
    assert book.refresh(OTHER, drive.token, None, 2).scopes == {DRIVE}


def test_a_cause_may_be_for_one_client() -> None:
    """The tokens of the user's other clients live."""
    book = Grants(0, 3600)
    mine, other = connect(book), connect(book, OTHER)

    assert [mine.token] == book.kill("u@x", "session_control", "c")
    assert book.refresh(OTHER, other.token, None, 2).offline


def test_the_hundred_and_first_token_of_an_account_and_client_silently_kills_the_oldest() -> None:
    """OAuth: more than 100 live refresh tokens per account per client."""
    book = Grants(0, 3600)
    deaths: list[tuple[str, str, int]] = []
    book.on_death = lambda user, cause, tokens: deaths.append((user, cause, tokens))
    elsewhere = [connect(book, OTHER), connect(book, user="v@x")]
    tokens = [connect(book) for _ in range(MAX_REFRESH_TOKENS + 1)]

    assert "invalid_grant/" == why_dead(book, tokens[0])
    assert [("u@x", "evicted", 1)] == deaths
    assert all(book.refresh(CLIENT, t.token, None, 2) for t in tokens[1:])
    assert book.refresh(OTHER, elsewhere[0].token, None, 2)
    assert book.refresh(CLIENT, elsewhere[1].token, None, 2)


def test_a_token_unused_for_six_months_is_dead() -> None:
    """OAuth: each use begins the time anew."""
    book = Grants(0, 3600)
    refresh = connect(book)
    book.refresh(CLIENT, refresh.token, None, UNUSED_TTL_NS)
    book.refresh(CLIENT, refresh.token, None, UNUSED_TTL_NS * 2)

    assert "invalid_grant/" == why_dead(book, refresh, at_ns=UNUSED_TTL_NS * 3 + 1)


def test_a_time_limited_grant_says_when_it_ends_and_ends_then() -> None:
    """OAuth: Testing means 7 days; `refresh_token_expires_in` for time-limited grants."""
    book = Grants(0, 3600)
    refresh, endless = connect(book, TIMED), connect(book)
    day_ns = 86_400 * NS

    assert 604_800 - 86_400 == book.left_s(refresh.token, day_ns + 1)
    assert book.left_s(endless.token, day_ns) is None
    assert book.refresh(TIMED, refresh.token, None, 6 * day_ns)
    assert "invalid_grant/" == why_dead(book, refresh, TIMED, 7 * day_ns + 1)
