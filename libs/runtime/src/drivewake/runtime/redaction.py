"""Masks what looks like a secret, by the name it goes under and by its form.

The last line of defence: code does not log secrets in the first place.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "[redacted]"
_MAX_DEPTH: Final = 8

_WORDS: Final = (
    r"token|secret|authorization|refresh|password|passwd|seed|sealed|credential|cookie|assertion|"
    r"private_?key|client_?secret|keyring|data_?key|wrapped|verifier|jwt|dsn"
)
_KEY: Final = re.compile(rf"(?:^|[_\-.]|(?<=[a-z]))(?:{_WORDS})s?(?:$|[_\-.])", re.IGNORECASE)
_EXACT: Final = frozenset({"code", "nonce"})
_HARMLESS: Final = frozenset({"token_id", "page_token", "start_token"})
_PATTERNS: Final = (
    # Authorization headers
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    # Google access and refresh tokens
    (re.compile(r"\bya29\.[A-Za-z0-9._-]+"), MASK),
    (re.compile(r"\b1//0?[A-Za-z0-9_-]{16,}"), MASK),
    # JSON web tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    # PEM blocks, also cut off or with escaped line ends
    (
        re.compile(
            r"-----BEGIN [A-Z ]*(?:KEY|CERTIFICATE)[A-Z ]*-----.*?(?:-----END [A-Z ]*-----|$)",
            re.DOTALL,
        ),
        MASK,
    ),
    # NKEY seeds (S, then the kind, then 56 base32 characters in all)
    (re.compile(r"\bS[AUONCX][A-Z2-7]{56}\b"), MASK),
    # passwords inside URLs
    (re.compile(r"(\w://[^/@:\s]*:)[^@/\s]+(@)"), rf"\1{MASK}\2"),
    # name=value and "name": "value" in prose
    (
        re.compile(
            rf"(?i)(\b[\w-]*(?:{_WORDS})[\"']?\s*[=:]\s*[\"']?)(?!\[redacted\])[^\s\"',;&)}}]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)([?&](?:code|state|key)=)[^\s&\"']+"), rf"\1{MASK}"),
)


def is_secret_name(name: str) -> bool:
    """Return whether a field of this name must not be shown."""
    lowered = name.lower()
    if lowered in _HARMLESS:
        return False
    return lowered in _EXACT or _KEY.search(name) is not None


def redact_text(text: str) -> str:
    """Return the text with whatever looks like a secret masked."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - whatever a log line holds
    """Return a copy of a log value with secrets masked; other objects become their repr."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): MASK if is_secret_name(str(key)) and item else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    return redact_text(value if isinstance(value, str) else repr(value))
