"""What an archive is made of: events as lines of JSON, compressed, and a manifest a month.

    events/2026-01/1/manifest.json
    events/2026-01/1/lane-0/00000000000000000001.jsonl.zst     the first position in it

Lines hold what the database held, in the order of positions. What was sealed stays sealed: who
has the data keys can read it, and who deletes them erases it here too.
"""

import datetime as dt
import hashlib
import io
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import zstandard

from drivewake.eventstore.errors import ArchiveError
from drivewake.eventstore.store import StoredEvent

FORMAT: Final = "drivewake-events-1"
PART_EVENTS: Final = 20_000
"""Events in a file: it is held in memory compressed, some MiB."""
MAX_MANIFEST_BYTES: Final = 64 << 20
"""Some 200,000 files of a month."""
LEVEL: Final = 6
_CHUNK_BYTES: Final = 128 << 10


NOTHING: Final = msgspec.Raw(b"")


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. Either `data` or `sealed` is there."""

    lane: int
    position: int
    key: uuid.UUID
    tenant: str
    connection: str
    stream: str
    type: str
    occurred_at: dt.datetime
    metadata: msgspec.Raw
    data: msgspec.Raw = NOTHING
    sealed: bytes | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file: `sha256` is of the file, `content_sha256` of the lines in it."""

    name: str
    lane: int
    first_position: int
    last_position: int
    events: int
    bytes: int
    sha256: str
    content_bytes: int
    content_sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was archived of a month. Keys lie in [`first_key`, `end_key`).

    `schema_version` is the last migration of the database that it was read from.
    """

    format: str
    month: dt.date
    number: int
    schema_version: str
    first_key: uuid.UUID
    end_key: uuid.UUID
    events: int
    written_at: dt.datetime
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """Where the manifest is kept."""
        return f"{folder(self.month, self.number)}/manifest.json"


_encoder: Final = msgspec.json.Encoder()
_lines: Final = msgspec.json.Decoder(Line)
_manifests: Final = msgspec.json.Decoder(Manifest)


def folder(month: dt.date, number: int) -> str:
    """Return where the files of an archived month are kept."""
    return f"events/{month:%Y-%m}/{number}"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as it is kept."""
    return msgspec.json.format(_encoder.encode(manifest), indent=1)


def decode_manifest(text: bytes | str) -> Manifest:
    """Return a manifest; raise ArchiveError if it is none, or of a format that we don't know."""
    try:
        manifest = _manifests.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"not a manifest: {error}") from error
    if manifest.format != FORMAT:
        raise ArchiveError(f"a manifest of the format {manifest.format!r}, known is {FORMAT!r}")
    return manifest


def encode_line(event: StoredEvent) -> bytes:
    """Return an event as a line, without its end."""
    return _encoder.encode(
        Line(
            lane=event.lane,
            position=event.position,
            key=event.key,
            tenant=event.tenant,
            connection=event.connection,
            stream=event.stream,
            type=event.type,
            occurred_at=event.occurred_at,
            metadata=_on_one_line(event.metadata),
            data=NOTHING if event.sealed else _on_one_line(event.data),
            sealed=event.data if event.sealed else None,
        )
    )


def _on_one_line(document: bytes) -> msgspec.Raw:
    """Return JSON without line ends: in JSON they are nothing but space."""
    if b"\n" in document or b"\r" in document:
        document = document.replace(b"\r", b" ").replace(b"\n", b" ")
    return msgspec.Raw(document)


def decode_line(text: bytes) -> StoredEvent:
    """Return the event of a line; raise msgspec's errors if there is none."""
    line = _lines.decode(text)
    data = bytes(line.data) or line.sealed
    if not data:
        raise msgspec.ValidationError("a line without data")
    return StoredEvent(
        lane=line.lane,
        position=line.position,
        key=line.key,
        tenant=line.tenant,
        connection=line.connection,
        stream=line.stream,
        type=line.type,
        occurred_at=line.occurred_at,
        data=data,
        metadata=bytes(line.metadata),
        sealed=line.sealed is not None,
    )


def pack(events: Sequence[StoredEvent]) -> tuple[bytes, Part]:
    """Return a file of events of one lane, at least one, and what a manifest says of it.

    Its name is that of the file within its month.
    """
    content = b"".join(encode_line(event) + b"\n" for event in events)
    file = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(content)
    first, last = events[0], events[-1]
    return file, Part(
        name=f"lane-{first.lane}/{first.position:020}.jsonl.zst",
        lane=first.lane,
        first_position=first.position,
        last_position=last.position,
        events=len(events),
        bytes=len(file),
        sha256=hashlib.sha256(file).hexdigest(),
        content_bytes=len(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
    )


def unpack(part: Part, file: bytes) -> Iterator[StoredEvent]:
    """Yield the events of a file, in order; memory does not grow with their number.

    Raises ArchiveError at the start for another file than the manifest's, and where the
    content is not what it says.
    """
    if hashlib.sha256(file).hexdigest() != part.sha256:
        raise ArchiveError(f"{part.name}: not the file that was written")
    events = position = 0
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_size=_CHUNK_BYTES)
        for text in io.BufferedReader(reader, _CHUNK_BYTES):
            event = decode_line(text)
            if event.lane != part.lane or event.position <= position:
                raise ArchiveError(f"{part.name}: position {event.position} is out of order")
            position = event.position
            events += 1
            yield event
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{part.name}: cannot be read: {error}") from error
    if (events, position) != (part.events, part.last_position):
        raise ArchiveError(f"{part.name}: {events} events up to {position}, not as written")
