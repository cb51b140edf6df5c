"""Service accounts get tokens as Google's own client asks for them."""

import time
from typing import Any

import google.auth.transport.requests
import httpx
import jwt
import pytest
from google.auth.exceptions import RefreshError
from google.oauth2 import service_account

from drivewake.lab.google import RunningGoogle

ALICE = "alice@example.com"
READONLY = "https://www.googleapis.com/auth/drive.readonly"
DRIVE = "https://www.googleapis.com/auth/drive"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE = "https://oauth2.googleapis.com/token"


@pytest.fixture
def key(control: httpx.Client) -> dict[str, Any]:
    """The key file of a service account that may read for everybody at example.com."""
    made: dict[str, Any] = control.post("/_sim/service-accounts", json={"name": "robot"}).json()
    body = {"email": made["client_email"], "domain": "example.com", "scopes": [READONLY]}
    assert control.post("/_sim/service-accounts/delegate", json=body).status_code == 200
    return made


def credentials(key: dict[str, Any], scope: str, subject: str | None = None) -> Any:  # noqa: ANN401
    """Return what Google's client makes of the key file."""
    return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, scopes=[scope], subject=subject
    )


def refresh(found: Any) -> str:  # noqa: ANN401 - Google's client has no types
    """Let Google's client fetch a token."""
    found.refresh(google.auth.transport.requests.Request())
    token: str = found.token
    return token


def ask(control: httpx.Client, key: dict[str, Any], **changes: Any) -> httpx.Response:  # noqa: ANN401
    """Ask for a token with an assertion of our own making."""
    signer = changes.pop("signer", key["private_key"])
    now_s = int(time.time())
    claims = {
        "iss": key["client_email"],
        "scope": READONLY,
        "aud": GOOGLE,
        "iat": now_s,
        "exp": now_s + 3600,
        **changes,
    }
    claims = {k: v for k, v in claims.items() if v is not None}
    assertion = jwt.encode(claims, signer, "RS256", headers={"kid": key["private_key_id"]})
    return control.post("/token", data={"grant_type": GRANT, "assertion": assertion})


def test_googles_client_acts_for_a_person_by_delegation(
    control: httpx.Client, key: dict[str, Any]
) -> None:
    """OAuth: JWT-bearer with sub; the token has that person's eyes."""
    token = refresh(credentials(key, READONLY, ALICE))
    headers = {"Authorization": f"Bearer {token}"}
    about = control.get("/drive/v3/about?fields=user", headers=headers).json()

    assert ALICE == about["user"]["emailAddress"]


def test_without_subject_it_is_a_principal_of_its_own(
    control: httpx.Client, key: dict[str, Any]
) -> None:
    """Quotas: a service account counts as one user, with a Drive of its own."""
    token = refresh(credentials(key, DRIVE))
    headers = {"Authorization": f"Bearer {token}"}
    about = control.get("/drive/v3/about?fields=user", headers=headers).json()

    assert key["client_email"] == about["user"]["emailAddress"]


def test_scopes_beyond_the_delegation_are_unauthorized(key: dict[str, Any]) -> None:
    """Google's client raises what the Admin console did not allow."""
    with pytest.raises(RefreshError, match="unauthorized_client"):
        refresh(credentials(key, DRIVE, ALICE))


def test_a_domain_without_delegation_is_unauthorized(
    control: httpx.Client, key: dict[str, Any]
) -> None:
    """Delegation is one domain's decision."""
    control.post("/_sim/users", json={"email": "zoe@elsewhere.example"})
    answer = ask(control, key, sub="zoe@elsewhere.example")

    assert (401, "unauthorized_client") == (answer.status_code, answer.json()["error"])


OTHER_KEY_ERROR = "Invalid JWT Signature."


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"exp": int(time.time()) + 90_000}, "short-lived token"),
        ({"iat": 1, "exp": 2}, "short-lived token"),
        ({"exp": None}, "short-lived token"),
        ({"iss": "nobody@example.com"}, "account not found"),
        ({"aud": "https://example.com/"}, "audience"),
        ({"sub": "nobody@example.com"}, "Invalid email or User ID"),
    ],
)
def test_a_wrong_claim_is_an_invalid_grant(
    control: httpx.Client, key: dict[str, Any], changes: dict[str, Any], description: str
) -> None:
    """OAuth: iss, sub, scope, aud, exp <= 1 h."""
    answer = ask(control, key, **changes)

    assert (400, "invalid_grant") == (answer.status_code, answer.json()["error"])
    assert description in answer.json()["error_description"]


def test_another_accounts_key_does_not_sign(control: httpx.Client, key: dict[str, Any]) -> None:
    """The signature is verified with the key of `iss`."""
    other = control.post("/_sim/service-accounts", json={"name": "other"}).json()
    answer = ask(control, key, signer=other["private_key"])

    assert OTHER_KEY_ERROR == answer.json()["error_description"]


def test_an_assertion_without_scope_or_sense_is_refused(
    control: httpx.Client, key: dict[str, Any]
) -> None:
    """invalid_scope, and invalid_grant for what is no JWT."""
    no_jwt = control.post("/token", data={"grant_type": GRANT, "assertion": "x.y"})

    assert "invalid_scope" == ask(control, key, scope=None).json()["error"]
    assert "invalid_grant" == no_jwt.json()["error"]


def test_robots_do_not_stand_on_the_account_choice(
    google: RunningGoogle, control: httpx.Client, key: dict[str, Any]
) -> None:
    """A browser signs people in."""
    query = {
        "client_id": google.world.options.client_id,
        "redirect_uri": "http://127.0.0.1:9/cb",
        "response_type": "code",
        "scope": READONLY,
    }
    page = control.get("/o/oauth2/v2/auth", params=query).text

    assert ALICE in page
    assert key["client_email"] not in page


def test_a_service_accounts_channel_can_be_stopped_by_any_user_of_that_client(
    control: httpx.Client, key: dict[str, Any]
) -> None:
    """Watch and push: else the same user through the same client alone."""
    body = {"email": key["client_email"], "domain": "example.com", "scopes": [DRIVE]}
    control.post("/_sim/service-accounts/delegate", json=body)
    robot, person = (refresh(credentials(key, DRIVE, who)) for who in (None, ALICE))
    wanted = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
    channel = control.post(
        "/drive/v3/changes/watch?pageToken=1",
        json=wanted,
        headers={"Authorization": f"Bearer {robot}"},
    ).json()
    stop = {"id": "c", "resourceId": channel["resourceId"]}
    other = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    statuses = [
        control.post(
            "/drive/v3/channels/stop", json=stop, headers={"Authorization": f"Bearer {token}"}
        ).status_code
        for token in (other, person)
    ]

    assert [404, 204] == statuses
