"""What the rest of Drivewake may ask of Google Drive, and the client that asks it."""

import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import msgspec
from googleapiclient.http import HttpRequest

from drivewake.gdrive.errors import BadRequestError, MalformedAnswerError, RateLimitedError
from drivewake.gdrive.pages import (
    ChangesPage,
    FileAnswer,
    FilesPage,
    WatchAnswer,
    decode_changes,
    decode_channel,
    decode_file,
    decode_files,
    decode_start,
)
from drivewake.gdrive.quota import Governor, units
from drivewake.gdrive.requests import DriveRequests, fingerprint
from drivewake.gdrive.retries import Retries
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Transport
from drivewake.runtime.clock import Clock, SystemClock

MAX_PAGE: Final = 1000
_A_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
T = TypeVar("T")


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
        self, token: AccessToken, page_token: str | None = None, *, page_size: int = MAX_PAGE
    ) -> FilesPage:
        """Return a page of all files the principal sees, trashed ones too.

        CursorLostError: the listing must be begun again.
        """
        ...

    async def get_file(self, token: AccessToken, file: str) -> FileAnswer:
        """Return one file; ItemNotFoundError if it is gone or not visible."""
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


class DriveClient:
    """GoogleDrive over HTTP. One per process; tasks share its pool, retries and governor.

    `api_endpoint` is the root of the API (`https://www.googleapis.com`, or a simulator's).
    """

    def __init__(
        self,
        api_endpoint: str = "https://www.googleapis.com",
        *,
        transport: Transport | None = None,
        governor: Governor | None = None,
        retries: Retries | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._requests = DriveRequests(api_endpoint)
        self._transport = transport or Transport()
        self._governor = governor or Governor()
        self._retries = retries or Retries()
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def start_page_token(self, token: AccessToken, *, drive: str | None = None) -> str:
        """Return the token from which changes to come can be read."""
        start, _, _ = await self._call(token, self._requests.start_page_token(drive), decode_start)
        return start

    async def list_changes(
        self,
        token: AccessToken,
        page_token: str,
        *,
        page_size: int = MAX_PAGE,
        drive: str | None = None,
    ) -> ChangesPage:
        """Return the page at `page_token`."""
        _must(page_token, "page_token")
        (items, following, start), made, asked_at = await self._call(
            token, self._requests.list_changes(page_token, page_size, drive), decode_changes
        )
        if following == page_token:
            raise MalformedAnswerError("drive.changes.list: the next page token is the last one")
        return ChangesPage(
            items=items,
            next_page_token=following or None,
            new_start_page_token=start or None,
            request=made,
            observed_at=asked_at,
        )

    async def list_files(
        self, token: AccessToken, page_token: str | None = None, *, page_size: int = MAX_PAGE
    ) -> FilesPage:
        """Return a page of all files the principal sees, trashed ones too."""
        (items, following, incomplete), made, asked_at = await self._call(
            token, self._requests.list_files(page_token, page_size), decode_files
        )
        if following and following == page_token:
            raise MalformedAnswerError("drive.files.list: the next page token is the last one")
        return FilesPage(
            items=items,
            next_page_token=following or None,
            incomplete=incomplete,
            request=made,
            observed_at=asked_at,
        )

    async def get_file(self, token: AccessToken, file: str) -> FileAnswer:
        """Return one file."""
        _must(file, "file")
        item, made, asked_at = await self._call(token, self._requests.get_file(file), decode_file)
        return FileAnswer(item=item, request=made, observed_at=asked_at)

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
        """Open a push channel."""
        _must(page_token, "page_token")
        asked_ms = (expires_at - _EPOCH) // _A_MILLISECOND
        channel = {
            "id": channel_id,
            "type": "web_hook",
            "address": address,
            "token": channel_token,
            "expiration": str(asked_ms),
        }
        (resource_id, given_ms), _, _ = await self._call(
            token,
            self._requests.watch_changes(page_token, channel, drive),
            decode_channel,
            repeat=False,
        )
        given_ms = asked_ms if given_ms is None else given_ms
        return WatchAnswer(resource_id=resource_id, expires_at=_EPOCH + given_ms * _A_MILLISECOND)

    async def stop_channel(self, token: AccessToken, channel_id: str, resource_id: str) -> None:
        """Close a push channel."""
        await self._call(
            token, self._requests.stop_channel(channel_id, resource_id), lambda _: None
        )

    async def _call(
        self,
        token: AccessToken,
        request: HttpRequest,
        decode: Callable[[bytes], T],
        *,
        repeat: bool = True,
    ) -> tuple[T, str, dt.datetime]:
        """Send one request, again where that may help.

        Return its value, its fingerprint, and the instant just before the attempt that was
        answered: what Google tells is no older than that, however long the answer waited
        here before it was read.
        """
        method = request.methodId
        cost = units(method)
        user = token.connection

        async def once() -> tuple[T, dt.datetime]:
            await self._governor.admit(user, cost)
            asked_at = self._clock.now()
            try:
                body = await self._transport.send(request, token)
            except RateLimitedError as error:
                self._governor.refused(user, error)
                raise
            self._governor.accepted(user)
            try:
                return decode(body), asked_at
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                # The message names what differs, never the content.
                raise MalformedAnswerError(f"{method}: {error}", method=method) from error

        value, asked_at = await self._retries.run(once, method) if repeat else await once()
        return value, fingerprint(request), asked_at


def _must(value: str, what: str) -> None:
    if not value:
        raise BadRequestError(f"{what} must not be empty")
