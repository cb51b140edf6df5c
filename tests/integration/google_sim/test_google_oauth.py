"""The authorization code flow as a browser and a server live it."""

import base64
import hashlib
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import google_auth_httplib2  # type: ignore[import-untyped]
import httplib2
import httpx
import jwt
import pytest
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from drivewake.lab.google import RunningGoogle
from drivewake.lab.google.world import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

ALICE = "alice@example.com"
DRIVE = "https://www.googleapis.com/auth/drive.readonly"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
REDIRECT = "http://127.0.0.1:9/callback?keep=me"
VERIFIER = "verifier-" * 6
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")


def request(**changes: str) -> str:
    """Return the query of an authorization request."""
    fields = {
        "client_id": DEFAULT_CLIENT_ID,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": f"openid email {DRIVE}",
        "state": "a&b=c",
        "nonce": "n0nce",
        "access_type": "offline",
        "code_challenge": CHALLENGE.decode(),
        "code_challenge_method": "S256",
    }
    return urlencode({**fields, **changes})


def click(control: httpx.Client, query: str, **form: Any) -> dict[str, list[str]]:  # noqa: ANN401
    """Fill in the form that the page really shows and return what the redirect carries."""
    page = control.get(f"/o/oauth2/v2/auth?{query}")
    assert page.status_code == 200
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    hidden = re.search(r'name="request" value="([^"]*)"', page.text)
    assert action is not None
    assert hidden is not None
    fields = {"request": unescape(hidden.group(1)), "account": ALICE, "decision": "allow", **form}
    answer = control.post(unescape(action.group(1)), data=fields)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(REDIRECT + "&")
    return parse_qs(urlsplit(answer.headers["location"]).query)


def exchange(control: httpx.Client, authorization_code: str, **changes: str) -> httpx.Response:
    """Exchange a code."""
    form = {
        "grant_type": "authorization_code",
        "code": authorization_code,
        "redirect_uri": REDIRECT,
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "code_verifier": VERIFIER,
        **changes,
    }
    return control.post("/token", data=form)


def connect(control: httpx.Client) -> dict[str, Any]:
    """Return the tokens of a whole flow."""
    code = click(control, request())["code"][0]
    tokens: dict[str, Any] = exchange(control, code).json()
    return tokens


def test_the_whole_flow_ends_in_a_verifiable_id_token(control: httpx.Client) -> None:
    """The id token is signed by the published key and carries nonce, audience and identity."""
    tokens = connect(control)
    configuration = control.get("/.well-known/openid-configuration").json()
    keys = jwt.PyJWKSet.from_dict(control.get(urlsplit(configuration["jwks_uri"]).path).json())
    kid = jwt.get_unverified_header(tokens["id_token"])["kid"]

    claims = jwt.decode(
        tokens["id_token"],
        keys[kid].key,
        ["RS256"],
        audience=DEFAULT_CLIENT_ID,
        issuer=configuration["issuer"],
    )

    assert (ALICE, True, "n0nce", "example.com") == (
        claims["email"],
        claims["email_verified"],
        claims["nonce"],
        claims["hd"],
    )
    assert {"openid", EMAIL, DRIVE} == set(tokens["scope"].split())
    assert tokens["expires_in"] == 3599


def test_state_comes_back_unchanged_and_the_redirects_query_is_kept(control: httpx.Client) -> None:
    """The answer is added to what the redirect URI already has."""
    answer = click(control, request())

    assert (["a&b=c"], ["me"]) == (answer["state"], answer["keep"])


def test_cancel_is_access_denied(control: httpx.Client) -> None:
    """The person said no: error and state, no code."""
    answer = click(control, request(), decision="cancel")

    assert (["access_denied"], False) == (answer["error"], "code" in answer)


def test_consent_is_granular(control: httpx.Client) -> None:
    """What is not ticked is not granted, and the answer says so."""
    answer = click(control, request(), granted=["openid"])

    tokens = exchange(control, answer["code"][0]).json()

    assert "openid" == tokens["scope"]


def test_nothing_ticked_is_nothing_granted(control: httpx.Client) -> None:
    """The form without a ticked box sends its empty value alone: no code comes back."""
    answer = click(control, request(), granted=[""])

    assert ["access_denied"] == answer["error"]
    assert "code" not in answer


