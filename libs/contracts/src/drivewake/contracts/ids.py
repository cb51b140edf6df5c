"""Identifiers: opaque, free of dots and wildcards, safe as a token of a NATS subject."""

import hashlib
import re
import secrets

PARTITIONS = 16
"""Number of partitions of DRIVE_RAW. Changing it is a migration: drain, then re-provision."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class InvalidIdError(ValueError):
    """An identifier is empty, too long, or holds a character with a meaning in subjects."""


def checked(token: str, what: str = "id") -> str:
    """Return `token` if it can stand as one token of a subject, else raise InvalidIdError.

    The refused value is not repeated in the message: it may come from an attacker.
    """
    if _TOKEN.fullmatch(token) is None:
        raise InvalidIdError(f"{what} must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return token


def new_id() -> str:
    """Return a fresh random id (128 bits, lower-case hex)."""
    return secrets.token_hex(16)


def log_id(connection: str, kind: str, resource: str = "") -> str:
    """Return the opaque id of a log: the same connection, kind and resource give the same id."""
    digest = hashlib.blake2b(digest_size=12, person=b"drivewake-log")
    for part in (connection, kind, resource):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.hexdigest()


def partition_of(tenant: str, file_id: str, partitions: int = PARTITIONS) -> int:
    """Return the partition that serialises this file of this tenant: 0 to partitions-1."""
    digest = hashlib.blake2b(f"{tenant}\x00{file_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions
