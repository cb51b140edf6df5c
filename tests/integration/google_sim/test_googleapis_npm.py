"""A client from another ecosystem: npm's googleapis connects, lists, watches, reads, downloads."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from drivewake.lab.google import RunningGoogle
from drivewake.lab.google.world import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

ALICE = "alice@example.com"
SCRIPT = Path(__file__).with_name("googleapis_client.mjs")
VERSION = "googleapis@178"
NODE, NPM = shutil.which("node"), shutil.which("npm")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with npm's googleapis in it."""
    command = [NPM or "", "install", "--no-audit", "--no-fund", "--loglevel=error", VERSION]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(NODE is None or NPM is None, reason="Node and npm are not installed here")
def test_npm_googleapis_lives_on_the_simulated_google(
    google: RunningGoogle, installed: Path
) -> None:
    """Unchanged, through its own `rootUrl` and OAuth `endpoints`."""
    script = installed / SCRIPT.name
    shutil.copy(SCRIPT, script)
    command = [NODE or "", str(script), google.base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET]

    done = subprocess.run(
        [*command, ALICE], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    assert {
        "refreshable": True,
        "notes": ["sync", "change"],
        "listed": ["from node.txt"],
        "changed": ["from node.txt"],
        "ended": True,
        "content": "hello from node",
        "refused": [404, "notFound"],
    } == json.loads(done.stdout)
