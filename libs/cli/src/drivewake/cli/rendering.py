"""Events and figures as people read them. Text from outside is made harmless for terminals."""

import datetime as dt
from typing import Final

from rich.text import Text

from drivewake.contracts import events as e
from drivewake.contracts import remarks as r
from drivewake.contracts.activity import ActivityObject, Actor
from drivewake.contracts.events import Event, EventData

MAX_TEXT_CHARS: Final = 120
_GOOD: Final = {"discovered", "restored", "established", "gained", "snapshot_completed"}
_BAD: Final = {"removed", "trashed", "lost", "blocked", "revoked", "gap_opened", "degraded"}
_KIND_WIDTH: Final = 28
_TENANT_WIDTH: Final = 12


def harmless(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return text without what moves a cursor or hides: escapes are shown, length is bounded."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def line(event: Event) -> Text:
    """Return an event on one line: when, what, whose, and what about it."""
    verb = event.type.partition(".")[2]
    style = "green" if verb in _GOOD else "red" if verb in _BAD else "cyan"
    when = event.occurredat or event.time
    text = Text(f"{when.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}  ", style="dim")
    text.append(f"{harmless(event.type):<{_KIND_WIDTH}}", style=style)
    text.append(f"{harmless(event.tenant, _TENANT_WIDTH):<{_TENANT_WIDTH}}  ", style="dim")
    text.append(about(event.data) or harmless(event.subject))
    text.append(f"  #{event.position}", style="dim")
    return text


def about(data: EventData) -> str:  # noqa: C901, PLR0911, PLR0912 - one case an event type
    """Say what an event tells, in few words."""
    match data:
        case e.FileRenamed():
            return f"{quoted(data.before)} → {quoted(data.after)}"
        case e.FileMoved():
            return f"{quoted(data.file.name)}: {places(data.before)} → {places(data.after)}"
        case e.FileContentChanged():
            return f"{quoted(data.file.name)}{size(data.before)} →{size(data.after)}"
        case e.FileMetadataChanged():
            fields = ", ".join(sorted({*data.before, *data.after}))
            return f"{quoted(data.file.name)}: {harmless(fields)}"
        case e.FilePermissionsChanged():
            counts = f"+{len(data.added)} -{len(data.removed)} ~{len(data.changed)}"
            return f"{quoted(data.file.name)}: {counts}"
        case e.FileExposureChanged():
            return f"{quoted(data.file.name)}: {data.before} → {data.after}"
        case e.FileRemoved():
            return f"{quoted(data.file.name)} ({data.cause})"
        case e.FileDiscovered():
            return f"{quoted(data.file.name)}{size(data.content)}"
        case e.FileTrashed() | e.FileRestored():
            return quoted(data.file.name)
        case e.SightingGained():
            return f"file {harmless(data.file)}"
        case e.SightingLost():
            return f"file {harmless(data.file)} ({data.cause})"
        case e.ConnectionEstablished() | e.ConnectionRestored():
            return f"{len(data.scopes)} scopes"
        case e.SnapshotStarted():
            return f"snapshot {harmless(data.snapshot)} {harmless(data.reason)}".rstrip()
        case e.SnapshotCompleted():
            return f"snapshot {harmless(data.snapshot)}, {data.files} files"
        case e.GapOpened():
            return f"gap {harmless(data.gap)}: {harmless(data.reason)}"
        case e.GapClosed():
            return f"gap {harmless(data.gap)} by {data.by}"
        case e.EventErased():
            return f"was {harmless(data.was)}"
        case r.RevisionAdded():
            return f"file {harmless(data.file)} revision {harmless(data.revision)}"
        case r.SharedDriveJoined() | r.SharedDriveChanged():
            return quoted(data.name)
        case r.SharedDriveLeft():
            return f"drive {harmless(data.drive)} ({data.cause})"
    target = getattr(data, "target", None)
    if isinstance(target, ActivityObject):
        return f"{quoted(target.title or target.id)} by {actors(getattr(data, 'actors', ()))}"
    if isinstance(data, r.Remark):
        return f"file {harmless(data.file)}: {quoted(data.content or '')}"
    return harmless(getattr(data, "reason", ""))


def actors(found: tuple[Actor, ...]) -> str:
    """Say who did it: Google gives ids of people, not their names."""
    return ", ".join(harmless(actor.person or actor.kind, 40) for actor in found) or "nobody"


def quoted(name: str) -> str:
    """Return a file name in quotation marks."""
    return f"«{harmless(name)}»"


def places(parents: tuple[str, ...]) -> str:
    """Return parent ids, shortened."""
    return ", ".join(harmless(parent, 12) for parent in parents) or "nowhere"


def size(content: e.Content) -> str:
    """Return a content's size with a leading space, nothing where it has none."""
    return "" if content.size_bytes is None else f" {octets(content.size_bytes)}"


def octets(count: float) -> str:
    """Return a number of bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":  # noqa: PLR2004 - the step between units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the last unit takes everything")


def span(seconds: float) -> str:
    """Return a duration in its largest unit, with the sign of what is past left out."""
    seconds = abs(seconds)
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"
