"""Deterministic keys: the same fact has the same key, whoever saw it and however often.

A key is a UUIDv8 (RFC 9562): 48 bits of the identity time in milliseconds, then 74 bits of
a keyed blake2b over the canonical JSON of the parts, so that partitions fill with the
calendar and outsiders cannot guess keys. Every key begins with the tenant.
"""

import datetime as dt
import hashlib
import uuid
from functools import lru_cache
from typing import Final

import msgspec

Part = str | int | bool | None | tuple["Part", ...]

MAX_SECRET_BYTES: Final = 64
_encoder = msgspec.json.Encoder(order="deterministic")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


def milliseconds(instant: dt.datetime) -> int:
    """Return the whole milliseconds since 1970 UTC of an aware instant."""
    return (instant - _EPOCH) // _MILLISECOND


def event_key(secret: bytes, identity_time: dt.datetime, *parts: Part) -> uuid.UUID:
    """Return the key of a fact; `parts` begin with the tenant.

    `secret` is the deployment's key secret, 16 to 64 bytes: changing it changes every key.
    """
    hashed = _keyed(secret).copy()
    hashed.update(_encoder.encode(parts))
    random = int.from_bytes(hashed.digest(), "big")
    time_ms = milliseconds(identity_time)
    value = (time_ms & ((1 << 48) - 1)) << 80
    value |= 8 << 76 | (random >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return uuid.UUID(int=value)


@lru_cache(maxsize=4)
def _keyed(secret: bytes) -> "hashlib.blake2b":
    """Return the hash with its key taken in: a copy of it costs half of a new one."""
    return hashlib.blake2b(digest_size=10, key=secret)


def first_key_at(instant: dt.datetime) -> uuid.UUID:
    """Return the smallest key of an identity time: keys of [t1, t2) lie between two of these."""
    return uuid.UUID(int=milliseconds(instant) << 80)


def digest_of(*parts: Part) -> str:
    """Return a short stable hash (96 bits, hex) of canonical parts, such as an ACL."""
    return hashlib.blake2b(_encoder.encode(parts), digest_size=12).hexdigest()


def file_state_parts(tenant: str, file: str, version: int, event_type: str) -> tuple[Part, ...]:
    """Name a state fact of a file: Google's version and what changed."""
    return (tenant, "file", file, version, event_type)


def sighting_parts(
    tenant: str, connection: str, file: str, epoch: int, verb: str
) -> tuple[Part, ...]:
    """Name the beginning or end of a sighting."""
    return (tenant, "sighting", connection, file, epoch, verb)


def permissions_parts(
    tenant: str, file: str, epoch: int, acl: str, event_type: str
) -> tuple[Part, ...]:
    """Name a change of a file's ACL: `epoch` counts the ACLs seen, `acl` is its hash."""
    return (tenant, "permissions", file, epoch, acl, event_type)


def revision_parts(tenant: str, file: str, revision: str) -> tuple[Part, ...]:
    """Name a revision of a file."""
    return (tenant, "revision", file, revision)


def comment_parts(
    tenant: str, file: str, comment: str, reply: str | None, verb: str, modified_ms: int
) -> tuple[Part, ...]:
    """Name what happened to a comment or reply, by Google's time of it."""
    return (tenant, "comment", file, comment, reply, verb, modified_ms)


def membership_parts(
    tenant: str, connection: str, drive: str, epoch: int, verb: str
) -> tuple[Part, ...]:
    """Name the beginning or end of a connection's membership of a shared drive."""
    return (tenant, "membership", connection, drive, epoch, verb)


def shared_drive_parts(tenant: str, drive: str, epoch: int, state: str) -> tuple[Part, ...]:
    """Name a change of a shared drive: `epoch` counts the states seen, `state` is its hash."""
    return (tenant, "shared_drive", drive, epoch, state)


def activity_parts(
    tenant: str, target: str, at_us: int, action: str, detail: str, ordinal: int, within: int
) -> tuple[Part, ...]:
    """Name an action on a target: when it (or its range) began, and what depends on no viewer.

    `ordinal` tells apart activities of a window that are the same to the byte, `within` the
    actions of one activity that are otherwise the same.
    """
    return (tenant, "activity", target, at_us, action, detail, ordinal, within)


def connection_parts(tenant: str, connection: str, revision: int) -> tuple[Part, ...]:
    """Name a transition of a connection."""
    return (tenant, "connection", connection, revision)


def log_parts(tenant: str, log: str, fact_id: str, verb: str) -> tuple[Part, ...]:
    """Name a fact of a whole log: a snapshot or gap id and what happened to it."""
    return (tenant, "log", log, fact_id, verb)
