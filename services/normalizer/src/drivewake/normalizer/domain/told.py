"""A fact decided, with its name: what deciders beside those of files return."""

import datetime as dt
from typing import Generic, NamedTuple, TypeVar

from drivewake.contracts.events import EventData
from drivewake.contracts.keys import Part

H = TypeVar("H")


class Told(NamedTuple):
    """Data of an event, what it is about, the parts of its key, and Google's own time of it.

    `identity_at`: the time in the key, if it is not that of the observation.
    """

    data: EventData
    subject: str
    parts: tuple[Part, ...]
    occurred_at: dt.datetime | None = None
    identity_at: dt.datetime | None = None


class Step(NamedTuple, Generic[H]):
    """What an observation makes of a head: events in their order, and the head after it."""

    told: tuple[Told, ...]
    head: H
