"""Every shared drive that a user belongs to has its log, those that were left have none."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from drivewake.contracts.ids import log_id
from drivewake.contracts.records import LogRecord
from drivewake.poller import domain, listing
from drivewake.poller.ports import Held, Outside
from drivewake.poller.rewriting import rewrite
from drivewake.runtime.logging import get_logger

PRIORITY: Final = 4
_log = get_logger(__name__)


class BusMemberships:
    """Follows memberships on the log records. A drive that comes back gets its log back.

    Everything is done before the user's log remembers that its drives were listed: a crash
    repeats it.
    """

    def __init__(self, outside: Outside, activity: Callable[[str, str], Awaitable[None]]) -> None:
        """`activity(tenant, connection)` lets the logs of activity follow the drives."""
        self._outside = outside
        self._activity = activity

    async def follow(self, record: LogRecord, drives: Sequence[str]) -> bool:
        """Begin the logs of drives that were joined, end those of drives that were left."""
        known = {
            held.record.resource: held
            for held in self._outside.logs.of_connection(record.connection)
            if held.record.kind == "drive_changes"
        }
        for drive in drives:
            await self._join(record, drive, known.get(drive))
        left = [held for drive, held in known.items() if drive not in set(drives)]
        done = [await self._leave(held) for held in left if not held.record.left]
        await self._activity(record.tenant, record.connection)
        return any(done)

    async def doubt(self, record: LogRecord) -> None:
        """Let the drives of the user be listed whose drive log this is."""
        user_log = log_id(record.connection, "user_changes")
        for held in self._outside.logs.of_connection(record.connection):
            if held.record.log == user_log:
                doubted = await rewrite(self._outside.logs, held, _doubted)
                if doubted is not None:
                    await self._outside.signals.send(doubted, "snapshot", priority=PRIORITY)

    async def _join(self, record: LogRecord, drive: str, held: Held | None) -> None:
        now = self._outside.clock.now()
        first = domain.new_log(record.tenant, record.connection, "drive_changes", now, drive)

        def joined(held: Held) -> LogRecord | None:
            if held.revision == 0:
                return first
            return listing.drive_joined(held.record, now) if held.record.left else None

        begun = await rewrite(self._outside.logs, held or Held(record=first, revision=0), joined)
        if begun is None and (held is None or held.record.phase != "new"):
            return
        _log.info("a shared drive is followed", action="drive_joined", log=first.log)
        # Also for one that nobody has begun: its first signal may have been lost to a crash.
        await self._outside.signals.send(begun or first, "snapshot", priority=PRIORITY)

    async def _leave(self, held: Held) -> bool:
        now = self._outside.clock.now()

        def left(held: Held) -> LogRecord | None:
            return None if held.record.left else listing.drive_left(held.record, now)

        ended = await rewrite(self._outside.logs, held, left)
        if ended is None:
            return False
        _log.info("a shared drive was left", action="drive_left", log=ended.log)
        await self._outside.signals.send(ended, "snapshot", priority=PRIORITY)
        return True


def _doubted(held: Held) -> LogRecord | None:
    return None if held.record.drives_at is None else listing.drives_doubted(held.record)
