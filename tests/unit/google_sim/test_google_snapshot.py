"""A world that was saved goes on as if it had never stopped."""

import asyncio
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from drivewake.lab.google import Options, SimulatedGoogle
from drivewake.lab.google.app import Application
from drivewake.lab.google.faults import Rule
from drivewake.lab.google.snapshot import ForeignFileError, load, save
from drivewake.lab.scenarios.organisation import Size, found, settle

START_NS = 1_780_000_000_000_000_000
SIZE = Size(people=8, teams=2, files=20, steps=80, departures=1)
MAGIC = b"drivewake-google-sim state 2\n"


def clock() -> Callable[[], int]:
    """Return a clock that stands still."""
    return lambda: START_NS


def lived() -> tuple[SimulatedGoogle, str]:
    """Return a world with a past, a token, a watch, faults and a robot; and the token."""
    world = SimulatedGoogle(Options(seed=5), now_ns=clock())
    settle(world, found(5, SIZE))
    world.faults.add(Rule(effect="status", operation="drive.files.copy", share=0.5), START_NS)
    world.add_service_account("robot", "p")
    client = world.grants.clients[world.options.client_id]
    email = next(iter(world.state.users))
    scopes = ("https://www.googleapis.com/auth/drive",)
    return world, world.grants.issue(client, email, scopes, START_NS).token


async def go_on(world: SimulatedGoogle, token: str) -> list[Any]:
    """Read everything there is, then do more; return what the simulator said."""
    transport = httpx.ASGITransport(app=Application(world))
    bearer = {"authorization": f"Bearer {token}"}
    said: list[Any] = []
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        said += [
            (await client.get("/_sim/state", params={"principal": email})).text
            for email in world.state.users
        ]
        types = "change,push,page,fault,grant,security"
        said.append((await client.get("/_sim/ledger", params={"types": types})).text)
        watch = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
        for method, path, body in (
            ("GET", "/drive/v3/changes?pageToken=1&fields=*", None),
            ("POST", "/drive/v3/changes/watch?pageToken=1", watch),
            ("POST", "/drive/v3/files", {"name": "more"}),
            ("POST", "/_sim/tokens", {"email": next(iter(world.state.users))}),
            ("GET", "/_sim/faults", None),
            ("GET", "/_sim/counters", None),
        ):
            answer = await client.request(method, path, json=body, headers=bearer)
            said.append((answer.status_code, answer.text))
    return said


def test_a_loaded_world_goes_on_as_the_saved_one(tmp_path: Path) -> None:
    """What all people see, logs, ledger, tokens, faults, channels, and every id to come."""
    saved, token = lived()
    asyncio.run(go_on(saved, token))
    save(saved, tmp_path / "world")
    loaded = SimulatedGoogle(Options(seed=5), now_ns=clock())
    load(loaded, tmp_path / "world")
    loaded.quota.spent.update(saved.quota.spent)  # the one thing of these that is not kept

    then = asyncio.run(go_on(saved, token))

    assert {200, 400} == {answer[0] for answer in then if isinstance(answer, tuple)}
    assert then == asyncio.run(go_on(loaded, token))
    assert ["c"] == list(loaded.push.channels)
    assert list(saved.service_accounts.accounts) == list(loaded.service_accounts.accounts)


def test_a_deep_world_is_saved_too(tmp_path: Path) -> None:
    """Two thousand folders in each other are no recursion."""
    world = SimulatedGoogle(Options(users=("a@example.com",)), now_ns=clock())
    user = world.state.user("a@example.com")
    at = user.root
    for number in range(2_000):
        changed = world.state.create(user, str(number), at.id, START_NS)
        at = world.state.files[changed.file_id]

    save(world, tmp_path / "world")
    loaded = SimulatedGoogle(now_ns=clock())
    load(loaded, tmp_path / "world")

    assert "1999" == loaded.state.files[at.id].name
    assert list(world.state.files) == list(loaded.state.files)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds tokens."""
    save(SimulatedGoogle(), tmp_path / "world")

    assert 0o600 == (tmp_path / "world").stat().st_mode & 0o777
    assert ["world"] == [path.name for path in tmp_path.iterdir()]


class Foreign:
    """Would call a function when an unrestricted reader met it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no state of a simulated Google"),
        (b"hello\n", "no state of a simulated Google"),
        (MAGIC + b"0" * 64 + b"\nabc", "is damaged"),
        (
            MAGIC
            + hashlib.sha256(pickle.dumps(Foreign())).hexdigest().encode()
            + b"\n"
            + pickle.dumps(Foreign()),
            "builtins.exec does not belong into a world",
        ),
    ],
)
def test_a_foreign_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    """Clearly, and without executing anything."""
    path = tmp_path / "world"
    path.write_bytes(content)

    with pytest.raises(ForeignFileError, match=said):
        load(SimulatedGoogle(), path)


def test_a_world_of_another_seed_is_refused(tmp_path: Path) -> None:
    """Its signing key would be another."""
    save(SimulatedGoogle(Options(seed=1)), tmp_path / "world")

    with pytest.raises(ForeignFileError, match="seed 1"):
        load(SimulatedGoogle(Options(seed=2)), tmp_path / "world")
