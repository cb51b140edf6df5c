"""The simulated Google as a process of its own."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from drivewake.lab.google import start_google_process

pytestmark = pytest.mark.slow


def test_it_starts_on_a_free_port_and_ends_on_sigterm() -> None:
    """The address is printed first; SIGTERM ends it with code 0, open connections or not."""
    with (
        start_google_process(["--user", "alice@example.com", "--quota", "google-2026"]) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        health = client.get("/_sim/health").json()

        google.process.send_signal(signal.SIGTERM)

        assert 0 == google.process.wait(30)
        assert ("google-2026", ["alice@example.com"]) == (health["profile"], health["users"])


def test_a_port_in_use_is_one_clear_line() -> None:
    """No traceback."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]

        ended = subprocess.run(
            [sys.executable, "-m", "drivewake.lab.google", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert 1 == ended.returncode
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use\n" == ended.stderr


def test_the_client_secret_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines are public; the secret of the variable is in force, another is refused."""
    monkeypatch.setenv("DRIVEWAKE_SIM_CLIENT_SECRET", "only-for-me")
    form = {"client_id": "one", "grant_type": "refresh_token", "refresh_token": "none"}

    with start_google_process(["--client-id", "one"]) as google:
        refusals = [
            httpx.post(f"{google.base_url}/token", data={**form, "client_secret": secret})
            for secret in ("only-for-me", "GOCSPX-simulated")
        ]

    assert ["invalid_grant", "invalid_client"] == [r.json()["error"] for r in refusals]


def test_a_world_can_be_stopped_and_continued(tmp_path: Path) -> None:
    """SIGTERM saves it; the next process has the file, the token, the log and the watch."""
    args = ["--user", "alice@example.com", "--state-file", str(tmp_path / "world")]
    watch = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:9/"}
    with (
        start_google_process(args) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        body = {"email": "alice@example.com"}
        token = client.post("/_sim/tokens", json=body).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"
        start = client.get("/drive/v3/changes/startPageToken").json()["startPageToken"]
        client.post("/drive/v3/changes/watch", params={"pageToken": start}, json=watch)
        made = client.post("/drive/v3/files", json={"name": "before"}).json()
        google.process.send_signal(signal.SIGTERM)
        assert 0 == google.process.wait(30)

    with (
        start_google_process(args) as google,
        httpx.Client(
            base_url=google.base_url, headers={"authorization": f"Bearer {token}"}
        ) as client,
    ):
        page = client.get("/drive/v3/changes", params={"pageToken": start}).json()
        counters = client.get("/_sim/counters").json()

    assert [made["id"]] == [change["fileId"] for change in page["changes"]]
    assert 1 == counters["channels"]


def test_a_foreign_state_file_is_one_clear_line(tmp_path: Path) -> None:
    """No traceback, and the file stays as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    ended = subprocess.run(
        [sys.executable, "-m", "drivewake.lab.google", "--port", "0", "--state-file", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 2 == ended.returncode
    assert f"{path} is no state of a simulated Google, version 2.\n" == ended.stderr
    assert "mine" == path.read_text()
