"""A user's changes: start token first, then a full listing, then changes from that token.

`phase` says where a log stands: `new` (nothing yet, or the cursor was lost), `snapshot`
(listing), `live`. Each step is one call.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

from drivewake.contracts.ids import new_id
from drivewake.contracts.raw import LogFact
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.gdrive.client import MAX_PAGE, GoogleDrive
from drivewake.gdrive.errors import CursorLostError
from drivewake.gdrive.pages import Item
from drivewake.poller import domain
from drivewake.poller.domain import Rules
from drivewake.poller.ports import Page, Seen, Step, Tokens
from drivewake.runtime.clock import Clock


class ChangesSource:
    """Reads `user_changes` logs."""

    kinds: Final[Sequence[LogKind]] = ("user_changes",)

    def __init__(
        self,
        drive: GoogleDrive,
        tokens: Tokens,
        clock: Clock,
        rules: Rules,
        *,
        page_size: int = MAX_PAGE,
        new_snapshot_id: Callable[[], str] = new_id,
    ) -> None:
        self._drive = drive
        self._tokens = tokens
        self._clock = clock
        self._rules = rules
        self._page_size = page_size
        self._new_snapshot_id = new_snapshot_id

    async def step(self, record: LogRecord) -> Step:
        """Take the start token, a page of the listing, or a page of changes."""
        if record.phase == "snapshot":
            return await self._list(record)
        if record.phase == "new" or domain.relist_due(self._rules, record, self._clock.now()):
            return await self._begin(record)
        return await self._changes(record)

    async def _begin(self, record: LogRecord) -> Step:
        """Take the start token; it is saved before the first page is asked for."""
        start_token = await self._tokens.call(
            record.tenant, record.connection, self._drive.start_page_token
        )
        begun = domain.snapshot_begun(
            record,
            start_token=start_token,
            snapshot=self._new_snapshot_id(),
            now=self._clock.now(),
        )
        return Step(record=begun)

    async def _list(self, record: LogRecord) -> Step:
        """Read one page of the listing; the facts around it frame its items."""
        snapshot = record.snapshot
        assert snapshot is not None  # noqa: S101 - phase `snapshot` always has one
        try:
            page = await self._tokens.call(
                record.tenant,
                record.connection,
                lambda token: self._drive.list_files(
                    token, snapshot.page_token or None, page_size=self._page_size
                ),
            )
        except CursorLostError as error:
            return Step(record=domain.listing_lost(record), setback=f"listing lost: {error}")
        moved = domain.listed(
            record, page.next_page_token or "", len(page.items), incomplete=page.incomplete
        )
        last = page.next_page_token is None
        return Step(
            record=domain.went_live(moved) if last else moved,
            before=() if snapshot.page_token else (domain.snapshot_started(record),),
            page=Page(
                source="snapshot",
                items=_seen(page.items),
                observed_at=page.observed_at,
                cursor=snapshot.page_token,
                request=page.request,
                snapshot=snapshot.id,
            ),
            after=(
                *_gap(record, moved, page.observed_at),
                *(domain.snapshot_ended(moved) if last else ()),
            ),
        )

    async def _changes(self, record: LogRecord) -> Step:
        """Read one page of changes."""
        try:
            page = await self._tokens.call(
                record.tenant,
                record.connection,
                lambda token: self._drive.list_changes(
                    token, record.cursor, page_size=self._page_size
                ),
            )
        except CursorLostError as error:
            return Step(
                record=domain.cursor_lost(record),
                after=(domain.gap_opened(record, self._clock.now()),),
                setback=f"cursor lost: {error}",
            )
        cursor = page.next_page_token or page.new_start_page_token
        assert cursor is not None  # noqa: S101 - the client promises one of them
        return Step(
            record=domain.advanced(record, cursor, len(page.items), page.observed_at),
            page=Page(
                source="changes",
                items=_seen(page.items),
                observed_at=page.observed_at,
                cursor=record.cursor,
                request=page.request,
            ),
            more=page.next_page_token is not None,
        )


def _seen(items: Sequence[Item]) -> tuple[Seen, ...]:
    return tuple(Seen(id=item.id, body=item.body) for item in items)


def _gap(before: LogRecord, after: LogRecord, now: dt.datetime) -> tuple[LogFact, ...]:
    """Return the gap that this page opened, once: the first incomplete page of a listing."""
    if domain.listing_whole(after) or not domain.listing_whole(before):
        return ()
    return (domain.listing_incomplete(before, now),)
