"""The console: usable by keyboard in a real browser, and of no use to other sites' forms."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from chromium import chromium

from drivewake.lab.servers import free_port

World = Any  # the fixture of conftest.py


@pytest.fixture
async def console_world(quiet_world: World) -> World:
    """A running auth whose console is set up, at the address that browsers use."""
    port = free_port()
    await quiet_world.start(
        http_port=port,
        public_url=f"http://127.0.0.1:{port}",
        oidc_client_id="drivewake-console",
        oidc_client_secret=quiet_world.issuer.client_secret,
    )
    return quiet_world


async def sign_in(world: World, who: str = "ada") -> dict[str, str]:
    """Sign in without a browser; return the session's cookie."""
    async with world.http.get(f"{world.url}/console/login", allow_redirects=False) as left:
        cookies = {name: morsel.value for name, morsel in left.cookies.items()}
        place = left.headers["Location"]
    async with world.http.post(place, data={"who": who}, allow_redirects=False) as chosen:
        back = chosen.headers["Location"]
    async with world.http.get(back, cookies=cookies, allow_redirects=False) as arrived:
        assert 303 == arrived.status, await arrived.text()
        return {
            name: morsel.value
            for name, morsel in arrived.cookies.items()
            if morsel["max-age"] != "0"
        }


async def page(world: World, path: str, cookies: dict[str, str]) -> tuple[int, str]:
    """Return a page of the console."""
    async with world.http.get(
        f"{world.url}{path}", cookies=cookies, allow_redirects=False
    ) as answer:
        return answer.status, await answer.text()


async def send(
    world: World, path: str, cookies: dict[str, str], fields: dict[str, str], **headers: str
) -> int:
    """Send a form; return the answer's status."""
    async with world.http.post(
        f"{world.url}{path}", cookies=cookies, data=fields, headers=headers, allow_redirects=False
    ) as answer:
        return int(answer.status)


def word_of(text: str) -> str:
    """Return what forms of a page bring."""
    found = re.search(r'name="form" value="([^"]+)"', text)
    assert found
    return found[1]


async def test_an_admin_does_everything_by_keyboard(console_world: World, tmp_path: Path) -> None:
    """Sign in, see the list, get a link, revoke: Tab and Enter lead everywhere, in a browser."""
    world = console_world
    async with chromium() as browser:
        await browser.resize(1100, 700)
        await browser.open(f"{world.url}/console")
        await browser.until_text("Sign in")
        await browser.tab_to("Sign in")
        await browser.press("Enter")
        await browser.until_text("Who do you want to be?")
        await browser.tab_to("ada")
        await browser.press("Enter")
        await browser.until_text("No account is connected yet.")
        connection = await world.connect()
        await browser.tab_to("Connect an account")
        await browser.press("Enter")
        await browser.until_text("within 15 minutes")
        link = await browser.ask("document.querySelector('input.link').value")
        assert link.startswith(f"{world.url}/v1/connect?link=")
        await browser.tab_to("Back")
        await browser.press("Enter")
        await browser.until_text("person-1001@example.com")
        await browser.picture(tmp_path / "console.png")
        await browser.resize(390, 700)
        assert await browser.ask("document.documentElement.scrollWidth <= innerWidth")
        await browser.picture(tmp_path / "narrow.png")
        await browser.resize(1100, 700)
        await browser.tab_to("Revoke person-1001@example.com")
        await browser.press("Enter")
        await browser.until_text("Google is told that the grant ends")
        await browser.tab_to("Revoke it")
        await browser.press("Enter")
        await browser.until_text("The connection is being ended.")
        await world.until_status(connection, "revoked")
        await browser.open(f"{world.url}/console")
        await browser.until_text("revoked")
        # Nothing was loaded from anywhere, and nothing was refused by the page's own policy.
        loaded = await browser.ask("performance.getEntriesByType('resource').length")
        assert 0 == loaded
        await browser.tab_to("Sign out")
        await browser.press("Enter")
        await browser.until_text("Sign in to see")
    who = {row["who"] for row in await world.rows("select distinct who from auth.audit")}
    assert "caller:ada" in who


