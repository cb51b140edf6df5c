"""Service accounts with domain-wide delegation, against the simulated Google."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from drivewake.auth.errors import ClientRejectedError
from drivewake.auth.google import Endpoints, GoogleHttp
from drivewake.auth.service_accounts import key_of
from drivewake.lab.google import Options, RunningGoogle, start_google

World = Any  # the fixture of conftest.py
ALICE, BOB = "alice@example.com", "bob@example.com"
SCOPES = [
    "https://www.googleapis.com/auth/drive.readonly",
    "https://www.googleapis.com/auth/drive.activity.readonly",
]


@pytest.fixture(scope="module")
def simulated() -> Iterator[RunningGoogle]:
    """A simulated Google with two people."""
    with start_google(Options(users=(ALICE, BOB))) as google:
        yield google


async def sim(google: RunningGoogle, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Do something on the maker's side."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{google.base_url}/_sim/{path}", json=body) as answer,
    ):
        assert 200 == answer.status, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def delegated(google: RunningGoogle, name: str, scopes: list[str]) -> dict[str, Any]:
    """Return the key file of a new service account with delegation."""
    key = await sim(google, "service-accounts", {"name": name})
    wish = {"email": key["client_email"], "domain": "example.com", "scopes": scopes}
    await sim(google, "service-accounts/delegate", wish)
    return key


@pytest.fixture
async def installed(quiet_world: World, simulated: RunningGoogle) -> World:
    """A running auth that asks the simulated Google."""
    await quiet_world.start(google_token_url=f"{simulated.base_url}/token")
    return quiet_world


async def account(world: World, key: dict[str, Any], tenant: str = "default") -> str:
    """Add a service account; return its id."""
    status, made = await world.api("POST", "/v1/service-accounts", {"key": key, "tenant": tenant})
    assert 201 == status, made
    assert key["private_key"] not in json.dumps(made)
    return str(made["id"])


async def connect(world: World, account_id: str, *subjects: str) -> dict[str, Any]:
    """Connect subjects; return the outcomes by subject."""
    status, body = await world.api(
        "POST", f"/v1/service-accounts/{account_id}/connections", {"subjects": list(subjects)}
    )
    assert 200 == status, body
    return {outcome["subject"]: outcome for outcome in body["outcomes"]}


async def who(google: RunningGoogle, token: str) -> str:
    """Ask the simulated Drive whose token this is."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{google.base_url}/drive/v3/about",
            params={"fields": "user"},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer,
    ):
        return str((await answer.json())["user"]["emailAddress"])


async def test_one_connection_a_subject(installed: World, simulated: RunningGoogle) -> None:
    """Each gets tokens of its own person; who is unknown or no address is told by name."""
    world = installed
    robot = await account(world, await delegated(simulated, "robot", SCOPES))
    found = await connect(world, robot, ALICE, " BOB@example.com ", "carol@example.com", "nobody")
    assert "no such account" in found["carol@example.com"]["reason"]
    assert "no address" in found["nobody"]["reason"]
    for person in (ALICE, BOB):
        connection = found[person]["connection"]
        assert person == await who(simulated, await world.token(connection))
        state = await world.published(connection, 1)
        assert ("active", "service_account") == (state.status, state.principal_kind)
    again = await connect(world, robot, ALICE)
    assert found[ALICE]["connection"] == again[ALICE]["connection"]
    _, listed = await world.api("GET", "/v1/service-accounts")
    assert [2] == [one["connections"] for one in listed["service_accounts"]]
    rows = await world.rows("select subject from auth.connection")
    assert not any("@" in row["subject"] for row in rows)


async def test_without_delegation_it_says_what_is_missing(
    installed: World, simulated: RunningGoogle
) -> None:
    """No delegation, or too few scopes: refused with words, and no connection."""
    robot = await account(installed, await delegated(simulated, "narrow", SCOPES[:1]))
    found = await connect(installed, robot, ALICE)
    assert "delegation of these scopes is missing" in found[ALICE]["reason"]
    assert [] == await installed.rows("select from auth.connection")


async def test_a_withdrawn_delegation_blocks_and_comes_back(
    installed: World, simulated: RunningGoogle
) -> None:
    """The connection is blocked while an administrator says no, and connects again after."""
    key = await delegated(simulated, "moody", SCOPES)
    robot = await account(installed, key)
    connection = (await connect(installed, robot, ALICE))[ALICE]["connection"]
    wish = {"email": key["client_email"], "domain": "example.com", "scopes": []}
    await sim(simulated, "service-accounts/delegate", wish)
    assert "not_active" == await installed.refused(connection)
    await installed.until_status(connection, "blocked")
    await sim(simulated, "service-accounts/delegate", {**wish, "scopes": SCOPES})
    assert connection == (await connect(installed, robot, ALICE))[ALICE]["connection"]
    await installed.token(connection)


async def test_a_bad_key_ends_no_connection_and_a_new_one_heals(
    installed: World, simulated: RunningGoogle
) -> None:
    """A key that Google does not know is an operator's trouble, not every person's."""
    world, key = installed, await delegated(simulated, "worn", SCOPES)
    robot = await account(world, key)
    connection = (await connect(world, robot, ALICE))[ALICE]["connection"]
    other = await delegated(simulated, "other", SCOPES)
    await account(world, {**key, "private_key": other["private_key"]})
    reply = await world.ask(connection)
    assert ("google_unavailable", True) == (reply.code, reply.retry)
    assert "active" == (await world.one("select status from auth.connection"))["status"]
    assert robot == await account(world, key)

    async def healed() -> bool:
        return type(await world.ask(connection)).__name__ == "TokenReply"

    await world.until(healed)


