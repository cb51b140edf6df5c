"""Rules of Google's that concern consent, channels, errors and activity: one test each."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from googleapiclient.errors import HttpError

from drivewake.lab.google import PROFILES, Options, start_google
from drivewake.lab.google.world import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

ALICE, BOB = "alice@example.com", "bob@example.com"
READ = "https://www.googleapis.com/auth/drive.readonly"
ACTIVITY = "https://www.googleapis.com/auth/drive.activity.readonly"
REDIRECT = "http://127.0.0.1:9/cb"
CLIENT = {"client_id": DEFAULT_CLIENT_ID, "client_secret": DEFAULT_CLIENT_SECRET}
DriveOf = Callable[[str], Any]


def consent(control: httpx.Client, **changes: str) -> dict[str, Any]:
    """Let Alice consent offline; return the tokens."""
    client = {"client_id": changes.get("client_id", DEFAULT_CLIENT_ID)}
    secret = {"client_secret": changes.pop("client_secret", DEFAULT_CLIENT_SECRET)}
    query = {
        **client,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": READ,
        "access_type": "offline",
        **changes,
    }
    form = {"request": str(httpx.QueryParams(query)), "account": ALICE, "decision": "allow"}
    back = control.post("/o/oauth2/v2/auth/decision", data=form).headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    wanted = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    tokens: dict[str, Any] = control.post("/token", data={**wanted, **client, **secret}).json()
    return tokens


def refreshed(control: httpx.Client, token: str, **client: str) -> dict[str, Any]:
    """Return the answer to a refresh."""
    form = {"grant_type": "refresh_token", "refresh_token": token, **CLIENT, **client}
    answer: dict[str, Any] = control.post("/token", data=form).json()
    return answer


def test_a_refresh_answer_has_no_refresh_token(control: httpx.Client) -> None:
    """OAuth: keep the old one."""
    tokens = consent(control)
    answer = refreshed(control, tokens["refresh_token"])

    assert {"access_token", "expires_in", "scope", "token_type"} == set(answer)
    assert "refresh_token_expires_in" not in tokens


def test_a_time_limited_grant_says_so_in_both_answers(control: httpx.Client) -> None:
    """OAuth: refresh_token_expires_in for time-limited grants."""
    body = {"clientId": "testing", "clientSecret": "s", "refreshTtlS": 604_800}
    control.post("/_sim/clients", json=body)
    tokens = consent(control, client_id="testing", client_secret="s")
    answer = refreshed(control, tokens["refresh_token"], client_id="testing", client_secret="s")

    assert 604_000 < answer["refresh_token_expires_in"] <= tokens["refresh_token_expires_in"]
    assert tokens["refresh_token_expires_in"] <= 604_800


def test_include_granted_scopes_adds_what_was_granted_before(control: httpx.Client) -> None:
    """OAuth: incremental consent; without the flag the new scope stands alone."""
    consent(control)
    added = consent(control, scope=ACTIVITY, include_granted_scopes="true")
    alone = consent(control, scope=ACTIVITY)

    assert {READ, ACTIVITY} == set(added["scope"].split())
    assert {ACTIVITY} == set(alone["scope"].split())


def test_an_ended_grant_tells_its_cause_at_the_token_endpoint(control: httpx.Client) -> None:
    """OAuth: invalid_grant with Google's subtype; access tokens of it are dead too."""
    tokens = consent(control)
    body = {"email": ALICE, "cause": "admin_policy"}
    ended = control.post("/_sim/grants/end", json=body).json()
    answer = refreshed(control, tokens["refresh_token"])
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    facts = control.get("/_sim/ledger?types=grant").json()["facts"]

    assert {"ended": 1} == ended
    assert ("invalid_grant", "admin_policy_enforced") == (
        answer["error"],
        answer["error_subtype"],
    )
    assert 401 == control.get("/drive/v3/files", headers=headers).status_code
    assert [(ALICE, "admin_policy", 1)] == [(f["user"], f["cause"], f["tokens"]) for f in facts]


@pytest.mark.parametrize(
    ("status", "reason", "retried"),
    [
        (403, "userRateLimitExceeded", True),
        (403, "rateLimitExceeded", True),
        (429, "rateLimitExceeded", True),
        (500, "internalError", True),
        (503, "backendError", True),
        (403, "dailyLimitExceeded", False),
        (403, "sharingRateLimitExceeded", False),
        (403, "domainPolicy", False),
        (403, "appNotAuthorizedToFile", False),
        (403, "teamDriveMembershipRequired", False),
        (404, "notFound", False),
        (410, "gone", False),
    ],
)
def test_googles_client_retries_what_google_says_and_parses_the_rest(
    drive_of: DriveOf, control: httpx.Client, status: int, reason: str, retried: bool
) -> None:
    """Errors: >= 500, 429, and 403 only for the two rate reasons; others are HttpError."""
    drive = drive_of(ALICE)
    rule = {"effect": "status", "operation": "drive.files.list", "times": 1}
    control.post("/_sim/faults", json={**rule, "status": status, "reason": reason})
    request = drive.files().list()
    request._sleep = lambda _seconds: None
    if retried:
        assert [] == request.execute(num_retries=1)["files"]
        return

    with pytest.raises(HttpError) as caught:
        request.execute(num_retries=1)
    found = json.loads(caught.value.content)["error"]["errors"][0]["reason"]
    assert (status, reason) == (caught.value.resp.status, found)


