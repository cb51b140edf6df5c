"""Connecting an account over HTTP: the way it goes, and every way it must not go."""

import asyncio
import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

World = Any  # the fixture of conftest.py

DRIVE = "https://www.googleapis.com/auth/drive.readonly"
ACTIVITY = "https://www.googleapis.com/auth/drive.activity.readonly"


async def untouched(world: World) -> bool:
    """Whether nothing was connected and no refresh token kept."""
    rows = await world.rows(
        "select id from auth.connection union all select id from auth.refresh_token"
    )
    return not rows


async def test_a_person_who_consents_has_a_connection(world: World) -> None:
    """A sign-in makes a connection that is announced, and whose tokens can be had."""
    connection = await world.connect()
    (state,) = await world.history(connection)
    assert ("active", 1, "user") == (state.status, state.revision, state.principal_kind)
    assert {DRIVE, ACTIVITY} < set(state.scopes)
    assert await world.token(connection) == world.google.issued[-1]


async def test_google_is_asked_for_everything_that_security_needs(world: World) -> None:
    """The way to Google carries PKCE S256, state, nonce, offline access and a new consent."""
    url, _ = await world.depart(await world.link())
    query = parse_qs(urlsplit(url).query)
    assert ["S256"] == query["code_challenge_method"]
    assert 43 == len(query["code_challenge"][0])
    assert ["offline"] == query["access_type"]
    assert ["consent"] == query["prompt"]
    assert ["true"] == query["include_granted_scopes"]
    assert ["http://127.0.0.1:1/v1/callback"] == query["redirect_uri"]
    assert {"openid", "email", DRIVE, ACTIVITY} == set(query["scope"][0].split())
    assert query["nonce"][0] != query["state"][0]


async def test_the_cookie_is_for_this_browser_and_this_way_only(world: World) -> None:
    """The cookie is HttpOnly and Lax, is sent to the callback alone, and ends with the sign-in."""
    link = await world.link()
    async with world.http.get(
        f"{world.url}/v1/connect", params={"link": link}, allow_redirects=False
    ) as answer:
        (morsel,) = answer.cookies.values()
        url = answer.headers["Location"]
        assert "no-referrer" == answer.headers["Referrer-Policy"]
    assert morsel["httponly"]
    assert "lax" == morsel["samesite"].lower()
    assert "/v1/callback" == morsel["path"]
    assert "600" == morsel["max-age"]
    _, _, answer = await world.arrive(world.google.consent(url), {morsel.key: morsel.value})
    assert "0" == answer.cookies[morsel.key]["max-age"]


async def test_an_https_installation_has_secure_cookies(quiet_world: World) -> None:
    """Where browsers come by https, the cookie never travels without it."""
    await quiet_world.start(public_url="https://drivewake.example.org")
    async with quiet_world.http.get(
        f"{quiet_world.url}/v1/connect",
        params={"link": await quiet_world.link()},
        allow_redirects=False,
    ) as answer:
        (morsel,) = answer.cookies.values()
    assert morsel["secure"]


@pytest.mark.parametrize("state", ["", "x", "a.b", "é", "a" * 5000, "%00", "../..", "a.b.c.d"])
async def test_a_foreign_state_is_refused(world: World, state: str) -> None:
    """What we did not sign goes no further: Google is never asked."""
    url, cookies = await world.depart(await world.link())
    status, page, _ = await world.arrive(world.google.consent(url) | {"state": state}, cookies)
    assert 400 == status
    assert "cannot be finished" in page
    assert [] == world.google.forms


async def test_a_missing_state_is_refused(world: World) -> None:
    """A callback without state is nobody's."""
    url, cookies = await world.depart(await world.link())
    query = world.google.consent(url)
    del query["state"]
    assert 400 == (await world.arrive(query, cookies))[0]
    assert [] == world.google.forms


async def test_a_changed_state_is_refused(world: World) -> None:
    """Any other signature, or the signature of a link, does not hold for a state."""
    link = await world.link()
    url, cookies = await world.depart(link)
    query = world.google.consent(url)
    flipped = query["state"][:-1] + ("A" if query["state"][-1] != "A" else "B")
    for state in (flipped, link):
        assert 400 == (await world.arrive(query | {"state": state}, cookies))[0]
    assert [] == world.google.forms


async def test_a_state_works_once(world: World) -> None:
    """The second use of a state is refused, with a fresh code too."""
    url, cookies = await world.depart(await world.link())
    assert 303 == (await world.arrive(world.google.consent(url), cookies))[0]
    assert 400 == (await world.arrive(world.google.consent(url), cookies))[0]
    assert 1 == len(world.google.forms)


