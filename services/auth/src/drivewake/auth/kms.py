"""Keys of the keyring that lie wrapped, and the key management service that unwraps them.

An entry `id:aws-kms:BASE64` holds no key but its ciphertext: the key itself exists in this
process's memory alone. The service is asked once a key at the start, not for every secret, so
that its being away stops no running auth. The key's id is bound to it (encryption context).
"""

import asyncio
import base64
import binascii
import os
import re
from typing import Any, Final, Protocol

from pydantic import SecretStr

from drivewake.auth.keyring import Keyring
from drivewake.runtime.errors import ConfigurationError, DrivewakeError
from drivewake.runtime.keyring import KEY_BYTES

MARK: Final = "aws-kms"
TIMEOUT_S: Final = 5
_WRAPPED: Final = re.compile(rf"(?P<id>[A-Za-z0-9_-]{{1,32}}):{MARK}:(?P<text>[A-Za-z0-9+/=_-]+)")


class KmsError(DrivewakeError):
    """The key management service did not unwrap a key."""


class Kms(Protocol):
    """A key management service: holds the key that wraps ours, and never gives it away."""

    async def wrap(self, key: bytes, key_id: str) -> bytes:
        """Return a key encrypted, bound to its id. Raises KmsError."""
        ...

    async def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """Return a key that was wrapped for this id. Raises KmsError."""
        ...


class AwsKms:
    """Implements the port Kms with AWS KMS. Credentials are found as every AWS client finds them.

    `key` is the id, ARN or alias of the wrapping key; `endpoint` stands for another address.
    """

    def __init__(self, key: str, *, region: str = "", endpoint: str = "") -> None:
        try:
            from botocore.config import Config  # noqa: PLC0415 - only who uses it installs it
            from botocore.session import get_session  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "the keyring needs AWS KMS: install drivewake-auth[aws-kms]"
            ) from None
        self._key = key
        self._client: Any = get_session().create_client(
            "kms",
            region_name=region or None,
            endpoint_url=endpoint or None,
            config=Config(
                connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 3}
            ),
        )

    async def wrap(self, key: bytes, key_id: str) -> bytes:
        """Return a key encrypted, bound to its id."""
        answer = await self._call("encrypt", key_id, Plaintext=key)
        return bytes(answer["CiphertextBlob"])

    async def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """Return a key that was wrapped for this id."""
        answer = await self._call("decrypt", key_id, CiphertextBlob=wrapped)
        return bytes(answer["Plaintext"])

    async def _call(self, method: str, key_id: str, **given: bytes) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        context = {"drivewake": "auth-keyring", "key": key_id}
        try:
            answer: dict[str, Any] = await asyncio.to_thread(
                getattr(self._client, method),
                KeyId=self._key,
                EncryptionContext=context,
                **given,
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "no reason")
            raise KmsError(f"AWS KMS refuses to {method} key {key_id}: {code}") from None
        except (BotoCoreError, ValueError) as error:
            raise KmsError(f"AWS KMS cannot be asked ({type(error).__name__})") from None
        return answer


def wrapped_ids(text: SecretStr) -> list[str]:
    """Return the ids of the keys that lie wrapped."""
    return [found["id"] for found in _WRAPPED.finditer(text.get_secret_value())]


async def opened_keyring(text: SecretStr, kms: Kms | None) -> Keyring:
    """Return the keyring with its wrapped keys unwrapped.

    Raises ConfigurationError for what cannot be read or unwrapped; it repeats no key.
    """
    plain = text.get_secret_value()
    for found in _WRAPPED.finditer(plain):
        if kms is None:
            raise ConfigurationError(
                f"key {found['id']} of the keyring lies wrapped: set DRIVEWAKE_AUTH_KMS_KEY"
            )
        try:
            raw = await kms.unwrap(base64.b64decode(found["text"], validate=True), found["id"])
        except (binascii.Error, ValueError):
            raise ConfigurationError(f"key {found['id']} of the keyring is not base64") from None
        except KmsError as error:
            raise ConfigurationError(str(error)) from None
        plain = plain.replace(found[0], f"{found['id']}:{base64.b64encode(raw).decode()}")
    return Keyring.parse(SecretStr(plain))


async def new_entry(kms: Kms, key_id: str) -> str:
    """Return an entry for the keyring: a fresh key, wrapped. Raises KmsError."""
    wrapped = await kms.wrap(os.urandom(KEY_BYTES), key_id)
    return f"{key_id}:{MARK}:{base64.b64encode(wrapped).decode()}"


def readable(text: SecretStr) -> SecretStr:
    """Return the keyring with stand-ins for wrapped keys: its form can be checked without any."""
    return SecretStr(
        _WRAPPED.sub(
            lambda found: f"{found['id']}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}",
            text.get_secret_value(),
        )
    )
