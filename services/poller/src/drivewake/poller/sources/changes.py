"""Changes of a user or of a shared drive: start token first, then changes and a full listing.

`phase` says where a log stands: `new` (nothing yet, or the cursor was lost), `snapshot` (its
first listing), `live`. Each step is one call or one batch. What comes first: the shared drives
of a user; changes, in turn with the permissions, revisions and comments of files that changed;
and pages of a listing that is under way.
"""

from collections.abc import Callable, Sequence
from typing import Final

from drivewake.contracts.ids import new_id
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.gdrive.errors import CursorLostError, GoogleError, ItemNotFoundError, RetryError
from drivewake.gdrive.pages import ChangesPage, DrivesPage, FileAnswer, Item
from drivewake.gdrive.port import MAX_PAGE, GoogleDrive
from drivewake.poller import listing
from drivewake.poller.domain import Rules
from drivewake.poller.ports import Page, Seen, Step, Tokens
from drivewake.poller.sources.enrichment import Enrichment
from drivewake.runtime.clock import Clock

MAX_DRIVE_PAGES: Final = 200
MAX_PENDING: Final = 2000
"""Changed files that wait for their lists; with more, lists come before further changes."""


class ChangesSource:
    """Reads `user_changes` and `drive_changes` logs; the latter's `resource` is the drive."""

    kinds: Final[Sequence[LogKind]] = ("user_changes", "drive_changes")

    def __init__(
        self,
        drive: GoogleDrive,
        tokens: Tokens,
        clock: Clock,
        rules: Rules,
        enrichment: Enrichment,
        *,
        page_size: int = MAX_PAGE,
        new_snapshot_id: Callable[[], str] = new_id,
    ) -> None:
        self._drive = drive
        self._tokens = tokens
        self._clock = clock
        self._rules = rules
        self._enrichment = enrichment
        self._page_size = page_size
        self._new_snapshot_id = new_snapshot_id

    async def step(self, record: LogRecord) -> Step:
        """Do whatever comes next for a log."""
        if record.left:
            return self._leave(record)
        if record.phase == "new":
            return await self._begin(record)
        return await self._read(record)

    async def _read(self, record: LogRecord) -> Step:
        """Do what comes next for a log that has a cursor."""
        now = self._clock.now()
        if record.pending and not (record.fresh_first and len(record.pending) < MAX_PENDING):
            return await self._enrichment.read(record)
        if listing.drives_due(self._rules, record, now):
            return await self._list_drives(record)
        if listing.listing_due(record, now):
            return Step(record=listing.listing_begun(record, self._new_snapshot_id(), now))
        if listing.listing_turn(self._rules, record):
            return await self._list(record)
        return await self._changes(record)

    async def _begin(self, record: LogRecord) -> Step:
        """Take the start token; it is saved before the first page is asked for."""
        try:
            start_token = await self._tokens.call(
                record.tenant,
                record.connection,
                lambda token: self._drive.start_page_token(token, drive=record.resource or None),
            )
        except ItemNotFoundError as error:
            return _unknown_drive(record, error)
        now = self._clock.now()
        return Step(record=listing.started(record, start_token, self._new_snapshot_id(), now))

    def _leave(self, record: LogRecord) -> Step:
        """End a log whose drive is not the principal's any more: a listing without a file."""
        empty = listing.listing_begun(record, self._new_snapshot_id(), self._clock.now())
        return Step(
            record=listing.left_behind(record),
            before=(listing.snapshot_started(empty),),
            after=listing.snapshot_ended(empty),
            more=False,
        )

    async def _list_drives(self, record: LogRecord) -> Step:
        """Read which shared drives the user belongs to, all of them or none."""
        asked_at = self._clock.now()
        pages: list[Page] = []
        page_token: str | None = None
        snapshot = record.snapshot if listing.drives_in_listing(record) else None
        for _ in range(MAX_DRIVE_PAGES):
            page = await self._drives_page(record, page_token)
            pages.append(
                Page(
                    source="drive",
                    items=seen(page.items),
                    observed_at=page.observed_at,
                    request=page.request,
                    snapshot=snapshot.id if snapshot else "",
                )
            )
            page_token = page.next_page_token
            if page_token is None:
                break
        drives = tuple(one.id for page in pages for one in page.items)
        return Step(
            record=listing.drives_listed(record, asked_at, len(drives)),
            before=(listing.snapshot_started(record),) if snapshot else (),
            pages=pages,
            drives=drives,
        )

    async def _drives_page(self, record: LogRecord, page_token: str | None) -> DrivesPage:
        return await self._tokens.call(
            record.tenant,
            record.connection,
            lambda token: self._drive.list_drives(token, page_token),
        )

    async def _list(self, record: LogRecord) -> Step:
        """Read one page of the listing; the facts around it frame its items."""
        snapshot = record.snapshot
        assert snapshot is not None  # noqa: S101 - its turn says that it is under way
        try:
            page = await self._tokens.call(
                record.tenant,
                record.connection,
                lambda token: self._drive.list_files(
                    token,
                    snapshot.page_token or None,
                    page_size=self._page_size,
                    drive=record.resource or None,
                ),
            )
        except CursorLostError as error:
            lost = listing.listing_lost(record, self._clock.now())
            return Step(record=lost, setback=f"listing lost: {error}")
        except ItemNotFoundError as error:
            return _unknown_drive(record, error)
        following = page.next_page_token or ""
        moved = listing.listed(
            record, following, len(page.items), page.observed_at, incomplete=page.incomplete
        )
        last = page.next_page_token is None
        ended = listing.listing_ended(self._rules, moved, self._clock.now()) if last else moved
        return Step(
            record=self._enrichment.want(ended, page.items, listed=True),
            before=(listing.snapshot_started(record),) if listing.untold(record) else (),
            pages=(
                Page(
                    source="snapshot",
                    items=seen(page.items),
                    observed_at=page.observed_at,
                    cursor=snapshot.page_token,
                    request=page.request,
                    snapshot=snapshot.id,
                ),
            ),
            after=(
                *listing.gaps_opened(record, moved, page.observed_at),
                *(listing.snapshot_ended(moved) if last else ()),
            ),
        )

    async def _changes(self, record: LogRecord) -> Step:
        """Read one page of changes."""
        try:
            page = await self._tokens.call(
                record.tenant,
                record.connection,
                lambda token: self._drive.list_changes(
                    token,
                    record.cursor,
                    page_size=self._page_size,
                    drive=record.resource or None,
                ),
            )
        except CursorLostError as error:
            now = self._clock.now()
            lost = listing.cursor_lost(record, now)
            opened = listing.gaps_opened(record, lost, now)
            return Step(record=lost, after=opened, setback=f"cursor lost: {error}")
        except ItemNotFoundError as error:
            return _unknown_drive(record, error)
        items, found = await self._still_there(record, page)
        cursor = page.next_page_token or page.new_start_page_token
        assert cursor is not None  # noqa: S101 - the client promises one of them
        end = page.next_page_token is None
        moved = listing.advanced(record, cursor, len(page.items), page.observed_at, end=end)
        if not record.resource and any(item.is_drive for item in page.items):
            moved = listing.drives_doubted(moved)
        moved = self._enrichment.want(moved, items, listed=False)
        read = Page(
            source="changes",
            items=seen(items),
            observed_at=page.observed_at,
            cursor=record.cursor,
            request=page.request,
        )
        due = listing.drives_due(self._rules, moved, page.observed_at) or moved.snapshot is not None
        more = not end or due or bool(moved.pending)
        return Step(record=moved, pages=(read, *found), more=more)

    async def _still_there(
        self, record: LogRecord, page: ChangesPage
    ) -> tuple[Sequence[Item], Sequence[Page]]:
        """Tell files that moved out of a shared drive from those that are gone.

        To the log of a drive both are removed. What the user still sees is told as seen, and
        not as removed; the rest is as Google says. Raises RetryError if Google cannot say.
        """
        removed = [item.id for item in page.items if item.removed and not item.is_drive]
        if not record.resource or not removed:
            return page.items, ()
        answers = await self._tokens.call(
            record.tenant, record.connection, lambda token: self._drive.get_files(token, removed)
        )
        retry = next((one for one in answers if isinstance(one, RetryError)), None)
        if retry is not None:
            raise retry
        found = [one for one in answers if isinstance(one, FileAnswer)]
        visible = {one.item.id for one in found}
        items = [item for item in page.items if item.id not in visible or not item.removed]
        return items, tuple(file_page(one) for one in found)


def file_page(answer: FileAnswer) -> Page:
    """Return a page of one file that was asked for by itself."""
    return Page(
        source="file",
        items=seen((answer.item,)),
        observed_at=answer.observed_at,
        request=answer.request,
    )


def seen(items: Sequence[Item]) -> tuple[Seen, ...]:
    """Return items as they are published."""
    return tuple(Seen(id=item.id, body=item.body) for item in items)


def _unknown_drive(record: LogRecord, error: GoogleError) -> Step:
    """Let the list of the user's drives say whether this one is still among them."""
    if not record.resource:
        raise error
    return Step(record=record, more=False, doubted=True, setback=f"drive unknown: {error}")