async def test_racing_callbacks_of_one_state_connect_once(world: World) -> None:
    """Of twenty identical callbacks at once, one connects."""
    url, cookies = await world.depart(await world.link())
    query = world.google.consent(url)
    answers = await asyncio.gather(*(world.arrive(query, cookies) for _ in range(20)))
    assert [303] + [400] * 19 == sorted(status for status, _, _ in answers)
    assert 1 == len(world.google.forms)


async def test_an_expired_state_is_refused(world: World) -> None:
    """Who comes back after ten minutes starts again."""
    url, cookies = await world.depart(await world.link())
    await world.rows("update auth.sign_in set expires_at = now()")
    assert 400 == (await world.arrive(world.google.consent(url), cookies))[0]
    assert [] == world.google.forms


async def test_another_browser_cannot_finish_nor_spoil_a_sign_in(world: World) -> None:
    """Without the cookie, or with another's, nothing happens; the right browser still can."""
    url, cookies = await world.depart(await world.link())
    _, others = await world.depart(await world.link())
    query = world.google.consent(url)
    (name,) = cookies
    (other,) = others.values()
    for wrong in ({}, others, {name: other}, {name: ""}):
        assert 400 == (await world.arrive(query, wrong))[0]
    assert [] == world.google.forms
    assert 303 == (await world.arrive(query, cookies))[0]


async def test_a_cookie_that_was_planted_before_is_not_taken_over(world: World) -> None:
    """Each trip has its own new cookie, whatever the browser sends."""
    link = await world.link()
    _, first = await world.depart(link)
    header = "; ".join(f"{name}=planted" for name in first)
    async with world.http.get(
        f"{world.url}/v1/connect",
        params={"link": link},
        headers={"Cookie": header},
        allow_redirects=False,
    ) as answer:
        values = [morsel.value for morsel in answer.cookies.values()]
    assert 1 == len(values)
    assert values[0] not in {"planted", *first.values()}


async def test_a_code_of_another_sign_in_is_refused(world: World) -> None:
    """A stolen code does not fit the verifier behind this state (PKCE): no row."""
    stolen = world.google.consent((await world.depart(await world.link()))[0])["code"]
    url, cookies = await world.depart(await world.link())
    status, _, _ = await world.arrive(world.google.consent(url) | {"code": stolen}, cookies)
    assert 400 == status
    assert await untouched(world)


async def test_a_replayed_code_is_refused(world: World) -> None:
    """A code that was used already connects nothing."""
    url, cookies = await world.depart(await world.link())
    used = world.google.consent(url)
    assert 303 == (await world.arrive(used, cookies))[0]
    url, cookies = await world.depart(await world.link())
    query = world.google.consent(url) | {"code": used["code"]}
    assert 400 == (await world.arrive(query, cookies))[0]


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://accounts.evil.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": None},
        {"azp": "another-client"},
        {"sub": None},
        {"sub": ""},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 9_999_999_999},
    ],
    ids=str,
)
async def test_an_id_token_that_proves_nothing_is_refused(
    world: World, claims: dict[str, Any]
) -> None:
    """Wrong nonce, issuer, audience, subject or time: 400, and no row."""
    world.google.claims = claims
    status, page = await world.sign_in()
    assert 400 == status
    assert "cannot be finished" in page
    assert await untouched(world)


async def test_a_clock_nine_minutes_off_is_no_obstacle(world: World) -> None:
    """Machines' clocks differ: what Google signed nine minutes ahead of us is taken."""
    now, skew = dt.datetime.now(dt.UTC), dt.timedelta(minutes=9)
    world.google.claims = {"iat": now + skew, "nbf": now + skew}
    assert 303 == (await world.sign_in())[0]


async def test_an_answer_in_another_issuers_name_is_refused(world: World) -> None:
    """A callback that names another issuer (RFC 9207) is not exchanged at Google."""
    url, cookies = await world.depart(await world.link())
    query = world.google.consent(url) | {"iss": "https://evil.example"}
    assert 400 == (await world.arrive(query, cookies))[0]
    assert [] == world.google.forms


@pytest.mark.parametrize("target", ["//evil.example", "\\evil.example", "https:evil.example"])
async def test_nobody_chooses_where_a_sign_in_ends(world: World, target: str) -> None:
    """Whatever a link or an answer asks for, the last page is ours."""
    params = {"link": await world.link(), "return_to": target, "next": target}
    async with world.http.get(
        f"{world.url}/v1/connect", params=params, allow_redirects=False
    ) as left:
        cookies = {name: morsel.value for name, morsel in left.cookies.items()}
        url = left.headers["Location"]
    query = world.google.consent(url) | {"return_to": target, "redirect_uri": target}
    _, _, answer = await world.arrive(query, cookies)
    assert "/v1/connected" == answer.headers["Location"]
    async with world.http.get(f"{world.url}/v1/connected") as page:
        assert "Google Drive is connected" in await page.text()


