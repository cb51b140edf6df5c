"""Installations on which webhook is tried; what they are made of stands in tests/worlds."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from webhook_world import World, google, provisioned

from drivewake.lab.google.serve import RunningGoogle
from drivewake.lab.servers import NatsServer

__all__ = ["google"]


@pytest.fixture
async def world(
    nats_url: str, prefix: str, google: RunningGoogle, tmp_path: Path
) -> AsyncIterator[World]:
    """An installation of a test's own."""
    async with provisioned(nats_url, prefix, google, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
async def shared_world(
    nats_server: NatsServer, google: RunningGoogle, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """An installation that the tests of one file share."""
    prefix = f"t{secrets.token_hex(4)}"
    directory = tmp_path_factory.mktemp("webhook")
    async with provisioned(nats_server.url, prefix, google, directory) as made:
        yield made


@pytest.fixture
def provisioned_world() -> Callable[..., contextlib.AbstractAsyncContextManager[World]]:
    """`provisioned`, for a test that brings its own broker."""
    return provisioned
