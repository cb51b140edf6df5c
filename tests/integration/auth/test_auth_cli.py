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


async def test_a_connection_is_seen_watched_and_ended(world: World, cli: Cli) -> None:
    """The verbs do what their paths of the API do."""
    made = await cli("connections", "connect")
    assert (0, True) == (made.returncode, "/v1/connect?link=" in made.stdout), made.stderr
    connection = await world.connect()
    listed = await cli("connections", "list", "--status", "active")
    assert connection in listed.stdout
    assert "person-1001@example.com" in listed.stdout
    watched = await cli("connections", "watch-folders", connection, "a", "b")
    assert ["a", "b"] == json.loads(watched.stdout)["watched_folders"]
    ended = await cli("connections", "revoke", connection, "--yes")
    assert "revoking\n" == ended.stdout


async def test_failures_are_one_line(world: World, cli: Cli) -> None:
    """Refused, misused and unreachable: what is wrong, an exit code, no secret."""
    reader = world.issuer.access_token(roles=["reader"])
    outcomes = await asyncio.gather(
        cli("connections", "connect", DRIVEWAKE_API_TOKEN=reader),
        cli("connections", "list", DRIVEWAKE_API_TOKEN=""),
        cli("connections", "list", DRIVEWAKE_AUTH_URL="http://127.0.0.1:1"),
    )
    expected = [
        (1, "needs the role operator"),
        (2, "DRIVEWAKE_API_TOKEN: is required"),
        (3, "cannot reach auth"),
    ]
    for (code, words), done in zip(expected, outcomes, strict=True):
        assert (code, True) == (done.returncode, words in done.stderr), done.stderr
        assert 1 == len(done.stderr.splitlines())
        assert reader not in done.stderr + done.stdout


async def test_the_chain_is_verified_and_a_tampered_line_found(
    world: World, cli: Cli, tmp_path: Path
) -> None:
    """From an export, against a kept head, live: a changed line or a cut end is named."""
    await world.connect()
    export, cut, changed = (tmp_path / name for name in ("audit.jsonl", "cut", "changed"))
    assert 0 == (await cli("audit", "export", str(export))).returncode
    lines = export.read_text().splitlines()
    last = json.loads(lines[-1])
    head = f"{last['number']}:{last['hash']}"
    cut.write_text("\n".join(lines[:-1]) + "\n")
    lines[1] = lines[1].replace('"who":"', '"who":"x')
    changed.write_text("\n".join(lines) + "\n")
    await world.rows("update auth.audit set why = 'innocent' where number = 2")
    held, ends, tampered, live = await asyncio.gather(
        cli("audit", "verify", "--file", str(export), "--head", head, "--json"),
        cli("audit", "verify", "--file", str(cut), "--head", head),
        cli("audit", "verify", "--file", str(changed)),
        cli("audit", "verify"),
    )
    assert (0, head) == (held.returncode, json.loads(held.stdout)["head"])
    assert (1, True) == (ends.returncode, "ends before it" in ends.stderr), ends.stderr
    words = "record 2: is not as it was written"
    assert (1, True) == (tampered.returncode, words in tampered.stderr), tampered.stderr
    assert (1, True) == (live.returncode, words in live.stderr), live.stderr
