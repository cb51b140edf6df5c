"""What all data of events have in common."""

import msgspec


class EventStruct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all event data: the tag, `noun.verb`, stands in `type`."""


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody as a `User` resource of drive.v3 names them, as far as Google tells."""

    id: str | None = None
    name: str | None = None
    email: str | None = None
