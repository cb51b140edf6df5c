"""Keys: rotated online, with progress; unwrapped by a key management service at the start."""

import asyncio
import base64
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.kms import AwsKms, KmsError, new_entry, opened_keyring, readable, wrapped_ids
from drivewake.runtime.errors import ConfigurationError

World = Any  # the fixture of conftest.py


async def test_all_secrets_move_under_the_new_key_while_tokens_are_given(
    quiet_world: World,
) -> None:
    """Afterwards the old key can go: tokens and addresses still open."""
    world = quiet_world
    replica = await world.start()
    connections = []
    for subject in ("1001", "2002", "3003"):
        world.google.subject = subject
        connections.append(await world.connect())
    await replica.stop()
    world.keys = {"k2": secrets.token_bytes(32), **world.keys}
    await world.start()
    world.replicas.pop(0)
    _, before = await world.api("GET", "/v1/keys")
    assert ("k2", 6, {"k1": 6}) == (before["current"], before["remaining"], before["secrets"])
    status, _ = await world.api("POST", "/v1/keys/rotate")
    assert 202 == status
    await asyncio.gather(*(world.token(connection) for connection in connections))

    async def done() -> bool:
        _, state = await world.api("GET", "/v1/keys")
        return bool(state["remaining"] == 0 and not state["rotating"])

    await world.until(done)
    await world.replicas[0].stop()
    world.keys = {"k2": world.keys["k2"]}
    await world.start()
    world.replicas.pop(0)
    for connection in connections:
        await world.token(connection)
        _, shown = await world.api("GET", f"/v1/connections/{connection}")
        assert shown["account"]


async def test_what_does_not_open_stays_and_is_told(quiet_world: World) -> None:
    """A tampered secret is counted, alarmed and left alone; the command says so and fails."""
    world = quiet_world
    replica = await world.start()
    await world.connect()
    await replica.stop()
    await world.rows("update auth.refresh_token set sealed = sealed || '\\x00'")
    world.keys = {"k2": secrets.token_bytes(32), **world.keys}
    await world.start()
    world.replicas.pop(0)
    env = {
        "PATH": os.environ["PATH"],
        "DRIVEWAKE_AUTH_URL": world.url,
        "DRIVEWAKE_API_TOKEN": world.issuer.access_token(),
    }
    command = [sys.executable, "-m", "drivewake.cli", "auth", "rotate-keys"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (1, True) == (done.returncode, "1 secrets do not open" in done.stderr), done.stderr
    assert {"k1": 1, "k2": 1} == (await world.api("GET", "/v1/keys"))[1]["secrets"]


async def test_a_tenants_admin_has_no_say_in_keys(shared_world: World) -> None:
    """Keys are the installation's."""
    token = shared_world.issuer.access_token(tenant="default")
    assert 403 == (await shared_world.api("GET", "/v1/keys", token=token))[0]
    assert 403 == (await shared_world.api("POST", "/v1/keys/rotate", token=token))[0]


# -- The key management service -----------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """An AWS that answers as the real one does (moto), as its own process; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
async def kms(aws: str, monkeypatch: pytest.MonkeyPatch) -> AwsKms:
    """A client with a fresh wrapping key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{aws}/moto-api/") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    made = AwsKms("", region="eu-west-1", endpoint=aws)
    key = await asyncio.to_thread(made._client.create_key)
    return AwsKms(key["KeyMetadata"]["KeyId"], region="eu-west-1", endpoint=aws)


async def test_a_wrapped_key_opens_what_it_sealed(kms: AwsKms) -> None:
    """The keyring holds no key, only its ciphertext; two starts have the same key."""
    text = SecretStr(
        f"{await new_entry(kms, 'k2')},k1:{base64.b64encode(bytes([7] * 32)).decode()}"
    )
    place = Place("t", "c", "refresh_token")
    sealed = (await opened_keyring(text, kms)).seal(SecretStr("1//0secret"), place)
    again = await opened_keyring(text, kms)
    assert ("k2", ["k2", "k1"]) == (sealed.key_id, again.key_ids)
    assert "1//0secret" == again.open(sealed, place).get_secret_value()
    assert ["k2"] == wrapped_ids(text)
    assert ["k2", "k1"] == Keyring.parse(readable(text)).key_ids


async def test_a_wrapped_key_is_bound_to_its_id(kms: AwsKms) -> None:
    """Under another id the ciphertext does not unwrap; the error names the id and no key."""
    entry = await new_entry(kms, "k2")
    renamed = SecretStr(entry.replace("k2:", "k3:", 1))
    with pytest.raises(ConfigurationError, match="k3") as caught:
        await opened_keyring(renamed, kms)
    assert entry.rpartition(":")[2][:20] not in str(caught.value)


async def test_without_its_service_a_wrapped_key_stops_the_start(kms: AwsKms) -> None:
    """Neither an unknown service, nor one that is away, nor another key's: one clear line."""
    text = SecretStr(await new_entry(kms, "k2"))
    with pytest.raises(ConfigurationError, match="DRIVEWAKE_AUTH_KMS_KEY"):
        await opened_keyring(text, None)
    away = AwsKms("k", region="eu-west-1", endpoint="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="cannot be asked"):
        await opened_keyring(text, away)
    with pytest.raises(KmsError, match="refuses"):
        await kms.unwrap(b"nonsense", "k2")


async def test_auth_runs_on_a_wrapped_key(kms: AwsKms, aws: str, quiet_world: World) -> None:
    """From the settings to a token, with the key in memory alone."""
    await quiet_world.start(
        auth_keyring=await new_entry(kms, "wrapped"),
        auth_kms_key=kms._key,
        auth_kms_region="eu-west-1",
        auth_kms_endpoint=aws,
    )
    await quiet_world.token(await quiet_world.connect())
    row = await quiet_world.one("select key_id from auth.refresh_token")
    assert "wrapped" == row["key_id"]
