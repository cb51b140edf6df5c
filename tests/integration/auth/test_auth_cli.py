"""The operator command's verbs about connections, against a running auth."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

World = Any  # the fixture of conftest.py
Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Coroutine[Any, Any, Done]]


@pytest.fixture
def cli(world: World) -> Cli:
    """Run the command to its end, as who runs the installation."""

    async def run(*arguments: str, **variables: str) -> Done:
        env = {
            "PATH": os.environ["PATH"],
            "COLUMNS": "200",
            "DRIVEWAKE_AUTH_URL": world.url,
            "DRIVEWAKE_API_TOKEN": world.issuer.access_token(),
            **variables,
        }
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "drivewake.cli", *arguments],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


async def test_a_connection_is_seen_renewed_and_ended(world: World, cli: Cli) -> None:
    """The verbs do what their paths of the API do."""
    made = await cli("connections", "connect")
    assert (0, True) == (made.returncode, "/v1/connect?link=" in made.stdout), made.stderr
    connection = await world.connect()
    listed = await cli("connections", "list")
    assert connection in listed.stdout
    assert "person-1001@example.com" in listed.stdout
    (only,) = (await cli("connections", "list", "--json")).stdout.splitlines()
    assert connection == json.loads(only)["id"]
    assert "" == (await cli("connections", "list", "--json", "--status", "blocked")).stdout
    assert "/v1/connect?link=" in (await cli("connections", "reauthorize", connection)).stdout
    watched = await cli("connections", "watch-folders", connection, "a", "b")
    assert ["a", "b"] == json.loads(watched.stdout)["watched_folders"]
    ended = await cli("connections", "revoke", connection, "--yes")
    assert "revoking\n" == ended.stdout
    shown = json.loads((await cli("connections", "show", connection)).stdout)
    assert shown["status"] in {"revoking", "revoked"}


async def test_failures_are_one_line(world: World, cli: Cli) -> None:
    """Misused, unknown, refused and unreachable: what is wrong, an exit code, no secret."""
    reader = world.issuer.access_token(roles=["reader"])
    for code, words, variables, arguments in [
        (1, "no such tenant or connection", {}, ("show", "nobody")),
        (1, "needs the role operator", {"DRIVEWAKE_API_TOKEN": reader}, ("connect",)),
        (1, "401", {"DRIVEWAKE_API_TOKEN": "no-token"}, ("list",)),
        (2, "DRIVEWAKE_API_TOKEN: is required", {"DRIVEWAKE_API_TOKEN": ""}, ("list",)),
        (3, "cannot reach auth", {"DRIVEWAKE_AUTH_URL": "http://127.0.0.1:1"}, ("list",)),
    ]:
        done = await cli("connections", *arguments, **variables)
        assert (code, True) == (done.returncode, words in done.stderr), done.stderr
        assert 1 == len(done.stderr.splitlines())
        assert reader not in done.stderr + done.stdout


async def test_the_chain_is_verified_and_a_tampered_line_found(
    world: World, cli: Cli, tmp_path: Path
) -> None:
    """Live, from an export, against a kept head; a changed line or a cut end is named."""
    await world.connect()
    held = json.loads((await cli("audit", "verify", "--json")).stdout)
    assert held["holds"]
    export = tmp_path / "audit.jsonl"
    assert 0 == (await cli("audit", "export", str(export))).returncode
    lines = export.read_text().splitlines()
    assert len(lines) >= held["records"]
    checked = await cli("audit", "verify", "--file", str(export), "--head", held["head"])
    assert 0 == checked.returncode, checked.stderr
    assert "records hold" in checked.stdout
    assert "connection.changed active" in (await cli("audit", "show")).stdout

    export.write_text("\n".join(lines[:1]) + "\n")
    cut = await cli("audit", "verify", "--file", str(export), "--head", held["head"])
    assert (1, True) == (cut.returncode, "ends before it" in cut.stderr), cut.stderr
    changed = lines[1].replace('"who":"', '"who":"x')
    export.write_text("\n".join([lines[0], changed, *lines[2:]]) + "\n")
    done = await cli("audit", "verify", "--file", str(export))
    assert (1, True) == (done.returncode, "record 2: is not as it was written" in done.stderr)
    await world.rows("update auth.audit set why = 'innocent' where number = 2")
    live = await cli("audit", "verify")
    assert (1, True) == (live.returncode, "record 2" in live.stderr), live.stderr
