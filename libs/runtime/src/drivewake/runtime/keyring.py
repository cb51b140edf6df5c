"""Bytes at rest: AES-256-GCM under a keyring, bound to where they belong.

What is sealed is bound (additional authenticated data) to its place: tenant, owner and purpose;
a row copied to another place does not open. The first key of the ring seals; all of them open,
so that keys can be rotated.
"""

import base64
import binascii
import os
import re
from typing import Final, NoReturn, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from drivewake.runtime.errors import ConfigurationError, TamperedError, UnknownKeyError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_KEYS: Final = 16
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where something sealed belongs; it opens nowhere else."""

    tenant: str
    owner: str
    purpose: str

    def __bytes__(self) -> bytes:
        """Return the bytes to authenticate: JSON, so that no two places read the same."""
        return msgspec.json.encode(("drivewake-v1", *msgspec.structs.astuple(self)))


class Sealed(msgspec.Struct, frozen=True):
    """What was encrypted: under which key, and nonce plus ciphertext."""

    key_id: str
    data: bytes


class Keyring:
    """Seals and opens bytes. Its repr shows key ids only."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("the keyring holds no key")
        self._ciphers = {key_id: AESGCM(raw) for key_id, raw in keys.items()}
        self.current = next(iter(keys))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._ciphers)})"

    @classmethod
    def parse(cls, text: SecretStr) -> Self:
        """Return the keyring written as `id:base64,id:base64…`; the first key is current.

        Raises ConfigurationError, which never repeats what it could not read.
        """
        entries = [entry.strip() for entry in re.split(r"[,\s]+", text.get_secret_value().strip())]
        keys: dict[str, bytes] = {}
        if len(entries) > MAX_KEYS:
            raise ConfigurationError(f"the keyring holds more than {MAX_KEYS} keys")
        for number, entry in enumerate(filter(None, entries), 1):
            key_id, separator, encoded = entry.partition(":")
            if not separator or _KEY_ID.fullmatch(key_id) is None:
                _refuse(number, "write it as id:base64, the id of A-Z a-z 0-9 _ -")
            if key_id in keys:
                _refuse(number, "its id stands there twice")
            keys[key_id] = _decoded(number, encoded)
        return cls(keys)

    def seal_bytes(self, data: bytes, place: Place) -> Sealed:
        """Encrypt under the current key, bound to a place."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._ciphers[self.current]
        return Sealed(self.current, nonce + cipher.encrypt(nonce, data, bytes(place)))

    def open_bytes(self, sealed: Sealed, place: Place) -> bytes:
        """Decrypt; raises UnknownKeyError, TamperedError."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UnknownKeyError
        nonce, data = sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, data, bytes(place))
        except (InvalidTag, ValueError):
            raise TamperedError from None

    def is_current(self, sealed: Sealed) -> bool:
        """Return whether it is sealed under the current key."""
        return sealed.key_id == self.current


def _decoded(number: int, encoded: str) -> bytes:
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        raw = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        _refuse(number, "its key is not base64")
    if len(raw) != KEY_BYTES:
        _refuse(number, f"its key has {len(raw)} bytes, not {KEY_BYTES}")
    if not any(raw):
        _refuse(number, "its key is all zeros")
    return raw


def _refuse(number: int, why: str) -> NoReturn:
    raise ConfigurationError(f"entry {number} of the keyring: {why}")
