"""Quota over HTTP: what costs what, whose bucket pays, and the words of a refusal."""

from collections.abc import Iterator

import httpx
import msgspec
import pytest

from drivewake.lab.google import PROFILES, Options, RunningGoogle, start_google

ALICE, BOB = "alice@example.com", "bob@example.com"
POOR = msgspec.structs.replace(
    PROFILES["relaxed"], user_units_per_min=600, project_units_per_min=1_000
)


@pytest.fixture
def poor() -> Iterator[RunningGoogle]:
    """A Google with 600 units a minute for a user, 1,000 for a project."""
    with start_google(Options(users=(ALICE, BOB), profile=POOR)) as google:
        yield google


@pytest.fixture
def client(poor: RunningGoogle) -> Iterator[httpx.Client]:
    """A client as Alice."""
    with httpx.Client(base_url=poor.base_url) as client:
        client.headers["Authorization"] = bearer(client, ALICE)
        yield client


def bearer(client: httpx.Client, email: str) -> str:
    """Return the header of a user."""
    answer = client.post("/_sim/tokens", json={"email": email})
    return f"Bearer {answer.json()['access_token']}"


def spent(client: httpx.Client) -> dict[str, int]:
    """Return the units spent by kind."""
    units: dict[str, int] = client.get("/_sim/counters").json()["quotaUnits"]
    return {kind: n for kind, n in units.items() if n}


def reason(answer: httpx.Response) -> tuple[int, str, str]:
    """Return status, reason and domain of a refusal."""
    entry = answer.json()["error"]["errors"][0]
    return answer.status_code, entry["reason"], entry["domain"]


def test_a_user_is_refused_beyond_his_units_and_others_are_not(client: httpx.Client) -> None:
    """Errors: 403 userRateLimitExceeded in usageLimits."""
    statuses = [client.get("/drive/v3/files").status_code for _ in range(6)]
    refused = client.get("/drive/v3/files")
    bob = {"Authorization": bearer(client, BOB)}

    assert [200] * 6 == statuses
    assert (403, "userRateLimitExceeded", "usageLimits") == reason(refused)
    assert 200 == client.get("/drive/v3/files", headers=bob).status_code


def test_a_project_is_refused_beyond_its_units(client: httpx.Client) -> None:
    """Errors: 403 rateLimitExceeded; another project's client still gets through."""
    bob = {"Authorization": bearer(client, BOB)}
    mine: dict[str, str] = {}
    for headers in [mine] * 5 + [bob] * 5:
        assert 200 == client.get("/drive/v3/files", headers=headers).status_code
    refused = client.get("/drive/v3/files", headers=bob)
    body = {"clientId": "other", "clientSecret": "s", "project": "another"}
    client.post("/_sim/clients", json=body)
    answer = client.post("/_sim/tokens", json={"email": BOB, "clientId": "other"}).json()
    other = {"Authorization": f"Bearer {answer['access_token']}"}

    assert (403, "rateLimitExceeded", "usageLimits") == reason(refused)
    assert 200 == client.get("/drive/v3/files", headers=other).status_code


def test_watch_and_stop_cost_and_notifications_do_not(client: httpx.Client) -> None:
    """Watch and push: notifications don't count against quota; watch and stop calls do."""
    body = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
    channel = client.post("/drive/v3/changes/watch", params={"pageToken": "1"}, json=body).json()
    action = {"op": "create_file", "name": "f"}
    for _ in range(5):
        client.post("/_sim/actions", json={"actor": ALICE, "actions": [action]})
    assert {"other": 5} == spent(client)

    wanted = {"id": "c", "resourceId": channel["resourceId"]}
    assert 204 == client.post("/drive/v3/channels/stop", json=wanted).status_code
    assert {"other": 10} == spent(client)


def test_an_empty_page_of_changes_costs_a_whole_list(client: httpx.Client) -> None:
    """Quotas: changes.list costs 100 even when empty."""
    token = client.get("/drive/v3/changes/startPageToken").json()["startPageToken"]
    page = client.get("/drive/v3/changes", params={"pageToken": token}).json()

    assert [] == page["changes"]
    assert {"read": 5, "list": 100} == spent(client)


def test_a_batch_of_n_calls_costs_n_calls(client: httpx.Client) -> None:
    """Files: n calls = n quota; the seventh list is refused inside the batch."""
    part = "--b\r\nContent-Type: application/http\r\n\r\nGET /drive/v3/files HTTP/1.1\r\n\r\n\r\n"
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    answer = client.post("/batch/drive/v3", content=part * 7 + "--b--", headers=headers)

    assert 200 == answer.status_code
    assert {"list": 600} == spent(client)
    assert (6, 1) == (answer.text.count("HTTP/1.1 200"), answer.text.count("HTTP/1.1 403"))


def test_a_429_is_the_same_refusal_with_another_code() -> None:
    """Quotas: 403 or 429 rateLimitExceeded."""
    profile = msgspec.structs.replace(POOR, refusal_code=429, user_units_per_min=50)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        headers = {"Authorization": bearer(client, ALICE)}
        refused = client.get("/drive/v3/files", headers=headers)

    assert (429, "rateLimitExceeded", "usageLimits") == reason(refused)


def test_a_service_account_without_subject_is_one_user(client: httpx.Client) -> None:
    """Quotas: a service account counts as one user, beside those it acts for."""
    key = client.post("/_sim/service-accounts", json={"name": "robot"}).json()
    robot = {"Authorization": bearer(client, key["client_email"])}
    statuses = [client.get("/drive/v3/files", headers=robot).status_code for _ in range(7)]

    assert [200] * 6 + [403] == statuses
    assert 200 == client.get("/drive/v3/files").status_code
