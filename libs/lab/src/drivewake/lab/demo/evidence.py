"""Gathers what the verdict is given: git's tree, the ledger, the store, what downstream got."""

import contextlib

import asyncpg

from drivewake.contracts.events import decode_event
from drivewake.eventstore.codec import envelope
from drivewake.eventstore.errors import StoreMismatchError
from drivewake.eventstore.projections.current_tree import paths
from drivewake.eventstore.store import MAX_READ_EVENTS, EventReader
from drivewake.lab.demo.downstream import gap_of, seen
from drivewake.lab.demo.verdict import Seen

LANE = 0


class Stored:
    """Reads the event store to its end, a little further each time it is asked."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self.events: list[Seen] = []
        self.gaps: list[tuple[int, int]] = []

    async def catch_up(self) -> None:
        """Read what is new. Raises StoreUnavailableError."""
        while True:
            after = self.events[-1].position if self.events else 0
            batch = await self._reader.read(LANE, after, MAX_READ_EVENTS)
            for stored in batch:
                event = decode_event(envelope(stored))
                self.events.append(seen(event))
                if (gap := gap_of(event)) is not None:
                    self.gaps.append(gap)
            if len(batch) < MAX_READ_EVENTS:
                return


async def projected_tree(dsn: str, tenant: str, folder: str) -> dict[str, str]:
    """Return path to SHA-256 of the live files below a folder, as the projection has them.

    Two files at one path are a fault of the tree, so the second stands under another name.
    """
    tree: dict[str, str] = {}
    connection = await asyncpg.connect(dsn)
    with contextlib.suppress(StoreMismatchError):  # before the projection's first start
        for placed in await paths(connection, tenant, root=folder):
            path = "/".join(placed.path)
            if path in tree:
                path = f"{path} (another, {placed.node.file})"
            tree[path] = placed.node.sha256 or "no content"
    await connection.close()
    return tree
