"""A simulated Google served over HTTP, and Google's own client for it."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build, build_from_document

from drivewake.lab.google import Options, RunningGoogle, start_google

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
def google() -> Iterator[RunningGoogle]:
    """A simulated Google with Alice and Bob, over HTTP."""
    with start_google(Options(users=(ALICE, BOB))) as running:
        yield running


@pytest.fixture
def control(google: RunningGoogle) -> Iterator[httpx.Client]:
    """A client of the control API."""
    with httpx.Client(base_url=google.base_url) as client:
        yield client


@pytest.fixture
def drive_of(google: RunningGoogle, control: httpx.Client) -> Iterator[Callable[[str], Any]]:
    """Google's own client, as a user, through `api_endpoint`, with its packaged discovery."""
    opened: list[Any] = []

    def make(email: str) -> Any:  # noqa: ANN401 - Google's client has no types
        answer = control.post("/_sim/tokens", json={"email": email})
        drive = build(
            "drive",
            "v3",
            credentials=Credentials(answer.json()["access_token"]),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": google.base_url},
            static_discovery=True,
        )
        opened.append(drive)
        return drive

    yield make
    for drive in opened:
        drive.close()


@pytest.fixture
def whole_drive_of(google: RunningGoogle, control: httpx.Client) -> Iterator[Callable[[str], Any]]:
    """Google's own client built from discovery whose root is the simulator.

    Uploads and batches do not follow `api_endpoint`; they follow the document's `rootUrl`.
    """
    opened: list[Any] = []
    document = json.loads(
        (files("googleapiclient.discovery_cache.documents") / "drive.v3.json").read_bytes()
    )
    document["rootUrl"] = f"{google.base_url}/"

    def make(email: str) -> Any:  # noqa: ANN401 - Google's client has no types
        answer = control.post("/_sim/tokens", json={"email": email})
        credentials = Credentials(answer.json()["access_token"])  # type: ignore[no-untyped-call]
        drive = build_from_document(document, credentials=credentials)
        opened.append(drive)
        return drive

    yield make
    for drive in opened:
        drive.close()


@pytest.fixture
def act(control: httpx.Client) -> Callable[..., list[dict[str, Any]]]:
    """Apply actions as a user; return their results."""

    def run(actor: str, *actions: dict[str, Any]) -> list[dict[str, Any]]:
        answer = control.post("/_sim/actions", json={"actor": actor, "actions": actions})
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    return run
