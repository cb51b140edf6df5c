"""Permissions of a file, and how widely they expose it."""

from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Final

from drivewake.contracts.events import Exposure, Permission
from drivewake.contracts.keys import Part, digest_of
from drivewake.normalizer.domain import google

_REMEMBERED: Final = 4096
"""Permissions recur from file to file: one that was seen lately is not made again."""

Acl = tuple[Permission, ...]
"""Permissions sorted by id: the same ACL is always the same tuple."""

_id = attrgetter("id")


def acl_of(permissions: Iterable[google.Permission]) -> Acl:
    """Return what is canonical of an ACL as Google gave it."""
    return tuple(sorted(map(_canonical, permissions), key=_id))


@lru_cache(maxsize=_REMEMBERED)
def _canonical(permission: google.Permission) -> Permission:
    details = permission.permission_details
    sources = {detail.inherited_from for detail in details if detail.inherited_from}
    return Permission(
        id=permission.id,
        kind=permission.type,
        role=permission.role,
        email=permission.email_address,
        domain=permission.domain,
        discoverable=permission.allow_file_discovery,
        inherited=bool(details) and all(detail.inherited for detail in details),
        inherited_from=tuple(sorted(sources)),
        expires_at=permission.expiration_time,
    )


def exposure_of(acl: Acl) -> Exposure:
    """Return the widest audience of an ACL; who owns the file alone keeps it private."""
    kinds = {permission.kind for permission in acl}
    if "anyone" in kinds:
        public = any(entry.kind == "anyone" and entry.discoverable for entry in acl)
        return "public" if public else "link"
    if "domain" in kinds:
        return "domain"
    return "named" if any(permission.role != "owner" for permission in acl) else "private"


@lru_cache(maxsize=16)
def acl_hash(acl: Acl) -> str:
    """Return a stable hash of an ACL; the events that one change of it makes ask in a row."""
    return digest_of(*(_parts(permission) for permission in acl))


def _parts(permission: Permission) -> tuple[Part, ...]:
    return (
        permission.id,
        permission.kind,
        permission.role,
        permission.email,
        permission.domain,
        permission.discoverable,
        permission.inherited,
        permission.inherited_from,
        permission.expires_at,
    )


def acl_difference(before: Acl, after: Acl) -> tuple[Acl, Acl, Acl]:
    """Return what was added, removed and changed (as it is now) between two ACLs."""
    known = {permission.id: permission for permission in before}
    seen = {permission.id: permission for permission in after}
    return (
        tuple(entry for entry in after if entry.id not in known),
        tuple(entry for entry in before if entry.id not in seen),
        tuple(entry for entry in after if entry.id in known and known[entry.id] != entry),
    )


def patched_acl(acl: Acl, added: Acl, removed: Acl, changed: Acl) -> Acl:
    """Return an ACL after such a difference."""
    entries = {permission.id: permission for permission in acl}
    for permission in removed:
        entries.pop(permission.id, None)
    for permission in (*added, *changed):
        entries[permission.id] = permission
    return tuple(entries[id_] for id_ in sorted(entries))
