"""Secrets at rest: AES-256-GCM under a keyring, bound to where they belong.

A sealed secret is bound (additional authenticated data) to its tenant, its owner (a
connection or a sign-in) and its purpose: a row copied to another connection does not open.
The first key of the ring seals; all of them open, so that keys can be rotated.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from typing import Final, Literal, NoReturn

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pydantic import SecretStr

from drivewake.auth.errors import TamperedError, UnknownKeyError
from drivewake.runtime.errors import ConfigurationError

Purpose = Literal["refresh_token", "sign_in", "account"]

KEY_BYTES: Final = 32
MAX_KEYS: Final = 16
_NONCE_BYTES: Final = 12
_MAC_BYTES: Final = 16
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a secret belongs; it opens nowhere else."""

    tenant: str
    owner: str
    purpose: Purpose

    def __bytes__(self) -> bytes:
        """Return the bytes to authenticate: JSON, so that no two places read the same."""
        return msgspec.json.encode(("drivewake-v1", *msgspec.structs.astuple(self)))


class Sealed(msgspec.Struct, frozen=True):
    """An encrypted secret: which key, and nonce plus ciphertext."""

    key_id: str
    data: bytes


class _Key:
    """One key of the ring: its cipher and what signs under it."""

    __slots__ = ("cipher", "signing")

    def __init__(self, raw: bytes) -> None:
        self.cipher = AESGCM(raw)
        # Another key than the cipher's for another use.
        self.signing = HKDFExpand(SHA256(), KEY_BYTES, b"drivewake-sign-v1").derive(raw)


class Keyring:
    """Seals and opens secrets, signs and checks short texts. Its repr shows key ids only."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("the keyring holds no key")
        self._keys = {key_id: _Key(raw) for key_id, raw in keys.items()}
        self.current = next(iter(keys))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @classmethod
    def parse(cls, text: SecretStr) -> "Keyring":
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

    def seal(self, secret: SecretStr, place: Place) -> Sealed:
        """Encrypt a secret under the current key, bound to its place."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._keys[self.current].cipher
        data = cipher.encrypt(nonce, secret.get_secret_value().encode(), bytes(place))
        return Sealed(self.current, nonce + data)

    def open(self, sealed: Sealed, place: Place) -> SecretStr:
        """Decrypt a secret; raises UnknownKeyError, TamperedError."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise UnknownKeyError
        nonce, data = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        try:
            return SecretStr(key.cipher.decrypt(nonce, data, bytes(place)).decode())
        except (InvalidTag, ValueError):
            raise TamperedError from None

    def is_current(self, sealed: Sealed) -> bool:
        """Return whether the secret is under the current key."""
        return sealed.key_id == self.current

    def sign(self, kind: str, text: str) -> str:
        """Return the text with a signature that holds for this kind of text alone."""
        return f"{text}.{self._mac(self._keys[self.current], kind, text)}"

    def verify(self, kind: str, signed: str) -> str | None:
        """Return the text of `signed`, None unless one of the keys signed it for this kind."""
        text, _, mac = signed.rpartition(".")
        known = False
        for key in self._keys.values():
            known |= hmac.compare_digest(self._mac(key, kind, text).encode(), mac.encode())
        return text if known and text else None

    @staticmethod
    def _mac(key: _Key, kind: str, text: str) -> str:
        digest = hmac.digest(key.signing, f"{kind}\x00{text}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:_MAC_BYTES]).rstrip(b"=").decode()


def fingerprint(secret: str) -> bytes:
    """Return what to store in place of a random secret that only has to be recognised."""
    return hashlib.sha256(secret.encode()).digest()


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
