"""Auth's keyring: seals its secrets at rest, and signs short texts under the same keys.

How sealing works stands in `drivewake.runtime.keyring`. The owner of a place is a connection or
a sign-in.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pydantic import SecretStr

from drivewake.runtime import keyring
from drivewake.runtime.errors import SecretError, TamperedError
from drivewake.runtime.keyring import KEY_BYTES, Sealed

Purpose = Literal["refresh_token", "sign_in", "account", "session", "service_account"]

_MAC_BYTES: Final = 16


class Place(keyring.Place, frozen=True, array_like=True):
    """Where a secret of auth belongs; it opens nowhere else."""

    purpose: Purpose


def _unwatched(key_id: str, place: Place, outcome: str) -> None:
    del key_id, place, outcome


class Keyring(keyring.Keyring):
    """Seals and opens secrets, signs and checks short texts. Its repr shows key ids only.

    `on_use` hears of every attempt to open a secret: key id, place, `ok` or `refused`.
    """

    def __init__(self, keys: dict[str, bytes]) -> None:
        super().__init__(keys)
        self.key_ids = list(keys)
        self.on_use: Callable[[str, Place, str], None] = _unwatched
        # Another key than the cipher's for another use.
        self._signing = {
            key_id: HKDFExpand(SHA256(), KEY_BYTES, b"drivewake-sign-v1").derive(raw)
            for key_id, raw in keys.items()
        }

    def seal(self, secret: SecretStr, place: Place) -> Sealed:
        """Encrypt a secret under the current key, bound to its place."""
        return self.seal_bytes(secret.get_secret_value().encode(), place)

    def open(self, sealed: Sealed, place: Place) -> SecretStr:
        """Decrypt a secret; raises UnknownKeyError, TamperedError."""
        try:
            secret = SecretStr(self.open_bytes(sealed, place).decode())
        except UnicodeDecodeError:
            self.on_use(sealed.key_id, place, "refused")
            raise TamperedError from None
        except SecretError:
            self.on_use(sealed.key_id, place, "refused")
            raise
        self.on_use(sealed.key_id, place, "ok")
        return secret

    def sign(self, kind: str, text: str) -> str:
        """Return the text with a signature that holds for this kind of text alone."""
        return f"{text}.{_mac(self._signing[self.current], kind, text)}"

    def verify(self, kind: str, signed: str) -> str | None:
        """Return the text of `signed`, None unless one of the keys signed it for this kind."""
        text, _, mac = signed.rpartition(".")
        known = False
        for key in self._signing.values():
            known |= hmac.compare_digest(_mac(key, kind, text).encode(), mac.encode())
        return text if known and text else None


def _mac(signing: bytes, kind: str, text: str) -> str:
    digest = hmac.digest(signing, f"{kind}\x00{text}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:_MAC_BYTES]).rstrip(b"=").decode()


def fingerprint(secret: str) -> bytes:
    """Return what to store in place of a random secret that only has to be recognised."""
    return hashlib.sha256(secret.encode()).digest()
