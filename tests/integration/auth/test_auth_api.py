"""The HTTP API: what operators can do, and what nobody else can."""

import json
from pathlib import Path
from typing import Any

import pytest

from drivewake.auth.app import openapi_document

World = Any  # the fixture of conftest.py
DOCUMENT = Path(__file__).parents[3] / "services" / "auth" / "openapi.json"
PATHS = [
    ("GET", "/v1/tenants"),
    ("POST", "/v1/tenants"),
    ("GET", "/v1/connections"),
    ("POST", "/v1/connections"),
    ("GET", "/v1/connections/x"),
    ("POST", "/v1/connections/x/reauthorize"),
    ("POST", "/v1/connections/x/revoke"),
    ("PUT", "/v1/connections/x/watched-folders"),
    ("GET", "/v1/service-accounts"),
    ("POST", "/v1/service-accounts"),
    ("POST", "/v1/service-accounts/x/connections"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys/rotate"),
]


def test_the_openapi_document_is_current() -> None:
    """The committed document says what the code does (`python -m drivewake.auth openapi`)."""
    assert DOCUMENT.read_text() == openapi_document()


def test_every_operators_path_is_documented_as_needing_a_token() -> None:
    """The document names the bearer token wherever it is asked for."""
    paths = json.loads(openapi_document())["paths"]
    secured = {
        (method.upper(), path.replace("{connection}", "x").replace("{account}", "x"))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    assert set(PATHS) == secured


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", "bearer\ttoken", "é"]
)
async def test_nobody_gets_in_without_the_token(
    shared_world: World, method: str, path: str, header: str | None
) -> None:
    """Every operator's path answers 401 as a problem, and tells nothing else."""
    headers = {} if header is None else {"Authorization": header}
    async with shared_world.http.request(
        method, f"{shared_world.url}{path}", headers=headers
    ) as answer:
        assert 401 == answer.status
        assert "application/problem+json" == answer.content_type
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        body = await answer.json(content_type=None)
    assert 401 == body["status"]


async def test_two_authorization_headers_are_none(shared_world: World) -> None:
    """With the right token in one of two headers, nobody can say which one counts."""
    headers = [
        ("Authorization", "Bearer wrong"),
        ("Authorization", f"Bearer {shared_world.issuer.access_token()}"),
    ]
    async with shared_world.http.get(f"{shared_world.url}/v1/tenants", headers=headers) as answer:
        assert 401 == answer.status


async def test_tenants_are_made_and_listed(world: World) -> None:
    """`default` is there from the start; a new one appears beside it, once."""
    assert 201 == (await world.api("POST", "/v1/tenants", {"id": "acme", "name": " Acme "}))[0]
    assert 409 == (await world.api("POST", "/v1/tenants", {"id": "acme", "name": "Other"}))[0]
    status, body = await world.api("GET", "/v1/tenants")
    assert 200 == status
    assert [("acme", "Acme"), ("default", "Default")] == [
        (tenant["id"], tenant["name"]) for tenant in body["tenants"]
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"id": "*", "name": "x"},
        {"id": ">", "name": "x"},
        {"id": "a.b", "name": "x"},
        {"id": "", "name": "x"},
        {"id": "a b", "name": "x"},
        {"id": "x" * 65, "name": "x"},
        {"id": "é", "name": "x"},
        {"id": "fine", "name": "  "},
        {"id": "fine", "name": "a\x00b"},
        {"id": "fine", "name": "x" * 201},
        {"id": "fine", "name": "x", "more": 1},
        {"id": "fine"},
        {"id": 1, "name": "x"},
        [],
        "x",
        None,
    ],
    ids=str,
)
async def test_hostile_tenants_are_refused(shared_world: World, body: object) -> None:
    """Ids that mean something in subjects, and bodies of another shape, are 400."""
    status, answer = await shared_world.api("POST", "/v1/tenants", body)
    assert 400 == status
    assert 400 == answer["status"]
    _, tenants = await shared_world.api("GET", "/v1/tenants")
    assert ["default"] == [tenant["id"] for tenant in tenants["tenants"]]


async def test_connections_are_shown(world: World) -> None:
    """A list by tenant, one by id, with the account's address and no secret."""
    connection = await world.connect()
    status, shown = await world.api("GET", f"/v1/connections/{connection}")
    assert 200 == status
    assert "person-1001@example.com" == shown["account"]
    assert ("active", 1, "default") == (shown["status"], shown["revision"], shown["tenant"])
    assert [shown] == (await world.api("GET", "/v1/connections?tenant=default"))[1]["connections"]
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    assert [] == (await world.api("GET", "/v1/connections?tenant=other"))[1]["connections"]


async def test_a_long_list_comes_in_pages(world: World) -> None:
    """Following `next` gives every connection once."""
    made = set()
    for number in range(5):
        world.google.subject = str(number)
        made.add(await world.connect())
    seen: list[str] = []
    after = ""
    while True:
        _, page = await world.api("GET", f"/v1/connections?limit=2&after={after}")
        seen += [connection["id"] for connection in page["connections"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(made) == seen


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=-1", "after=%00", f"after={'x' * 65}"]
)
async def test_a_bad_page_is_refused(shared_world: World, query: str) -> None:
    """Limits are limits."""
    status, body = await shared_world.api("GET", f"/v1/connections?{query}")
    assert (400, 400) == (status, body["status"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/connections/nobody", None),
        ("POST", "/v1/connections/nobody/revoke", None),
        ("POST", "/v1/connections/nobody/reauthorize", None),
        ("PUT", "/v1/connections/nobody/watched-folders", {"folders": []}),
        ("POST", "/v1/connections", {"tenant": "nobody"}),
        ("GET", "/v1/connections?tenant=nobody", None),
        ("GET", "/v1/connections/%00", None),
        ("GET", "/v1/nothing", None),
    ],
)
async def test_what_is_not_there_is_404(
    shared_world: World, method: str, path: str, body: object
) -> None:
    """Unknown tenants, connections and paths are problems, not crashes."""
    status, answer = await shared_world.api(method, path, body)
    assert (404, 404) == (status, answer["status"])


async def test_watched_folders_are_announced(world: World) -> None:
    """Choosing folders is a new revision; choosing the same ones again is none."""
    connection = await world.connect()
    path = f"/v1/connections/{connection}/watched-folders"
    for _ in range(2):
        status, shown = await world.api("PUT", path, {"folders": ["b", "a", "b"]})
        assert 200 == status
        assert ["a", "b"] == shown["watched_folders"]
    state = await world.published(connection, 2)
    assert ("a", "b") == state.watched_folders
    assert 400 == (await world.api("PUT", path, {"folders": ["a/b"]}))[0]
    assert 400 == (await world.api("PUT", path, {"folders": [str(n) for n in range(101)]}))[0]


async def test_a_huge_body_is_refused(shared_world: World) -> None:
    """A body over 64 KiB is 413."""
    status, _ = await shared_world.api("POST", "/v1/tenants", {"id": "x", "name": "x" * 70_000})
    assert 413 == status


async def test_the_service_says_how_it_is(shared_world: World) -> None:
    """Alive and ready, with nothing secret among its metrics."""
    for path in ("/healthz", "/readyz", "/metrics"):
        async with shared_world.http.get(f"{shared_world.url}{path}") as answer:
            assert 200 == answer.status, await answer.text()
            assert shared_world.google.client_secret not in await answer.text()
