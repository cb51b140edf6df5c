"""The normalizer's ports over NATS and Postgres."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Final, Self

from drivewake.contracts.dead import DeadLetter, encode_dead
from drivewake.eventstore.connections import READER, Pool, borrowed, open_pool
from drivewake.normalizer.burial import DEAD_SUBJECT
from drivewake.normalizer.decisions import sighting_kind
from drivewake.runtime.bus import Message, Publisher

_FILES: Final = (
    resources.files("drivewake.normalizer")
    .joinpath("sql/files_of_sighting.sql")
    .read_text(encoding="utf-8")
)


class PostgresSightingIndex:
    """The heads of kind `sighting.…`, read in the order of their ids."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator[Self]:
        """Connect, and disconnect at the end; raises what `open_pool` raises."""
        pool = await open_pool(dsn, READER, size=1)
        try:
            yield cls(pool)
        finally:
            pool.terminate()

    async def files(
        self, tenant: str, connection: str, partition: int, after: str, limit: int
    ) -> Sequence[str]:
        """See ports.SightingIndex."""
        kind = sighting_kind(connection, partition)
        async with borrowed(self._pool) as session:
            rows = await session.fetch(_FILES, tenant, kind, after, limit)
        return [row["id"] for row in rows]


class BusGraveyard:
    """Dead letters into DRIVE_DEAD."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See ports.Graveyard."""
        for letter in letters:
            await self._publisher.publish(Message(subject=DEAD_SUBJECT, data=encode_dead(letter)))
