"""Consents and tokens live and die as Google's do."""

import base64
import hashlib

import pytest

from drivewake.lab.google.errors import OAuthError
from drivewake.lab.google.grants import CODE_TTL_NS, Client, Grants

CLIENT = Client("c", "s", "p")
SIBLING = Client("c2", "s2", "p")
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")
REDIRECT = "http://127.0.0.1/cb"


def grants() -> Grants:
    """Return an empty book with two clients of one project."""
    book = Grants(0, 3600)
    book.clients = {c.client_id: c for c in (CLIENT, SIBLING)}
    return book


def consent(
    book: Grants, client: Client = CLIENT, *, force: bool = False, scopes: str = "a b"
) -> str:
    """Consent offline and return the code."""
    code, _ = book.consent(
        client,
        "u@x",
        scopes.split(),
        redirect_uri=REDIRECT,
        offline=True,
        force_refresh=force,
        include_granted=False,
        challenge=CHALLENGE.decode(),
        challenge_method="S256",
        nonce=None,
        now_ns=0,
    )
    return code


def refused(error: pytest.ExceptionInfo[OAuthError]) -> tuple[str, int]:
    """Return the error's name and status."""
    return error.value.error, error.value.code


def test_a_code_works_once() -> None:
    """A replayed code is an invalid grant."""
    book = grants()
    code = consent(book)
    book.redeem(CLIENT, code, REDIRECT, VERIFIER, 1)

    with pytest.raises(OAuthError) as caught:
        book.redeem(CLIENT, code, REDIRECT, VERIFIER, 1)

    assert ("invalid_grant", 400) == refused(caught)


@pytest.mark.parametrize(
    ("client", "redirect", "verifier", "at_ns", "error"),
    [
        (CLIENT, REDIRECT, "w" * 43, 1, "invalid_grant"),
        (CLIENT, REDIRECT, None, 1, "invalid_grant"),
        (SIBLING, REDIRECT, VERIFIER, 1, "invalid_grant"),
        (CLIENT, REDIRECT, VERIFIER, CODE_TTL_NS, "invalid_grant"),
        (CLIENT, REDIRECT + "x", VERIFIER, 1, "redirect_uri_mismatch"),
    ],
)
def test_a_code_is_bound_to_its_request(
    client: Client, redirect: str, verifier: str | None, at_ns: int, error: str
) -> None:
    """Wrong verifier, client, redirect or a late exchange gets nothing."""
    book = grants()
    code = consent(book)

    with pytest.raises(OAuthError) as caught:
        book.redeem(client, code, redirect, verifier, at_ns)

    assert error == caught.value.error


def test_a_refresh_token_comes_with_the_first_consent_and_when_forced() -> None:
    """A second consent brings none unless prompt=consent."""
    book = grants()

    given = [
        book.redeem(CLIENT, consent(book, force=force), REDIRECT, VERIFIER, 1)[1] is not None
        for force in (False, False, True)
    ]

    assert [True, False, True] == given


def test_an_access_token_expires_on_the_clock() -> None:
    """After its life it is unknown."""
    book = grants()
    access, _, _ = book.redeem(CLIENT, consent(book), REDIRECT, VERIFIER, 0)

    assert book.find_access(access.token, access.expires_ns - 1) is access
    assert book.find_access(access.token, access.expires_ns) is None


def test_revoking_one_token_ends_the_grant_for_all_clients_of_the_project() -> None:
    """Google revokes per user and project."""
    book = grants()
    access, refresh, _ = book.redeem(CLIENT, consent(book), REDIRECT, VERIFIER, 1)
    _, sibling, _ = book.redeem(SIBLING, consent(book, SIBLING), REDIRECT, VERIFIER, 1)
    assert refresh is not None
    assert sibling is not None

    book.revoke(sibling.token, 2)

    assert book.find_access(access.token, 2) is None
    with pytest.raises(OAuthError) as caught:
        book.refresh(CLIENT, refresh.token, None, 2)
    assert ("invalid_grant", 400) == refused(caught)
    with pytest.raises(OAuthError) as again:
        book.revoke(sibling.token, 3)
    assert ("invalid_token", 400) == refused(again)


def test_a_wrong_secret_is_an_invalid_client() -> None:
    """401, as RFC 6749 says."""
    with pytest.raises(OAuthError) as caught:
        grants().authenticate("c", "wrong")

    assert ("invalid_client", 401) == refused(caught)


def test_refreshing_can_narrow_scopes_and_not_widen_them() -> None:
    """A refresh may ask for less, never for more."""
    book = grants()
    _, refresh, _ = book.redeem(CLIENT, consent(book), REDIRECT, VERIFIER, 1)
    assert refresh is not None

    assert frozenset({"a"}) == book.refresh(CLIENT, refresh.token, "a", 2).scopes
    with pytest.raises(OAuthError) as caught:
        book.refresh(CLIENT, refresh.token, "a c", 2)
    assert caught.value.error == "invalid_scope"