async def test_a_form_that_is_not_ours_changes_nothing(console_world: World) -> None:
    """Without the session's word, from another origin, or by GET: refused."""
    world = console_world
    connection = await world.connect()
    cookies = await sign_in(world)
    _, text = await page(world, "/console", cookies)
    word, path = word_of(text), f"/console/connections/{connection}/revoke"
    others = word_of((await page(world, "/console", await sign_in(world)))[1])
    for fields, headers in [
        ({}, {}),
        ({"form": ""}, {}),
        ({"form": others}, {}),
        ({"form": word}, {"Origin": "https://evil.example"}),
        ({"form": word}, {"Origin": "null"}),
        ({"form": word}, {"Sec-Fetch-Site": "cross-site"}),
        ({"form": word}, {"Sec-Fetch-Site": "same-site"}),
    ]:
        assert 403 == await send(world, path, cookies, fields, **headers)
    assert 200 == await send(world, path, {}, {"form": word})  # the page that asks to sign in
    assert 200 == (await page(world, path, cookies))[0]
    assert "active" == (await world.one("select status from auth.connection"))["status"]
    _, audit = await world.api("GET", "/v1/audit?limit=1000")
    refused = [r for r in audit["records"] if r["action"] == "console.refused"]
    assert 7 == sum(record["count"] for record in refused if record["who"] == "caller:ada")
    assert 303 == await send(world, path, cookies, {"form": word}, Origin=world.url)
    await world.until_status(connection, "revoked")


async def test_roles_and_tenants_hold_in_the_console_too(console_world: World) -> None:
    """A reader sees no actions and can do none; another tenant's connections are not there."""
    world = console_world
    connection = await world.connect()
    rita = await sign_in(world, "rita")
    _, text = await page(world, "/console", rita)
    assert "person-1001@example.com" in text
    assert "Revoke" not in text
    fields = {"form": word_of(text), "tenant": "default"}
    assert 403 == await send(world, "/console/connect", rita, fields)
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "<b>Other</b>"})
    await world.rows("update auth.connection set tenant = 'other', label = null, label_key = null")
    otto = await sign_in(world, "otto")
    _, text = await page(world, "/console", otto)
    assert "No account is connected yet." in text
    assert "Other" not in text
    assert 404 == (await page(world, f"/console/connections/{connection}/revoke", otto))[0]
    path = f"/console/connections/{connection}/revoke"
    assert 404 == await send(world, path, otto, {"form": word_of(text)})
    assert "&lt;b&gt;Other" in (await page(world, "/console", await sign_in(world)))[1]


async def test_a_sign_in_cannot_be_forged_or_finished_elsewhere(console_world: World) -> None:
    """Another state, no cookie, a used code, a changed cookie: nobody is in."""
    world = console_world
    async with world.http.get(f"{world.url}/console/login", allow_redirects=False) as left:
        (morsel,) = left.cookies.values()
        place = left.headers["Location"]
    query = parse_qs(urlsplit(place).query)
    assert ["S256"] == query["code_challenge_method"]
    assert morsel["httponly"]
    assert "lax" == morsel["samesite"].lower()
    async with world.http.post(place, data={"who": "ada"}, allow_redirects=False) as chosen:
        back = chosen.headers["Location"].removeprefix(world.url)
    good = {morsel.key: morsel.value}
    assert 400 == (await page(world, back, {}))[0]
    assert 400 == (await page(world, back.replace("state=", "state=x"), good))[0]
    assert 400 == (await page(world, back, {morsel.key: morsel.value[:-2] + "00"}))[0]
    assert 303 == (await page(world, back, good))[0]
    assert 400 == (await page(world, back, good))[0]
    for forged in ("", "k1.", "k1.00", "zz.00", "k1." + "0" * 9000, morsel.value):
        status, text = await page(world, "/console", {"drivewake-console": forged})
        assert (200, True) == (status, "Sign in to see" in text)


async def test_without_a_client_the_console_says_what_is_missing(world: World) -> None:
    """A console that was not set up names the settings."""
    status, text = await page(world, "/console/login", {})
    assert 503 == status
    assert "DRIVEWAKE_OIDC_CLIENT_ID" in text
