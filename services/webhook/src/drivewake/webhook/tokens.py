"""Channel tokens: a push can be judged from its own headers and path, without a look-up.

A token is `1.{key id}.{expiry}.{mac}`: the expiry in seconds since 1970, the mac a
base64url HMAC-SHA256 over kind, tenant, connection, log, channel and expiry. Google sends it
back verbatim in X-Goog-Channel-Token (at most 256 characters).
"""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

MIN_SECRET_BYTES: Final = 32
MAX_KEYS: Final = 8
MAX_GENUINE: Final = 16_384
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_TOKEN: Final = re.compile(r"1\.([A-Za-z0-9_-]{1,16})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_DUMMY: Final = "A" * 43

Kind = Literal["drive", "calendar"]
"""Whose channel it is: a token for one kind is worth nothing for another."""


class Subject(msgspec.Struct, frozen=True):
    """What a channel watches."""

    tenant: str
    connection: str
    log: str


class Keyring:
    """Secrets by id. The first one makes new tokens; all of them verify."""

    def __init__(self, keys: Iterable[tuple[str, bytes]]) -> None:
        """Raise ValueError, without any secret, for keys that cannot be used."""
        self._keys: dict[str, bytes] = {}
        for name, secret in keys:
            if _KEY_ID.fullmatch(name) is None:
                raise ValueError("a key id is 1 to 16 of the characters A-Z a-z 0-9 _ -")
            if name in self._keys:
                raise ValueError(f"key id {name} stands there twice")
            if len(secret) < MIN_SECRET_BYTES:
                raise ValueError(f"key {name} is under {MIN_SECRET_BYTES} bytes")
            self._keys[name] = secret
        if not 1 <= len(self._keys) <= MAX_KEYS:
            raise ValueError(f"1 to {MAX_KEYS} keys are needed")
        self.current = next(iter(self._keys))
        self._genuine: dict[str, tuple[Subject, str, Kind, dt.datetime]] = {}

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Read `id:base64,id:base64,…`, the current key first. Raises ValueError."""
        keys = []
        for entry in text.split(","):
            name, colon, encoded = entry.strip().partition(":")
            if not colon:
                raise ValueError("keys are written id:base64, separated by commas")
            try:
                keys.append((name, base64.b64decode(encoded, validate=True)))
            except binascii.Error:
                raise ValueError("a key is not valid base64") from None
        return cls(keys)

    def token(
        self, subject: Subject, channel: str, expires_at: dt.datetime, kind: Kind = "drive"
    ) -> str:
        """Return the token of a channel."""
        expiry = str(int(expires_at.timestamp()))
        mac = self._mac(self._keys[self.current], kind, subject, channel, expiry)
        return f"1.{self.current}.{expiry}.{mac}"

    def verify(
        self, token: str, subject: Subject, channel: str, kind: Kind = "drive"
    ) -> dt.datetime | None:
        """Return the expiry that the token vouches for, None if it is not ours for this.

        Takes the same work and time whatever is wrong: shape, key id or mac. What was found
        genuine before is known again: a channel sends the same token for a week.
        """
        known = self._genuine.get(token)
        if known is not None and known[:3] == (subject, channel, kind):
            return known[3]
        found = _TOKEN.fullmatch(token)
        key_id, expiry, given = found.groups() if found else ("", "0", _DUMMY)
        secret = self._keys.get(key_id)
        expected = self._mac(secret or self._keys[self.current], kind, subject, channel, expiry)
        genuine = hmac.compare_digest(expected, given)
        if not genuine or secret is None or found is None:
            return None
        expires_at = dt.datetime.fromtimestamp(int(expiry), dt.UTC)
        if len(self._genuine) >= MAX_GENUINE:
            self._genuine.clear()
        self._genuine[token] = (subject, channel, kind, expires_at)
        return expires_at

    @staticmethod
    def _mac(secret: bytes, kind: Kind, subject: Subject, channel: str, expiry: str) -> str:
        # Ids cannot hold a line end, so the joined text is unambiguous. Drive's own tokens were
        # there before the others and name no kind.
        version = "1" if kind == "drive" else f"1.{kind}"
        text = (
            f"{version}\n{subject.tenant}\n{subject.connection}\n{subject.log}\n{channel}\n{expiry}"
        )
        digest = hmac.digest(secret, text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"Keyring(current={self.current!r}, ids={list(self._keys)})"
