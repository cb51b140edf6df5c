"""The port `GoogleDrive` over HTTP."""

import datetime as dt
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec
from googleapiclient.http import HttpRequest

from drivewake.gdrive.batch import MAX_CALLS, Batch
from drivewake.gdrive.errors import (
    BadRequestError,
    GoogleError,
    GrantError,
    MalformedAnswerError,
    RateLimitedError,
    UnauthorizedError,
)
from drivewake.gdrive.pages import (
    ActivityPage,
    ChangesPage,
    DrivesPage,
    FileAnswer,
    FilesPage,
    Part,
    WatchAnswer,
    decode_activities,
    decode_changes,
    decode_channel,
    decode_drives,
    decode_file,
    decode_files,
    decode_part,
    decode_start,
)
from drivewake.gdrive.port import MAX_PAGE, ActivityQuery, Wanted
from drivewake.gdrive.quota import Governor, units
from drivewake.gdrive.requests import ActivityRequests, DriveRequests, fingerprint
from drivewake.gdrive.retries import Retries
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Transport
from drivewake.runtime.clock import Clock, SystemClock

GOOGLE: Final = "https://www.googleapis.com"
GOOGLE_ACTIVITY: Final = "https://driveactivity.googleapis.com"
_A_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MAX_ROUNDS: Final = 50
"""Pages of one list of permissions, revisions or comments."""

T = TypeVar("T")