def test_enter_continues_and_every_control_has_words(control: httpx.Client) -> None:
    """A form's first button is what the Enter key presses; a label holds each visible input."""
    page = control.get("/o/oauth2/v2/auth", params=request()).text

    assert ["allow", "cancel"] == re.findall(r'<button[^>]* value="(\w+)"', page)
    labels = re.findall(r"<label><input[^>]*><span>(.+?)</span></label>", page)
    assert len(re.findall(r'<input type="(?:radio|checkbox)"', page)) == len(labels)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client_id": "unknown"}, "invalid_client"),
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri_mismatch"),
        ({"response_type": "token"}, "invalid_request"),
        ({"scope": ""}, "invalid_request"),
    ],
)
def test_a_wrong_request_is_a_dead_end(
    control: httpx.Client, changes: dict[str, str], text: str
) -> None:
    """Nothing is sent to an address that may not be the client's."""
    page = control.get(f"/o/oauth2/v2/auth?{request(**changes)}")

    assert page.status_code in {400, 401}
    assert text in page.text
    assert "location" not in page.headers


def test_what_the_request_says_cannot_break_the_page(control: httpx.Client) -> None:
    """Values are text in the form, never markup."""
    page = control.get(f"/o/oauth2/v2/auth?{request(scope='<script>alert(1)</script>')}")

    assert "<script>" not in page.text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_secret": "wrong"}, (401, "invalid_client")),
        ({"client_id": "nobody"}, (401, "invalid_client")),
        ({"code_verifier": "w" * 43}, (400, "invalid_grant")),
        ({"redirect_uri": "http://127.0.0.1/other"}, (400, "redirect_uri_mismatch")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"code": "invented"}, (400, "invalid_grant")),
    ],
)
def test_a_wrong_exchange_gets_a_flat_error(
    control: httpx.Client, changes: dict[str, str], expected: tuple[int, str]
) -> None:
    """RFC 6749's object, not the API envelope."""
    code = click(control, request())["code"][0]

    answer = exchange(control, code, **changes)

    assert expected == (answer.status_code, answer.json()["error"])


def test_the_secret_may_travel_in_a_basic_header(control: httpx.Client) -> None:
    """client_secret_basic is as good as client_secret_post."""
    code = click(control, request())["code"][0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }

    answer = control.post("/token", data=form, auth=(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET))

    assert 200 == answer.status_code


def test_googles_credentials_refresh_themselves(
    control: httpx.Client, google: RunningGoogle
) -> None:
    """A dead access token is 401; the client refreshes once and the call succeeds."""
    tokens = connect(control)
    credentials = credentials_of(google, tokens)
    drive = build(
        "drive",
        "v3",
        credentials=credentials,
        client_options={"api_endpoint": google.base_url},
        static_discovery=True,
    )
    assert 1 == control.post("/_sim/tokens/expire", json={"email": ALICE}).json()["expired"]

    about = drive.about().get(fields="user/emailAddress").execute()

    assert {"user": {"emailAddress": ALICE}} == about
    assert credentials.token != tokens["access_token"]
    assert credentials.refresh_token == tokens["refresh_token"]
    drive.close()


def test_a_revoked_grant_cannot_be_refreshed(control: httpx.Client, google: RunningGoogle) -> None:
    """Revoked at Google's account page: invalid_grant, which the client raises."""
    tokens = connect(control)
    credentials = credentials_of(google, tokens)
    control.post("/_sim/tokens/revoke", json={"email": ALICE})

    http = httplib2.Http()
    with pytest.raises(RefreshError, match="invalid_grant"):
        credentials.refresh(google_auth_httplib2.Request(http))
    http.close()


def credentials_of(google: RunningGoogle, tokens: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return Google's own credentials object."""
    return Credentials(  # type: ignore[no-untyped-call]
        tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        token_uri=f"{google.base_url}/token",
        client_id=DEFAULT_CLIENT_ID,
        client_secret=DEFAULT_CLIENT_SECRET,
    )


def test_revoke_answers_once(control: httpx.Client) -> None:
    """200, then 400 invalid_token; the access token is dead with it."""
    tokens = connect(control)

    first = control.post("/revoke", data={"token": tokens["refresh_token"]})
    second = control.post("/revoke", data={"token": tokens["refresh_token"]})
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

    assert (200, 400, "invalid_token") == (
        first.status_code,
        second.status_code,
        second.json()["error"],
    )
    assert 401 == control.get("/v1/userinfo", headers=bearer).status_code


def test_userinfo_and_tokeninfo_agree_with_the_id_token(control: httpx.Client) -> None:
    """One subject everywhere."""
    tokens = connect(control)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

    user = control.get("/v1/userinfo", headers=bearer).json()
    info = control.get("/tokeninfo", params={"access_token": tokens["access_token"]}).json()
    claims = control.get("/tokeninfo", params={"id_token": tokens["id_token"]}).json()

    assert user["sub"] == info["sub"] == claims["sub"]
    assert "offline" == info["access_type"]
