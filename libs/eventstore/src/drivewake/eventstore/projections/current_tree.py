"""The current tree: what every file is now, from events alone."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from drivewake.contracts import events as ev
from drivewake.eventstore.connections import AnyConnection, translated
from drivewake.eventstore.projections.tree_paths import Node, Placed, place
from drivewake.eventstore.queries import load_queries, sql_directory
from drivewake.eventstore.store import StoredEvent

_SQL = load_queries("current_tree")
_FileData = (
    ev.FileDiscovered
    | ev.FileContentChanged
    | ev.FileRenamed
    | ev.FileMoved
    | ev.FileMetadataChanged
    | ev.FileTrashed
    | ev.FileRestored
    | ev.FileRemoved
    | ev.FilePermissionsChanged
    | ev.FileExposureChanged
)
_SightingData = ev.SightingGained | ev.SightingLost
_decoder: Final = msgspec.json.Decoder(_FileData | _SightingData)
_encoder: Final = msgspec.json.Encoder()
_HANDLED: Final = frozenset(
    str(kind.__struct_config__.tag) for kind in (*_FileData.__args__, *_SightingData.__args__)
)
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

Patch = dict[str, Any]


class CurrentTree:
    """Projection `current_tree`: tables `node` and `sighting`."""

    name = "current_tree"
    version = 1

    @property
    def schema_sql(self) -> str:
        """See projection.Projection."""
        return (sql_directory() / "projections" / "current_tree.sql").read_text(encoding="utf-8")

    async def apply(self, connection: AnyConnection, events: Sequence[StoredEvent]) -> None:
        """See projection.Projection."""
        nodes, sightings = fold(events)
        if nodes:
            await connection.execute(_SQL["merge_nodes"], _encoder.encode(nodes))
        if sightings:
            await connection.execute(_SQL["merge_sightings"], _encoder.encode(sightings))


def fold(events: Sequence[StoredEvent]) -> tuple[list[Patch], list[Patch]]:
    """Return what a batch comes to: one patch a file, one a sighting.

    A field that is absent or None leaves what is known. Types that are unknown here, of a
    newer writer, are passed over.
    """
    nodes: dict[tuple[str, str], Patch] = {}
    sightings: dict[tuple[str, str, str], Patch] = {}
    for event in events:
        if event.type not in _HANDLED:
            continue
        data = _decoder.decode(event.data)
        if isinstance(data, _SightingData):
            _see(sightings, event, data)
        else:
            _change(nodes, event, data)
    return list(nodes.values()), list(sightings.values())


def _see(
    sightings: dict[tuple[str, str, str], Patch],
    event: StoredEvent,
    data: ev.SightingGained | ev.SightingLost,
) -> None:
    where = (event.tenant, event.connection, data.file)
    known = sightings.get(where)
    if known is None or known["epoch"] <= data.epoch:
        sightings[where] = {
            "tenant": event.tenant,
            "connection": event.connection,
            "file": data.file,
            "epoch": data.epoch,
            "visible": isinstance(data, ev.SightingGained),
        }


def _change(nodes: dict[tuple[str, str], Patch], event: StoredEvent, data: _FileData) -> None:
    file = data.file
    where = (event.tenant, file.id)
    patch = nodes.get(where)
    if patch is None:
        patch = nodes[where] = {"tenant": event.tenant, "file": file.id, "version": 0}
    if file.version < patch["version"]:
        return
    patch["version"] = file.version
    patch["name"] = file.name.replace("\x00", _REPLACEMENT)
    patch["mime_type"] = file.mime_type
    patch["position"] = event.position
    if file.drive is not None:
        patch["drive"] = file.drive
    if file.parents is not None:
        patch["parents"] = file.parents
    patch.update(_more(data))


def _more(data: _FileData) -> Patch:
    """Return what the kind of event says beside the file's identity."""
    match data:
        case ev.FileDiscovered():
            return {"trashed": data.trashed, "removed": False, **_content(data.content)}
        case ev.FileContentChanged():
            return _content(data.after)
        case ev.FileTrashed():
            return {"trashed": True}
        case ev.FileRestored():
            return {"trashed": False, "removed": False}
        case ev.FileRemoved():
            return {"removed": True}
    return {}


def _content(content: ev.Content) -> Patch:
    return {
        "has_content": True,
        "md5": content.md5,
        "sha1": content.sha1,
        "sha256": content.sha256,
        "size_bytes": content.size_bytes,
        "head_revision": content.head_revision,
    }


async def paths(
    connection: AnyConnection, tenant: str, *, viewer: str = "", root: str = ""
) -> list[Placed]:
    """Return the live files of a tenant with their paths (see `tree_paths.place`).

    `viewer` is a connection: only what it can see. `root` is a folder: only what is below it.
    """
    async with translated():
        rows = await connection.fetch(_SQL["live_nodes"], tenant, viewer)
    return place((Node(**dict(row)) for row in rows), root)


async def position(connection: AnyConnection, lane: int = 0) -> int:
    """Return up to which position of a lane the tree is true."""
    async with translated():
        return int(await connection.fetchval(_SQL["place"], lane) or 0)
