"""Webhook with the rights of its own NATS user, and no others."""

from pathlib import Path
from typing import Any

from drivewake.lab.demo.nats_users import make_users
from drivewake.lab.google.serve import RunningGoogle
from drivewake.lab.servers import ManagedProcess, NatsServer

Provisioned = Any  # `provisioned` of conftest.py


async def test_its_permissions_are_enough(
    google: RunningGoogle, tmp_path: Path, provisioned_world: Provisioned
) -> None:
    """On a guarded broker it opens a channel, takes pushes and stops what is revoked."""
    users = make_users(tmp_path / "seeds")
    with NatsServer(tmp_path / "nats", config=users.config) as server:
        async with provisioned_world(server.url, "", google, tmp_path, users.seeds) as world:
            process: ManagedProcess = world.webhook(
                nats_user="webhook", nats_seed_file=str(users.seeds["webhook"])
            )
            process.start()
            record = await world.live_channel("kim@example.com")
            subject = await world.connection("kim@example.com")
            signal = await world.until_signal(subject)
            await world.connection("kim@example.com", "revoking")
            ended = await world.until_channel(subject, status="stopped")
            process.stop()
            log = process.log_path.read_text()

    assert ("push", record.channel) == (signal.reason, ended.channel)
    assert "ermission" not in log
