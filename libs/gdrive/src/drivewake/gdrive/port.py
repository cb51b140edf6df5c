"""What the rest of Drivewake may ask of Google Drive: a port, and the questions it takes."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from drivewake.gdrive.errors import GoogleError
from drivewake.gdrive.pages import (
    ActivityPage,
    ChangesPage,
    DrivesPage,
    FileAnswer,
    FilesPage,
    Part,
    WatchAnswer,
)
from drivewake.gdrive.token import AccessToken

MAX_PAGE: Final = 1000
PartKind = Literal["permissions", "revisions", "comments"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One list of one file. `since` (RFC 3339): only comments modified since then."""

    kind: PartKind
    file: str
    since: str = ""


class ActivityQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What people did after `after_ms`, up to and with `until_ms` (since 1970).

    To `item` alone, or to `folder` and all below it (`root`: the whole My Drive). `actions`:
    action cases of the API (`PERMISSION_CHANGE`), all if empty.
    """

    after_ms: int
    until_ms: int
    item: str = ""
    folder: str = "root"
    actions: tuple[str, ...] = ()
    page_size: int = 100

    def body(self, page_token: str) -> dict[str, Any]:
        """Return the request as the API wants it."""
        words = [f"time > {self.after_ms}", f"time <= {self.until_ms}"]
        if self.actions:
            words.append(f"detail.action_detail_case:({' '.join(self.actions)})")
        whose = (
            {"itemName": f"items/{self.item}"}
            if self.item
            else {"ancestorName": f"items/{self.folder or 'root'}"}
        )
        return {
            **whose,
            "filter": " AND ".join(words),
            "consolidationStrategy": {"none": {}},
            "pageSize": self.page_size,
            **({"pageToken": page_token} if page_token else {}),
        }


class GoogleDrive(Protocol):
    """Drive v3, seen by one connection at a time. All methods may raise GoogleError.

    Calls are retried within a bounded budget where repeating is harmless; what is raised
    is final for this call. `token` is checked by Google alone: on UnauthorizedError refresh
    it (`TokenSource.call` does). `drive` selects the log of a shared drive: page tokens of
    one log mean nothing to another.
    """

    async def start_page_token(self, token: AccessToken, *, drive: str | None = None) -> str:
        """Return the token from which changes to come can be read."""
        ...

    async def list_changes(
        self,
        token: AccessToken,
        page_token: str,
        *,
        page_size: int = MAX_PAGE,
        drive: str | None = None,
    ) -> ChangesPage:
        """Return the page at `page_token`; CursorLostError if Google refuses the token."""
        ...

    async def list_files(
        self,
        token: AccessToken,
        page_token: str | None = None,
        *,
        page_size: int = MAX_PAGE,
        drive: str | None = None,
        folder: str = "",
    ) -> FilesPage:
        """Return a page of files, trashed ones too: all that the principal sees, by default.

        `drive`: those of a shared drive. `folder`: its children. CursorLostError: the listing
        must be begun again.
        """
        ...

    async def list_drives(self, token: AccessToken, page_token: str | None = None) -> DrivesPage:
        """Return a page of the shared drives that the principal belongs to."""
        ...

    async def get_file(self, token: AccessToken, file: str) -> FileAnswer:
        """Return one file; ItemNotFoundError if it is gone or not visible."""
        ...

    async def get_files(
        self, token: AccessToken, files: Sequence[str]
    ) -> list[FileAnswer | GoogleError]:
        """Return many files, each or why not, in order; in batches."""
        ...

    async def read_parts(
        self, token: AccessToken, wanted: Sequence[Wanted]
    ) -> list[Part | GoogleError]:
        """Return lists of permissions, revisions or comments, each whole or why not; batched."""
        ...

    async def query_activity(
        self, token: AccessToken, question: ActivityQuery, page_token: str = ""
    ) -> ActivityPage:
        """Return a page of activities, not consolidated; ItemNotFoundError of an unknown item."""
        ...

    async def watch_changes(
        self,
        token: AccessToken,
        page_token: str,
        channel_id: str,
        address: str,
        channel_token: str,
        expires_at: dt.datetime,
        *,
        drive: str | None = None,
    ) -> WatchAnswer:
        """Open a push channel. Never repeated: after UnavailableError it may exist or not.

        Raises ChannelRefusedError if Google will not push there.
        """
        ...

    async def stop_channel(self, token: AccessToken, channel_id: str, resource_id: str) -> None:
        """Close a push channel; ItemNotFoundError if Google knows none such."""
        ...
