"""What the rest of Drivewake may ask of Google Drive, and the client that asks it."""

import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import msgspec
from googleapiclient.http import HttpRequest

from drivewake.gdrive.errors import BadRequestError, MalformedAnswerError, RateLimitedError
from drivewake.gdrive.quota import Governor, units
from drivewake.gdrive.requests import DriveRequests, fingerprint
from drivewake.gdrive.retries import Retries
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Transport

MAX_PAGE: Final = 1000
_A_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
T = TypeVar("T")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One Change or File resource, verbatim in `body`, with what is needed to route it.

    `id` is the file's id, or the shared drive's for a change of the drive itself
    (`is_drive`); empty if Google named neither: such an item belongs to the dead letters.
    `body` is a view of the whole page: copy it to keep it for long.
    """

    id: str
    body: msgspec.Raw
    removed: bool = False
    is_drive: bool = False


class ChangesPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of changes. Exactly one of the two tokens is set.

    `next_page_token`: more to read now. `new_start_page_token`: the end; start there next
    time. `request` is the fingerprint of the call, `observed_at` when the answer was whole.
    """

    items: tuple[Item, ...]
    next_page_token: str | None
    new_start_page_token: str | None
    request: str
    observed_at: dt.datetime


class FilesPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing; `incomplete` means: no evidence of absence."""

    items: tuple[Item, ...]
    next_page_token: str | None
    incomplete: bool
    request: str
    observed_at: dt.datetime


class FileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One file, verbatim."""

    item: Item
    request: str
    observed_at: dt.datetime


class WatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A push channel that Google opened; `expires_at` is Google's, which may be sooner."""

    resource_id: str
    expires_at: dt.datetime


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


class _ChangeList(msgspec.Struct):
    changes: list[msgspec.Raw] = []
    nextPageToken: str = ""  # noqa: N815 - Google's names
    newStartPageToken: str = ""  # noqa: N815


class _ChangeHead(msgspec.Struct):
    fileId: str = ""  # noqa: N815
    driveId: str = ""  # noqa: N815
    changeType: str = ""  # noqa: N815
    removed: bool = False


class _FileList(msgspec.Struct):
    files: list[msgspec.Raw] = []
    nextPageToken: str = ""  # noqa: N815
    incompleteSearch: bool = False  # noqa: N815


class _FileHead(msgspec.Struct):
    id: str = ""


class _StartPageToken(msgspec.Struct):
    startPageToken: str  # noqa: N815


class _Channel(msgspec.Struct):
    resourceId: str  # noqa: N815
    expiration: str | int = ""


_change_list = msgspec.json.Decoder(_ChangeList)
_change_head = msgspec.json.Decoder(_ChangeHead)
_file_list = msgspec.json.Decoder(_FileList)
_file_head = msgspec.json.Decoder(_FileHead)
_start = msgspec.json.Decoder(_StartPageToken)
_channel = msgspec.json.Decoder(_Channel)


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
    ) -> None:
        self._requests = DriveRequests(api_endpoint)
        self._transport = transport or Transport()
        self._governor = governor or Governor()
        self._retries = retries or Retries()

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
        answer, _ = await self._call(token, self._requests.start_page_token(drive), _start.decode)
        return answer.startPageToken

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
        (page, items), made = await self._call(
            token,
            self._requests.list_changes(page_token, page_size, drive),
            _decode_changes,
        )
        if bool(page.nextPageToken) == bool(page.newStartPageToken):
            raise MalformedAnswerError("drive.changes.list: one page token was expected")
        if page.nextPageToken == page_token:
            raise MalformedAnswerError("drive.changes.list: the next page token is the last one")
        return ChangesPage(
            items=items,
            next_page_token=page.nextPageToken or None,
            new_start_page_token=page.newStartPageToken or None,
            request=made,
            observed_at=dt.datetime.now(dt.UTC),
        )

    async def list_files(
        self, token: AccessToken, page_token: str | None = None, *, page_size: int = MAX_PAGE
    ) -> FilesPage:
        """Return a page of all files the principal sees, trashed ones too."""
        (page, items), made = await self._call(
            token, self._requests.list_files(page_token, page_size), _decode_files
        )
        return FilesPage(
            items=items,
            next_page_token=page.nextPageToken or None,
            incomplete=page.incompleteSearch,
            request=made,
            observed_at=dt.datetime.now(dt.UTC),
        )

    async def get_file(self, token: AccessToken, file: str) -> FileAnswer:
        """Return one file."""
        _must(file, "file")
        item, made = await self._call(token, self._requests.get_file(file), _decode_file)
        return FileAnswer(item=item, request=made, observed_at=dt.datetime.now(dt.UTC))

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
        expiration = (expires_at - _EPOCH) // _A_MILLISECOND
        body = {
            "id": channel_id,
            "type": "web_hook",
            "address": address,
            "token": channel_token,
            "expiration": str(expiration),
        }
        answer, _ = await self._call(
            token,
            self._requests.watch_changes(page_token, body, drive),
            _channel.decode,
            repeat=False,
        )
        given = str(answer.expiration)
        if given.isascii() and given.isdigit() and len(given) < 15:  # noqa: PLR2004 - year 5000
            expiration = int(given)
        return WatchAnswer(
            resource_id=answer.resourceId, expires_at=_EPOCH + expiration * _A_MILLISECOND
        )

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
    ) -> tuple[T, str]:
        """Send one request, again where that may help; return its value and fingerprint."""
        method = request.methodId
        cost = units(method)
        user = token.connection

        async def once() -> T:
            await self._governor.admit(user, cost)
            try:
                body = await self._transport.send(request, token)
            except RateLimitedError as error:
                self._governor.refused(user, error)
                raise
            self._governor.accepted(user)
            try:
                return decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                # The message names what differs, never the content.
                raise MalformedAnswerError(f"{method}: {error}", method=method) from error

        value = await self._retries.run(once, method) if repeat else await once()
        return value, fingerprint(request)


def _must(value: str, what: str) -> None:
    if not value:
        raise BadRequestError(f"{what} must not be empty")


def _decode_changes(body: bytes) -> tuple[_ChangeList, tuple[Item, ...]]:
    _check_text(body)
    page = _change_list.decode(body)
    return page, tuple(map(_change, page.changes))


def _decode_files(body: bytes) -> tuple[_FileList, tuple[Item, ...]]:
    _check_text(body)
    page = _file_list.decode(body)
    return page, tuple(map(_file, page.files))


def _decode_file(body: bytes) -> Item:
    _check_text(body)
    return _file(msgspec.Raw(body))


def _check_text(body: bytes) -> None:
    """Refuse what is not UTF-8: the decoder skips the strings that it is not asked for."""
    if not body.isascii():
        body.decode()


def _change(raw: msgspec.Raw) -> Item:
    try:
        head = _change_head.decode(raw)
    except msgspec.ValidationError:
        return Item(id="", body=raw)
    if head.changeType == "drive" or (not head.fileId and head.driveId):
        return Item(id=head.driveId, body=raw, removed=head.removed, is_drive=True)
    return Item(id=head.fileId, body=raw, removed=head.removed)


def _file(raw: msgspec.Raw) -> Item:
    try:
        return Item(id=_file_head.decode(raw).id, body=raw)
    except msgspec.ValidationError:
        return Item(id="", body=raw)
