"""OAuth scopes: what is asked for, what was granted, what is missing."""

from collections.abc import Iterable
from typing import Final

IDENTITY: Final = ("openid", "email")
"""Asked for beside Drive's own: who signs in (openid), and what to show of them (email)."""

_LONG: Final = {
    # Google answers with the long names of these two.
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
}
_IMPLIED: Final = {
    # A wider scope holds the narrower ones.
    "https://www.googleapis.com/auth/drive": (
        "https://www.googleapis.com/auth/drive.readonly",
        "https://www.googleapis.com/auth/drive.metadata.readonly",
    ),
    "https://www.googleapis.com/auth/drive.readonly": (
        "https://www.googleapis.com/auth/drive.metadata.readonly",
    ),
    "https://www.googleapis.com/auth/drive.activity": (
        "https://www.googleapis.com/auth/drive.activity.readonly",
    ),
}
MAX_SCOPES: Final = 64


def parsed(text: str) -> tuple[str, ...]:
    """Return the scopes of a space-separated list: long names, sorted, each once."""
    return tuple(sorted({_LONG.get(scope, scope) for scope in text.split()}))[:MAX_SCOPES]


def covered(granted: Iterable[str]) -> frozenset[str]:
    """Return the granted scopes and all that they imply."""
    held = set(granted)
    for scope in tuple(held):
        held.update(_IMPLIED.get(scope, ()))
    return frozenset(held)


def missing(granted: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted scopes that the granted ones do not cover, sorted."""
    return tuple(sorted(set(parsed(" ".join(wanted))) - covered(granted)))
