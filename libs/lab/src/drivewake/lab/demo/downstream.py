"""A downstream team of our own: reads DRIVE_EVENT as anyone would, and notes what came when."""

import time
from collections import deque
from collections.abc import Iterable

from drivewake.contracts import subjects
from drivewake.contracts.events import (
    Event,
    FileRemoved,
    FileRenamed,
    GapOpened,
    SightingLost,
    decode_event,
)
from drivewake.lab.demo.verdict import Seen
from drivewake.runtime.bus import StreamReader

RECENT = 8


def seen(event: Event, at_ns: int = 0) -> Seen:
    """Return what the verdict needs of an event."""
    file = getattr(event.data, "file", "")
    ends = isinstance(event.data, FileRemoved | SightingLost)
    return Seen(
        id=event.id,
        position=event.position,
        type=event.type,
        file=file if isinstance(file, str) else file.id,
        version=0 if isinstance(file, str) else file.version,
        ends=ends,
        at_ns=at_ns,
    )


def gap_of(event: Event) -> tuple[int, int] | None:
    """Return the interval of a recorded gap in nanoseconds since 1970.

    None of other events, and of a gap without both bounds: it accounts for nothing.
    """
    if not isinstance(event.data, GapOpened):
        return None
    start, end = event.data.missing_from, event.data.missing_to
    if start is None or end is None:
        return None
    return int(start.timestamp() * 1e9), int(end.timestamp() * 1e9)


def headline(event: Event) -> str:
    """Return one line about an event, for a person who watches."""
    file = getattr(event.data, "file", None)
    what = getattr(file, "name", None) or event.subject
    if isinstance(event.data, FileRenamed):
        what = f"{event.data.before} → {event.data.after}"
    return f"{event.position:>7}  {event.type:<24} {printable(what)}"


def printable(text: str, width: int = 60) -> str:
    """Return the text with control characters escaped, cut to a width."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


class Downstream:
    """Follows DRIVE_EVENT from its beginning; `received` grows by one an event, in order."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self.received: list[Seen] = []
        self.recent: deque[str] = deque(maxlen=RECENT)

    async def run(self) -> None:
        """Receive for ever."""
        async for message in self._reader.follow(subjects.EVENT.name):
            if message is None:
                continue
            event = decode_event(message.data)
            self.received.append(seen(event, time.time_ns()))
            self.recent.append(headline(event))

    def headlines(self) -> Iterable[str]:
        """Return the latest events, newest last."""
        return tuple(self.recent)
