"""The stage of the integration tests, for crashes."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from drivewake.lab.google.serve import RunningGoogle, start_google


def _load() -> ModuleType:
    name = "poller_stage"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "integration" / "poller" / "stage.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


staging = _load()


@pytest.fixture(scope="session")
def poller_google() -> Iterator[RunningGoogle]:
    """A simulated Google for all tests of a worker; each makes its own people."""
    with start_google() as running:
        yield running


@pytest.fixture
async def stage(
    nats_url: str, prefix: str, poller_google: RunningGoogle, tmp_path: Path
) -> AsyncIterator[ModuleType]:
    """A provisioned broker, auth's stand-in, and a Google to make people in."""
    async with staging.open_stage(nats_url, prefix, poller_google, tmp_path) as one:
        yield one