class DriveClient:
    """GoogleDrive over HTTP. One per process; tasks share its pool, retries and governor.

    `api_endpoint` is the root of the API (`https://www.googleapis.com`, or a simulator's),
    `activity_endpoint` that of Drive Activity, where it is another.
    """

    def __init__(
        self,
        api_endpoint: str = GOOGLE,
        *,
        activity_endpoint: str = "",
        transport: Transport | None = None,
        governor: Governor | None = None,
        retries: Retries | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._requests = DriveRequests(api_endpoint)
        other = GOOGLE_ACTIVITY if api_endpoint == GOOGLE else api_endpoint
        self._activity = ActivityRequests(activity_endpoint or other)
        self._transport = transport or Transport()
        self.governor = governor or Governor()
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
        _must_move("drive.changes.list", page_token, following)
        return ChangesPage(
            items=items,
            next_page_token=following or None,
            new_start_page_token=start or None,
            request=made,
            observed_at=asked_at,
        )

    async def list_files(
        self,
        token: AccessToken,
        page_token: str | None = None,
        *,
        page_size: int = MAX_PAGE,
        drive: str | None = None,
        folder: str = "",
    ) -> FilesPage:
        """Return a page of files, trashed ones too."""
        (items, following, incomplete), made, asked_at = await self._call(
            token, self._requests.list_files(page_token, page_size, drive, folder), decode_files
        )
        _must_move("drive.files.list", page_token, following)
        return FilesPage(
            items=items,
            next_page_token=following or None,
            incomplete=incomplete,
            request=made,
            observed_at=asked_at,
        )

    async def list_drives(self, token: AccessToken, page_token: str | None = None) -> DrivesPage:
        """Return a page of the shared drives that the principal belongs to."""
        (items, following), made, asked_at = await self._call(
            token, self._requests.list_drives(page_token), decode_drives
        )
        _must_move("drive.drives.list", page_token, following)
        return DrivesPage(
            items=items, next_page_token=following or None, request=made, observed_at=asked_at
        )

    async def get_file(self, token: AccessToken, file: str) -> FileAnswer:
        """Return one file."""
        _must(file, "file")
        item, made, asked_at = await self._call(token, self._requests.get_file(file), decode_file)
        return FileAnswer(item=item, request=made, observed_at=asked_at)

    async def get_files(
        self, token: AccessToken, files: Sequence[str]
    ) -> list[FileAnswer | GoogleError]:
        """Return many files, each or why not."""
        found: list[FileAnswer | GoogleError] = []
        calls = [self._requests.get_file(file) for file in files]
        for answer, call, asked_at in await self._batched(token, calls, decode_file):
            if isinstance(answer, GoogleError):
                found.append(answer)
            else:
                made = fingerprint(call)
                found.append(FileAnswer(item=answer, request=made, observed_at=asked_at))
        return found

    async def read_parts(
        self, token: AccessToken, wanted: Sequence[Wanted]
    ) -> list[Part | GoogleError]:
        """Return lists of permissions, revisions or comments, each whole or why not."""
        items: list[list[msgspec.Raw]] = [[] for _ in wanted]
        found: list[Part | GoogleError | None] = [None] * len(wanted)
        at: list[dt.datetime | None] = [None] * len(wanted)
        asking = [(number, "") for number in range(len(wanted))]
        for _ in range(MAX_ROUNDS):
            calls = [self._part(wanted[number], page_token) for number, page_token in asking]
            answers = await self._batched(token, calls, decode_part)
            following: list[tuple[int, str]] = []
            for (number, _token), (answer, call, asked_at) in zip(asking, answers, strict=True):
                if isinstance(answer, GoogleError):
                    found[number] = answer
                    continue
                at[number] = at[number] or asked_at
                items[number] += answer[0]
                if answer[1]:
                    following.append((number, answer[1]))
                else:
                    found[number] = Part(
                        items=tuple(items[number]),
                        observed_at=at[number] or asked_at,
                        request=fingerprint(call),
                    )
            asking = following
            if not asking:
                break
        endless = MalformedAnswerError(f"a list has more than {MAX_ROUNDS} pages")
        return [endless if one is None else one for one in found]

    def _part(self, wanted: Wanted, page_token: str) -> HttpRequest:
        match wanted.kind:
            case "permissions":
                return self._requests.list_permissions(wanted.file, page_token or None)
            case "revisions":
                return self._requests.list_revisions(wanted.file, page_token or None)
            case "comments":
                return self._requests.list_comments(wanted.file, wanted.since, page_token or None)

    async def query_activity(
        self, token: AccessToken, question: ActivityQuery, page_token: str = ""
    ) -> ActivityPage:
        """Return a page of activities, not consolidated."""
        request = self._activity.query(question.body(page_token))
        (activities, following), made, asked_at = await self._call(
            token, request, decode_activities
        )
        _must_move("driveactivity.activity.query", page_token, following)
        return ActivityPage(
            activities=activities,
            next_page_token=following or None,
            request=made,
            observed_at=asked_at,
        )

    async def _batched(
        self, token: AccessToken, calls: Sequence[HttpRequest], decode: Callable[[bytes], T]
    ) -> list[tuple[T | GoogleError, HttpRequest, dt.datetime]]:
        """Send calls in batches of 100; one alone goes as it is. An error of one is a value."""
        found: list[tuple[T | GoogleError, HttpRequest, dt.datetime]] = []
        for start in range(0, len(calls), MAX_CALLS):
            chunk = calls[start : start + MAX_CALLS]
            if len(chunk) == 1:
                try:
                    value, _, asked_at = await self._call(token, chunk[0], decode)
                    found.append((value, chunk[0], asked_at))
                except (UnauthorizedError, GrantError):
                    raise
                except GoogleError as error:
                    found.append((error, chunk[0], self._clock.now()))
                continue
            batch = Batch(self._requests.batch_uri, chunk)
            cost = sum(units(str(call.methodId)) for call in chunk)
            answers, _, asked_at = await self._call(
                token, batch.request, batch.answers, cost=cost, calls=len(chunk)
            )
            for answer, call in zip(answers, chunk, strict=True):
                found.append((self._decoded(token, call, answer, decode), call, asked_at))
        return found

    def _decoded(
        self,
        token: AccessToken,
        call: HttpRequest,
        answer: bytes | GoogleError,
        decode: Callable[[bytes], T],
    ) -> T | GoogleError:
        """Return the value of one call of a batch; grants and refusals for speed count at once."""
        if isinstance(answer, GrantError):
            raise answer
        if isinstance(answer, RateLimitedError):
            self.governor.refused(token.connection, answer)
        if isinstance(answer, GoogleError):
            return answer
        try:
            return decode(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return MalformedAnswerError(f"{call.methodId}: {error}", method=str(call.methodId))

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
        cost: int = 0,
        calls: int = 1,
    ) -> tuple[T, str, dt.datetime]:
        """Send one request, again where that may help.

        Return its value, its fingerprint, and the instant just before the attempt that was
        answered: what Google tells is no older than that, however long the answer waited
        here before it was read.
        """
        method = request.methodId
        cost = cost or units(method)
        user = token.connection

        async def once() -> tuple[T, dt.datetime]:
            await self.governor.admit(user, cost, calls=calls, method=method)
            asked_at = self._clock.now()
            try:
                body = await self._transport.send(request, token)
            except RateLimitedError as error:
                self.governor.refused(user, error)
                raise
            self.governor.accepted(user, method)
            try:
                return decode(body), asked_at
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                # The message names what differs, never the content.
                raise MalformedAnswerError(f"{method}: {error}", method=method) from error

        value, asked_at = await self._retries.run(once, method) if repeat else await once()
        return value, fingerprint(request), asked_at


def _must_move(method: str, page_token: str | None, following: str) -> None:
    """Refuse to go in circles."""
    if following and following == page_token:
        raise MalformedAnswerError(f"{method}: the next page token is the last one", method=method)


def _must(value: str, what: str) -> None:
    if not value:
        raise BadRequestError(f"{what} must not be empty")
