"""What people did: Drive Activity of the whole Drive or of a watched folder, in closed windows."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from drivewake.contracts.records import LogKind, LogRecord, Slice
from drivewake.gdrive.errors import ItemNotFoundError, UnavailableError
from drivewake.gdrive.pages import ActivityPage
from drivewake.gdrive.port import ActivityQuery, GoogleDrive
from drivewake.poller import listing, windows
from drivewake.poller.ports import Page, Seen, Step, Tokens
from drivewake.poller.sources.enrichment import FOLDER
from drivewake.poller.windows import Windows
from drivewake.runtime.clock import Clock


class ActivitySource:
    """Reads `activity` logs; `resource` is the folder, or the shared drive; empty: My Drive."""

    kinds: Final[Sequence[LogKind]] = ("activity",)

    def __init__(
        self,
        drive: GoogleDrive,
        tokens: Tokens,
        clock: Clock,
        windows: Windows | None = None,
        *,
        page_size: int = 200,
    ) -> None:
        self._drive = drive
        self._tokens = tokens
        self._clock = clock
        self._windows = windows or Windows()
        self._page_size = page_size

    async def step(self, record: LogRecord) -> Step:
        """Read one page of the window, or split what cannot be read."""
        if record.left:
            return Step(record=listing.left_behind(record), more=False)
        now = self._clock.now()
        due = windows.planned(self._windows, record, now)
        if not due.slices:
            return Step(record=due, more=False)
        try:
            page = await self._query(due, due.slices[0])
        except ItemNotFoundError as error:
            return self._missing(due, error)
        except UnavailableError as error:
            if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return await self._poisoned(due, error)
        raws, alike = activity_page(record.connection, due.cursor, page, due.slices[0].alike)
        moved, closed = windows.read(due, page.next_page_token or "", alike)
        moved = listing.found(moved, len(page.activities), now)
        return Step(
            record=moved,
            pages=(raws,),
            after=tuple(windows.gap_closed(gap, now) for gap in closed),
            more=bool(moved.slices),
        )

    async def _query(self, record: LogRecord, part: Slice) -> ActivityPage:
        question = ActivityQuery(
            after_ms=part.after_ms,
            until_ms=part.until_ms,
            item=part.item,
            folder=part.folder or record.resource or "root",
            actions=tuple(part.actions.split()),
            page_size=self._page_size,
        )
        return await self._tokens.call(
            record.tenant,
            record.connection,
            lambda token: self._drive.query_activity(token, question, part.page_token),
        )

    def _missing(self, record: LogRecord, error: ItemNotFoundError) -> Step:
        """Pass over a child that is gone; if it is the log's own folder, somebody must know."""
        part = record.slices[0]
        if not part.item and not part.folder:
            return Step(record=record, more=False, setback=f"folder unknown: {error}")
        moved, _ = windows.read(windows.ungapped(record), "", {})
        return Step(record=moved, more=bool(moved.slices))

    async def _poisoned(self, record: LogRecord, error: UnavailableError) -> Step:
        """Try again, then split, then fall back to the children and record a gap."""
        now = self._clock.now()
        if record.slices[0].tries < self._windows.tries:
            return Step(record=windows.tried(record), setback=f"activity: {error}")
        split = windows.split(self._windows, record)
        if split is not None:
            return Step(record=split)
        if len(record.gaps) >= windows.MAX_GAPS:
            raise error  # so much is wrong that we wait, with the cursor's debt in the record
        folders, files = await self._children(record, record.slices[0])
        given = windows.given_up(self._windows, record, folders, files, now)
        opened = listing.gaps_opened(record, given, now)
        return Step(record=given, after=opened, more=bool(given.slices))

    async def _children(
        self, record: LogRecord, part: Slice
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the folders and the files that lie in a slice's folder now, in bounds."""
        if part.item or part.gap:
            return (), ()
        folder = part.folder or record.resource or "root"
        page = await self._tokens.call(
            record.tenant,
            record.connection,
            lambda token: self._drive.list_files(
                token, None, page_size=windows.MAX_SLICES, folder=folder
            ),
        )
        looks = [item.look for item in page.items if item.look is not None]
        folders = tuple(look.id for look in looks if look.mime_type == FOLDER)
        own = () if folder == "root" else (folder,)
        return folders, (*own, *(look.id for look in looks if look.mime_type != FOLDER))


def activity_page(
    connection: str, cursor: str, page: ActivityPage, alike: Mapping[str, int]
) -> tuple[Page, dict[str, int]]:
    """Return activities as raws: one a target; of none, one that belongs to the connection.

    Activities without any difference are numbered: `alike` are those of the pages before, what
    is returned beside the raws are those of this page too, in case the instant goes on.
    """
    counts: Counter[str] = Counter()
    items: list[Seen] = []
    for activity in page.activities:
        digest = hashlib.blake2b(activity.body, digest_size=12).hexdigest()
        ordinal = alike.get(digest, 0) + counts[digest]
        counts[digest] += 1
        targets = activity.targets or (connection,)
        items += [Seen(id=one, body=activity.body, ordinal=ordinal) for one in targets]
    found = Page(
        source="activity",
        items=items,
        observed_at=page.observed_at,
        cursor=cursor,
        request=page.request,
    )
    if not page.activities:
        return found, dict(alike)
    last = hashlib.blake2b(page.activities[-1].body, digest_size=12).hexdigest()
    return found, {last: alike.get(last, 0) + counts[last]}