async def test_hostile_error_text_is_not_shown(world: World) -> None:
    """An error that is no error code stays out of the page; nothing in it can run."""
    url, cookies = await world.depart(await world.link())
    query = {"state": world.google.consent(url)["state"], "error": "<script>alert(1)</script>"}
    status, page, answer = await world.arrive(query, cookies)
    assert 400 == status
    assert "script" not in page
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_who_cancels_is_told_so_and_may_try_again(world: World) -> None:
    """Saying no at Google is no error; the link still connects afterwards."""
    link = await world.link()
    url, cookies = await world.depart(link)
    query = {"state": world.google.consent(url)["state"], "error": "access_denied"}
    status, page, _ = await world.arrive(query, cookies)
    assert 200 == status
    assert "Nothing was connected" in page
    url, cookies = await world.depart(link)
    assert 303 == (await world.arrive(world.google.consent(url), cookies))[0]


async def test_an_administrators_refusal_is_explained(world: World) -> None:
    """The page says that an administrator of the organisation must act."""
    url, cookies = await world.depart(await world.link())
    query = {"state": world.google.consent(url)["state"], "error": "admin_policy_enforced"}
    status, page, _ = await world.arrive(query, cookies)
    assert 403 == status
    assert "administrator" in page


async def test_fewer_scopes_are_refused_and_the_grant_is_handed_back(world: World) -> None:
    """A box left unticked connects nothing, names what is missing, and revokes at Google."""
    world.google.scope = f"openid {DRIVE}"
    status, page = await world.sign_in()
    assert 400 == status
    assert ACTIVITY in page
    assert DRIVE not in page
    assert await untouched(world)
    assert 1 == len(world.google.revoked)
    assert {} == world.google.refresh_tokens


async def test_fewer_scopes_do_not_end_a_connection_that_lives(world: World) -> None:
    """Google would end all grants of the principal: one that a connection needs is left alone."""
    connection = await world.connect()
    world.google.scope = f"openid {DRIVE}"
    assert 400 == (await world.sign_in())[0]
    assert [] == world.google.revoked
    world.google.scope = f"openid {DRIVE} {ACTIVITY}"
    await world.token(connection)


async def test_a_wider_scope_covers_a_narrower_one(world: World) -> None:
    """Who granted all of Drive granted reading it."""
    world.google.scope = f"openid https://www.googleapis.com/auth/drive {ACTIVITY}"
    assert 303 == (await world.sign_in())[0]


async def test_the_same_account_in_another_tenant_is_another_connection(world: World) -> None:
    """Tenants do not share connections, though the person is the same."""
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    first, second = await world.connect(), await world.connect("other")
    assert first != second
    assert "unknown_connection" == await world.refused(first, tenant="other")


async def test_the_same_address_with_another_subject_is_another_person(world: World) -> None:
    """Addresses are given to new people: only Google's id of the account counts."""
    world.google.claims = {"email": "info@example.com"}
    first = await world.connect()
    world.google.subject = "2002"
    assert first != await world.connect()


async def test_who_comes_back_keeps_connection_and_history(world: World) -> None:
    """A second consent is a new revision of the same connection, with the new grant."""
    first = await world.connect()
    before = set(world.google.refresh_tokens)
    assert first == await world.connect()
    assert [1, 2] == [state.revision for state in await world.history(first)]
    await world.token(first)
    (after,) = set(world.google.refresh_tokens) - before
    assert after == world.google.forms[-1]["refresh_token"]


async def test_racing_sign_ins_of_one_principal_make_one_connection(world: World) -> None:
    """Ten tabs finish at once: one connection, ten revisions in order."""
    answers = await asyncio.gather(*(world.sign_in() for _ in range(10)))
    assert {303} == {status for status, _ in answers}
    row = await world.one("select id, revision from auth.connection")
    assert 10 == row["revision"]
    await world.published(row["id"], 10)
    assert list(range(1, 11)) == [s.revision for s in await world.history(row["id"])]


async def test_a_link_connects_one_account(world: World) -> None:
    """Once it has connected somebody, a link is over, also for who had opened it before."""
    link = await world.link()
    (url, cookies), (late_url, late_cookies) = await world.depart(link), await world.depart(link)
    assert 303 == (await world.arrive(world.google.consent(url), cookies))[0]
    world.google.subject = "2002"
    status, page, _ = await world.arrive(world.google.consent(late_url), late_cookies)
    assert 400 == status
    assert "used already" in page
    assert 1 == len(await world.rows("select id from auth.connection"))
    async with world.http.get(f"{world.url}/v1/connect", params={"link": link}) as answer:
        assert 400 == answer.status


