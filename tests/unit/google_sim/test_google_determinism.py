"""Same seed, same calls, same clock: the same bytes."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from drivewake.lab.google import Options, SimulatedGoogle
from drivewake.lab.google.app import Application
from drivewake.lab.google.faults import Rule
from drivewake.lab.scenarios.organisation import Size, found, settle

START_NS = 1_780_000_000_000_000_000
SIZE = Size(people=8, teams=2, files=20, steps=80, departures=1)
ACTIVITY = "https://www.googleapis.com/auth/drive.activity"
DRIVE = "https://www.googleapis.com/auth/drive"
BATCH = (
    b"--b\r\nContent-Type: application/http\r\nContent-ID: <1>\r\n\r\n"
    b"GET /drive/v3/about?fields=user HTTP/1.1\r\n\r\n\r\n--b--\r\n"
)


class Clock:
    """A clock that goes on by a millisecond whenever somebody looks."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        """Return Unix nanoseconds."""
        self.now_ns += 1_000_000
        return self.now_ns


class Caller:
    """Calls the ASGI application without a server and keeps every byte it answers."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._app = Application(world)
        self.answers: list[tuple[int, list[tuple[bytes, bytes]], bytes]] = []

    async def __call__(
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401 - JSON
        token: str = "",
        kind: str = "application/json",
    ) -> Any:  # noqa: ANN401 - JSON
        """Make a call, with JSON or with bytes of a `kind`; return the JSON of its answer."""
        parts = urlsplit(url)
        headers = [(b"host", b"sim"), (b"content-type", kind.encode())]
        bearer = (b"authorization", f"Bearer {token}".encode())
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [*headers, bearer] if token else headers,
            "client": ("127.0.0.1", 1),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent)
        self.answers.append((sent[0]["status"], sent[0]["headers"], answer))
        return json.loads(answer) if answer.startswith((b"{", b"[")) else None


async def live(seed: int) -> list[tuple[int, list[tuple[bytes, bytes]], bytes]]:
    """Let an organisation live, fail now and then, and be read; return all answers."""
    world = SimulatedGoogle(Options(seed=seed), now_ns=Clock())
    settle(world, found(seed, SIZE))
    world.faults.add(Rule(effect="status", operation="drive.*", share=0.3), world.now_ns())
    world.faults.add(Rule(effect="activity_internal", share=0.3), world.now_ns())
    call = Caller(world)
    email = next(iter(world.state.users))
    body = {"email": email, "scopes": [DRIVE, ACTIVITY, "openid"]}
    token = (await call("POST", "/_sim/tokens", body))["access_token"]
    for _ in range(6):
        await call("GET", "/drive/v3/files?fields=*", token=token)
        await call("GET", "/drive/v3/changes?pageToken=1&pageSize=7&fields=*", token=token)
        await call("POST", "/v2/activity:query", {"pageSize": 9}, token)
        watch = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
        await call("POST", "/drive/v3/changes/watch?pageToken=1", watch, token)
        await call("POST", "/batch/drive/v3", BATCH, token, "multipart/mixed; boundary=b")
    await call("POST", "/_sim/service-accounts", {"name": "robot"})
    await call("GET", "/oauth2/v3/certs")
    await call("GET", f"/_sim/state?principal={email}")
    await call("GET", "/_sim/ledger?types=change,page,fault,grant")
    return call.answers


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Issue: deterministic; status, headers and bodies, keys and chance included."""
    first, second = asyncio.run(live(5)), asyncio.run(live(5))

    assert len(first) == 35
    assert first == second
    assert {200, 503, 500} <= {status for status, _, _ in first}


def test_another_seed_gives_other_bytes() -> None:
    """The comparison above can fail."""
    first, second = asyncio.run(live(5)), asyncio.run(live(6))
    alike = [a for a, b in zip(first, second, strict=True) if a[2] == b[2]]

    assert len(alike) < len(first) / 3


def test_the_signing_key_is_the_seeds_and_a_real_one() -> None:
    """An RSA key of 2048 bits that signs what its public half verifies."""
    one, same, other = (SimulatedGoogle(Options(seed=s)).signing_key() for s in (1, 1, 2))
    token = jwt.encode({"a": 1}, one, "RS256")

    assert 2048 == one.key_size
    assert one.private_numbers() == same.private_numbers() != other.private_numbers()
    assert {"a": 1} == jwt.decode(token, one.public_key(), ["RS256"])
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, other.public_key(), ["RS256"])
