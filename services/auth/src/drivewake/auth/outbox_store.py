"""Revisions on their way to DRIVE_CONNECTION, in Postgres."""

from collections.abc import Awaitable, Callable, Sequence

from drivewake.auth import rows
from drivewake.auth.database import QUERIES, Database
from drivewake.auth.records import Transition


class OutboxStore:
    """Implements the port Outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish_pending(
        self,
        publish: Callable[[Transition], Awaitable[bool]],
        limit: int,
        held: Sequence[str] = (),
    ) -> int:
        """Hand up to `limit` unpublished revisions to `publish`, oldest first; see ports.Outbox."""
        failure: Exception | None = None
        skipped: set[str] = set()
        done = 0
        async with self._database.transaction() as session:
            if not await session.fetchval(QUERIES["hold_outbox"]):
                return 0
            for row in await session.fetch(QUERIES["pending"], limit, list(held)):
                transition = rows.transition_of(row)
                if transition.connection.id in skipped:
                    continue
                try:
                    published = await publish(transition)
                except Exception as error:  # noqa: BLE001 - raised again below, after the commit
                    failure = error
                    break
                if not published:
                    skipped.add(transition.connection.id)
                    continue
                await session.execute(
                    QUERIES["mark_published"],
                    transition.connection.id,
                    transition.connection.revision,
                )
                done += 1
        if failure is not None:
            raise failure
        return done

    async def unpublish(self, connection: str, above: int) -> None:
        """Mark the revisions above `above` as unpublished: the stream does not hold them."""
        await self._database.row("unpublish", connection, above)
