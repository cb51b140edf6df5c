"""What changed between what is known of a file and what was seen."""

from typing import Any, Final

import msgspec

from drivewake.contracts import canonical
from drivewake.contracts.events import Content

Metadata = dict[str, Any]
"""Canonical fields under Google's names; a field that is not set is not a key."""

_CONTENT_FIELDS: Final = (
    ("md5Checksum", "md5"),
    ("sha1Checksum", "sha1"),
    ("sha256Checksum", "sha256"),
    ("size", "size_bytes"),
    ("headRevisionId", "head_revision"),
)


def metadata_difference(known: Metadata, seen: Metadata) -> tuple[Metadata, Metadata]:
    """Return the fields that differ: as they were, as they are; an unset field is left out."""
    if known == seen:
        return {}, {}
    names = [name for name in {**known, **seen} if _differs(name, known.get(name), seen.get(name))]
    return (
        {name: known[name] for name in names if name in known},
        {name: seen[name] for name in names if name in seen},
    )


def _differs(name: str, known: Any, seen: Any) -> bool:  # noqa: ANN401
    if known == seen:
        return False
    if name not in canonical.PEOPLE or known is None or seen is None:
        return True
    return _identities(known) != _identities(seen)


def _identities(people: Any) -> list[Any]:  # noqa: ANN401
    """Return who is meant: names and addresses are not shown alike to every viewer."""
    listed = people if isinstance(people, list | tuple) else (people,)
    return [person.get("permissionId", person) for person in listed]


def patched_metadata(metadata: Metadata, before: Metadata, after: Metadata) -> Metadata:
    """Return the metadata after such a difference; fields that are not metadata are ignored."""
    kept = {name: value for name, value in metadata.items() if name not in before}
    return kept | {name: value for name, value in after.items() if name in canonical.METADATA}


def content_difference(
    known: Content, seen: Content | None, mime_type: str
) -> tuple[Content, Metadata]:
    """Return the content as it is now, and what of it was merely learned.

    Viewers may be told different parts of what identifies content. As long as the parts that
    both know agree, it is the same content, and the others are learned: under Google's names,
    and not yet in the content returned. Where they disagree, what was seen replaces all.
    """
    if seen is None:
        return msgspec.structs.replace(known, mime_type=mime_type), {}
    learned: Metadata = {}
    for field, name in _CONTENT_FIELDS:
        old, new = getattr(known, name), getattr(seen, name)
        if old == new or new is None:
            continue
        if old is not None:
            return msgspec.structs.replace(seen, mime_type=mime_type), {}
        learned[field] = new
    return msgspec.structs.replace(known, mime_type=mime_type), learned


def patched_content(content: Content, after: Metadata) -> Content:
    """Return the content with what `after` teaches of it."""
    learned = {name: after[field] for field, name in _CONTENT_FIELDS if field in after}
    return msgspec.structs.replace(content, **learned) if learned else content