@pytest.mark.parametrize("link", ["x", "a.b", "é" * 10, "a" * 9000])
async def test_a_forged_link_leads_nowhere(world: World, link: str) -> None:
    """Only links that we signed lead to Google."""
    async with world.http.get(
        f"{world.url}/v1/connect", params={"link": link}, allow_redirects=False
    ) as answer:
        assert 400 == answer.status


async def test_an_expired_link_leads_nowhere(world: World) -> None:
    """A link lasts 15 minutes."""
    link = await world.link()
    await world.rows("update auth.link set expires_at = now()")
    async with world.http.get(f"{world.url}/v1/connect", params={"link": link}) as answer:
        assert 400 == answer.status
        assert "ask for a new one" in await answer.text()


async def test_a_link_cannot_be_opened_without_end(world: World) -> None:
    """Each opening costs a row: after twenty it is enough."""
    link = await world.link()
    for _ in range(20):
        await world.depart(link)
    async with world.http.get(f"{world.url}/v1/connect", params={"link": link}) as answer:
        assert 400 == answer.status


async def test_without_a_link_nobody_is_sent_to_google(world: World) -> None:
    """Connecting to a tenant needs a link that one of its operators asked for."""
    async with world.http.get(
        f"{world.url}/v1/connect", params={"tenant": "default"}, allow_redirects=False
    ) as answer:
        assert 400 == answer.status


async def test_another_account_cannot_take_over_a_connection(world: World) -> None:
    """Reauthorising with a different account changes nothing and hands that grant back."""
    connection = await world.connect()
    world.google.subject = "2002"
    status, page = await world.sign_in(reauthorize=connection)
    assert 400 == status
    assert "another account" in page
    assert {"1001"} == set(world.google.refresh_tokens.values())
    assert 1 == len(await world.rows("select id from auth.connection"))
    world.google.subject = "1001"
    assert 303 == (await world.sign_in(reauthorize=connection))[0]
    assert 2 == (await world.published(connection, 2)).revision


async def test_a_consent_without_lasting_access_is_explained(world: World) -> None:
    """Without a refresh token nothing is connected, and the page says what to do."""
    world.google.gives_refresh_token = False
    status, page = await world.sign_in()
    assert 400 == status
    assert "myaccount.google.com" in page
    assert await untouched(world)


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (503, b"<html>"),
        (429, b"{}"),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"access_token": "a", "expires_in": -5}'),
        (200, b'{"access_token": 5, "expires_in": 5}'),
        (200, b'{"access_token": "a\\r\\nX: y", "expires_in": 5}'),
        (200, b"[" * 10_000),
        (200, b'{"access_token": "' + b"a" * 200_000 + b'", "expires_in": 5}'),
        (302, b""),
    ],
    ids=lambda answer: f"{answer[0]}-{answer[1][:20]!r}",
)
async def test_a_google_that_makes_no_sense_is_waited_for(
    world: World, answer: tuple[int, bytes]
) -> None:
    """Errors and garbage from the token endpoint end in a page that says: later."""
    world.google.answer_token = answer
    status, page = await world.sign_in()
    assert 503 == status
    assert "Google did not answer" in page
    assert await untouched(world)


async def test_a_wrong_client_secret_is_the_operators_problem(quiet_world: World) -> None:
    """The page names Google's word, and that the person can do nothing."""
    await quiet_world.start(google_client_secret="not-the-one-that-google-knows")
    status, page = await quiet_world.sign_in()
    assert 502 == status
    assert "invalid_client" in page


async def test_an_account_that_is_being_ended_cannot_come_back_yet(quiet_world: World) -> None:
    """Until the revocation is done, a new grant would be killed with the old one."""
    await quiet_world.start(auth_revoke_grace_s=300)
    connection = await quiet_world.connect()
    await quiet_world.api("POST", f"/v1/connections/{connection}/revoke")
    status, page = await quiet_world.sign_in()
    assert 409 == status
    assert "being ended" in page


async def test_a_callback_with_everything_twice_is_a_page_not_a_crash(world: World) -> None:
    """Duplicated and odd parameters are answered with the page that starts again."""
    url, _ = await world.depart(await world.link())
    state = world.google.consent(url)["state"]
    for query in (f"state={state}&state=x&code=a&code=b", "state[]=1", "%ff=%fe", "code=%00"):
        async with world.http.get(f"{world.url}/v1/callback?{query}") as answer:
            assert 400 == answer.status
            assert "cannot be finished" in await answer.text()