@pytest.mark.parametrize("status", [401, 403])
def test_an_unverified_domain_is_401_or_403_on_command(control: httpx.Client, status: int) -> None:
    """Watch and push: push.webhookUrlUnauthorized is still in the field, as either status."""
    reason = "push.webhookUrlUnauthorized"
    rule = {"effect": "status", "operation": "drive.changes.watch", "status": status}
    control.post("/_sim/faults", json={**rule, "reason": reason})
    answer = control.post("/drive/v3/changes/watch?pageToken=1", json={})

    assert (status, reason) == (
        answer.status_code,
        answer.json()["error"]["errors"][0]["reason"],
    )


@pytest.mark.parametrize(("path", "max_s"), [("files/root", 86_400), ("changes", 604_800)])
def test_a_channel_lives_a_day_for_files_and_a_week_for_changes(
    control: httpx.Client, path: str, max_s: int
) -> None:
    """Watch and push: the more restrictive of request and limit wins; without a wish, an hour."""
    token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    control.headers["Authorization"] = f"Bearer {token}"
    body = {"type": "web_hook", "address": "http://127.0.0.1:9/"}
    far_ms = int(time.time() * 1000) + 10**10
    lives_s = []
    for number, wish in enumerate(({}, {"expiration": str(far_ms)})):
        wanted = {"id": f"c{number}", **body, **wish}
        answer = control.post(f"/drive/v3/{path}/watch?pageToken=1", json=wanted).json()
        lives_s.append(round(int(answer["expiration"]) / 1000 - time.time()))

    assert abs(lives_s[0] - 3_600) < 60
    assert abs(lives_s[1] - max_s) < 60


def test_a_resource_may_have_several_channels(drive_of: DriveOf, control: httpx.Client) -> None:
    """Watch and push: overlap is expected; each has numbers of its own from 1."""
    drive = drive_of(ALICE)
    for name in ("old", "new"):
        body = {"id": name, "type": "web_hook", "address": "http://127.0.0.1:9/"}
        drive.changes().watch(pageToken="1", body=body).execute()
    give_up = time.monotonic() + 20
    facts: list[dict[str, Any]] = []
    while len(facts) < 2 and time.monotonic() < give_up:
        facts = control.get("/_sim/ledger?types=push").json()["facts"]

    assert {("old", 1, "sync"), ("new", 1, "sync")} == {
        (f["channel_id"], f["message_number"], f["state"]) for f in facts
    }


def test_https_only_refuses_plain_addresses() -> None:
    """Watch and push: 400 push.webhookUrlNotHttps; loopback is let through without the option."""
    with (
        start_google(Options(users=(ALICE,), https_only=True)) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        token = client.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        body = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
        refused = client.post("/drive/v3/changes/watch?pageToken=1", json=body)
        taken = client.post(
            "/drive/v3/changes/watch?pageToken=1", json={**body, "address": "https://x.example/"}
        )

    assert "push.webhookUrlNotHttps" == refused.json()["error"]["errors"][0]["reason"]
    assert (400, 200) == (refused.status_code, taken.status_code)


def test_activity_lags_behind_changes() -> None:
    """Drive Activity: minutes for activity; the change itself is there at once."""
    profile = msgspec.structs.replace(PROFILES["relaxed"], activity_lag_ms=3_600_000)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        scopes = [READ, ACTIVITY]
        answer = client.post("/_sim/tokens", json={"email": ALICE, "scopes": scopes}).json()
        client.headers["Authorization"] = f"Bearer {answer['access_token']}"
        action = {"op": "create_file", "name": "f"}
        client.post("/_sim/actions", json={"actor": ALICE, "actions": [action]})
        changes = client.get("/drive/v3/changes?pageToken=1").json()["changes"]
        activity = client.post("/v2/activity:query", json={})

    assert 1 == len(changes)
    assert (200, {}) == (activity.status_code, activity.json())


def test_drive_activity_refuses_beyond_a_hundred_queries_a_minute() -> None:
    """Drive Activity: 100 requests a minute and user (one project's experience)."""
    profile = msgspec.structs.replace(PROFILES["relaxed"], activity_per_user_min=2)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        answer = client.post("/_sim/tokens", json={"email": ALICE, "scopes": [ACTIVITY]}).json()
        client.headers["Authorization"] = f"Bearer {answer['access_token']}"
        answers = [client.post("/v2/activity:query", json={}) for _ in range(3)]

    assert [200, 200, 429] == [a.status_code for a in answers]
    assert "RESOURCE_EXHAUSTED" == answers[2].json()["error"]["status"]