async def test_ending_it_deletes_the_delegation(installed: World, simulated: RunningGoogle) -> None:
    """Google is told nothing (it knows no grant), tokens stop, the address can come back."""
    world = installed
    robot = await account(world, await delegated(simulated, "brief", SCOPES))
    connection = (await connect(world, robot, ALICE))[ALICE]["connection"]
    await world.api("POST", f"/v1/connections/{connection}/revoke")
    await world.until_status(connection, "revoked")
    assert [] == await world.rows("select from auth.delegation")
    assert "not_active" == await world.refused(connection)
    assert 400 == (await world.api("POST", f"/v1/connections/{connection}/reauthorize"))[0]
    assert connection == (await connect(world, robot, ALICE))[ALICE]["connection"]


async def test_service_accounts_are_their_tenants(
    installed: World, simulated: RunningGoogle
) -> None:
    """Another tenant's caller neither sees nor uses them; roles hold."""
    world = installed
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    key = await delegated(simulated, "walled", SCOPES)
    robot = await account(world, key)
    token = world.issuer.access_token(tenant="other")
    path, body = f"/v1/service-accounts/{robot}/connections", {"subjects": [ALICE]}
    assert 404 == (await world.api("POST", path, body, token))[0]
    new = {"key": key, "tenant": "default"}
    assert 404 == (await world.api("POST", "/v1/service-accounts", new, token))[0]
    assert (
        [] == (await world.api("GET", "/v1/service-accounts", None, token))[1]["service_accounts"]
    )
    operator = world.issuer.access_token(roles=["operator"])
    assert 403 == (await world.api("POST", "/v1/service-accounts", new, operator))[0]
    assert 200 == (await world.api("POST", path, body, operator))[0]


async def test_a_file_that_is_no_key_is_refused(installed: World, simulated: RunningGoogle) -> None:
    """400, and nothing of the file in the answer."""
    key = await sim(simulated, "service-accounts", {"name": "broken"})
    for change in (
        {"type": "authorized_user"},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"private_key": None},
        {"client_email": "nobody"},
        {"client_email": {"a": 1}},
        {"private_key_id": ""},
    ):
        status, body = await installed.api("POST", "/v1/service-accounts", {"key": key | change})
        assert (400, 400) == (status, body["status"]), change
        assert "BEGIN" not in json.dumps(body)


async def test_a_clock_ten_minutes_off_is_seen_and_made_good(simulated: RunningGoogle) -> None:
    """Google refuses an assertion of another time; its own clock is used, and it is asked again."""
    key = key_of(await delegated(simulated, "skewed", SCOPES))

    def ahead(skew_s: float) -> Callable[[], float]:
        return lambda: time.time() + skew_s

    for skew_s in (-600, 600):
        google = GoogleHttp(
            _endpoints(simulated),
            client_id="c",
            client_secret=SecretStr("s"),
            redirect_uri="",
            now_s=ahead(skew_s),
        )
        await google.open()
        tokens = await google.delegated(key, SecretStr(ALICE), SCOPES)
        assert ALICE == await who(simulated, tokens.access_token.get_secret_value())
        await google.close()


def _endpoints(google: RunningGoogle) -> Endpoints:
    token_url = f"{google.base_url}/token"
    return Endpoints(
        authorization_url="", token_url=token_url, revoke_url="", jwks_url="", issuer=""
    )


async def test_a_refused_assertion_repeats_no_address(simulated: RunningGoogle) -> None:
    """What Google writes about a key stays with Google."""
    key = key_of(await sim(simulated, "service-accounts", {"name": "gone"}))
    stranger = type(key)(
        email="gone@elsewhere.example",
        client_id=key.client_id,
        key_id=key.key_id,
        private_key=key.private_key,
    )
    google = GoogleHttp(
        _endpoints(simulated), client_id="c", client_secret=SecretStr("s"), redirect_uri=""
    )
    await google.open()
    with pytest.raises(ClientRejectedError) as caught:
        await google.delegated(stranger, SecretStr(ALICE), SCOPES)
    await google.close()
    assert "@" not in str(caught.value)


async def test_the_command_adds_and_imports(
    installed: World, simulated: RunningGoogle, tmp_path: Path
) -> None:
    """A key file, then a list of people: who cannot be connected is named, with exit code 1."""
    file, people = tmp_path / "key.json", tmp_path / "people.txt"
    file.write_text(json.dumps(await delegated(simulated, "imported", SCOPES)))
    people.write_text(f"# staff\n{ALICE}\n\n{BOB}\ncarol@example.com\n")

    async def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "DRIVEWAKE_AUTH_URL": installed.url,
            "DRIVEWAKE_API_TOKEN": installed.issuer.access_token(),
        }
        command = [sys.executable, "-m", "drivewake.cli", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    added = await cli("auth", "add-service-account", str(file))
    assert 0 == added.returncode, added.stderr
    robot = json.loads(added.stdout)["id"]
    done = await cli("connections", "import", str(people), "--service-account", robot)
    assert (1, "2 of 3 are connected\n") == (done.returncode, done.stdout)
    assert "carol@example.com: there is no such account" in done.stderr
