"""Partial responses: the grammar of `fields`, checked against Google's schemas.

`a,b(c/d),items/*`: commas separate, slashes descend, parentheses descend into several, a
star is everything at that level. A name that the schema does not have is refused, as live
Drive does ("Invalid field selection x").
"""

import re
from functools import lru_cache
from typing import Any

from drivewake.lab.google.discovery import Node
from drivewake.lab.google.errors import ApiError, invalid_parameter

Mask = dict[str, "Mask | None"]
"""Field name to what is wanted below it; None is all of it. `*` stands for every name."""

_TOKEN = re.compile(r"\s*([\w.\-$]+|[*/,()])")
_MAX_DEPTH = 32


def _refuse(selection: str) -> ApiError:
    return invalid_parameter("fields", f"Invalid field selection {selection}")


@lru_cache(maxsize=1024)
def parse(text: str) -> Mask:
    """Return the mask a `fields` value asks for. Raises ApiError (400 invalidParameter)."""
    tokens: list[str] = []
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        found = _TOKEN.match(stripped, at)
        if found is None:
            raise _refuse(text)
        tokens.append(found.group(1))
        at = found.end()
    mask, rest = _parse_list(tokens, 0, text, 0)
    if rest != len(tokens) or not tokens:
        raise _refuse(text)
    return mask


def _parse_list(tokens: list[str], at: int, text: str, depth: int) -> tuple[Mask, int]:
    if depth > _MAX_DEPTH:
        raise _refuse(text)
    mask: Mask = {}
    while True:
        path: list[str] = []
        while True:
            if at >= len(tokens) or tokens[at] in "/,()":
                raise _refuse(text)
            path.append(tokens[at])
            at += 1
            if at < len(tokens) and tokens[at] == "/":
                at += 1
                continue
            break
        below: Mask | None = None
        if at < len(tokens) and tokens[at] == "(":
            below, at = _parse_list(tokens, at + 1, text, depth + 1)
            if at >= len(tokens) or tokens[at] != ")":
                raise _refuse(text)
            at += 1
        for name in reversed(path[1:]):
            below = {name: below}
        _merge(mask, path[0], below)
        if at < len(tokens) and tokens[at] == ",":
            at += 1
            continue
        return mask, at


def _merge(mask: Mask, name: str, below: Mask | None) -> None:
    if name not in mask:
        mask[name] = below
        return
    existing = mask[name]
    if existing is None or below is None:
        mask[name] = None
        return
    for key, value in below.items():
        _merge(existing, key, value)


def check(mask: Mask, node: Node) -> None:
    """Refuse names the schema does not know. Raises ApiError (400 invalidParameter)."""
    if node.is_map:
        return
    for name, below in mask.items():
        if name == "*":
            children = list((node.fields or {}).values())
            if node.fields is None:
                raise _refuse(name)
            if below is not None and not any(_accepts(below, child) for child in children):
                raise _refuse(next(iter(below)))
            continue
        if node.fields is None or name not in node.fields:
            raise _refuse(name)
        if below is not None:
            check(below, node.fields[name])


def _accepts(mask: Mask, node: Node) -> bool:
    try:
        check(mask, node)
    except ApiError:
        return False
    return True


def wants(mask: Mask | None, name: str) -> bool:
    """Whether the mask asks for a field, or for anything below it."""
    return mask is None or name in mask or "*" in mask


def below(mask: Mask | None, name: str) -> Mask | None:
    """Return what is wanted below a field; None is all of it."""
    if mask is None:
        return None
    if name in mask:
        return mask[name]
    return mask.get("*")


def project(value: Any, mask: Mask | None) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return the wanted part of a JSON value."""
    if mask is None:
        return value
    if isinstance(value, list):
        return [project(item, mask) for item in value]
    if isinstance(value, dict):
        return {k: project(v, below(mask, k)) for k, v in value.items() if wants(mask, k)}
    return value
