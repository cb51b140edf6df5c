"""Answers requests: one question, what was found published as raws, what it cost told."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from drivewake.contracts.ids import log_id
from drivewake.contracts.records import LogRecord, Slice
from drivewake.contracts.requests import Answer, Request
from drivewake.gdrive.errors import GoogleError, ItemNotFoundError, RetryError
from drivewake.gdrive.pages import Part
from drivewake.gdrive.port import GoogleDrive, PartKind, Wanted
from drivewake.gdrive.quota import Meter, metered, urgent
from drivewake.poller import domain, listing, windows
from drivewake.poller.ports import Held, Outside, Page, Source, Step, Tokens
from drivewake.poller.rewriting import rewrite
from drivewake.poller.sources.changes import file_page, seen
from drivewake.poller.sources.enrichment import FOLDER, part_page

PRIORITY: Final = 0
LOOK_S: Final = 0.1
"""How often the records of logs are looked at that were asked to be polled."""

MAX_FOLDERS: Final = 2000
"""Folders that one request goes down into; more is a rescan."""

Progress = Callable[[Answer], Awaitable[None]]


class UnansweredError(Exception):
    """The request cannot be answered: the message says why."""


class Answering:
    """Reads what a request asks for. Repeating one does no harm: raws are recognised.

    `parts` are the kinds of lists that are read of a single file.
    """

    def __init__(
        self,
        outside: Outside,
        drive: GoogleDrive,
        tokens: Tokens,
        activity: Source,
        parts: Sequence[PartKind],
    ) -> None:
        self._outside = outside
        self._drive = drive
        self._tokens = tokens
        self._activity = activity
        self._parts = parts

    async def answer(
        self, tenant: str, connection: str, name: str, request: Request, progress: Progress
    ) -> Answer:
        """Do what is asked and return how it went. Raises RetryError, BusError: ask again.

        `progress` is told now and then how far a long one is.
        """
        work = _Work(name, request, self._outside.clock.now)
        urgent.set(True)
        with metered() as meter:
            try:
                await self._do(tenant, connection, request, work, meter, progress)
            except RetryError:
                raise
            except (GoogleError, UnansweredError) as error:
                return work.answer(meter, "failed", str(error))
        return work.answer(meter, "done")

    async def _do(
        self,
        tenant: str,
        connection: str,
        request: Request,
        work: "_Work",
        meter: Meter,
        progress: Progress,
    ) -> None:
        log = self._user_log(tenant, connection)
        match request.kind:
            case "file":
                work.found += await self._file(log, request.target)
            case "folder":
                await self._folder(log, request, work, meter, progress)
            case "activity":
                await self._window(tenant, connection, request, work, meter, progress)
            case "poll" | "rescan":
                await self._logs(connection, request, work, meter, progress)

    def _user_log(self, tenant: str, connection: str) -> LogRecord:
        """Return the record under whose name answers are published."""
        name = log_id(connection, "user_changes")
        for held in self._outside.logs.of_connection(connection):
            if held.record.log == name:
                return held.record
        now = self._outside.clock.now()
        return domain.new_log(tenant, connection, "user_changes", now)

    async def _publish(self, log: LogRecord, *pages: Page) -> int:
        now = self._outside.clock.now()
        await self._outside.raws.publish(log, Step(record=log, pages=pages), now)
        return sum(len(page.items) for page in pages)

    async def _file(self, log: LogRecord, file: str) -> int:
        """Read a file and everything beside it."""
        try:
            answer = await self._tokens.call(
                log.tenant, log.connection, lambda token: self._drive.get_file(token, file)
            )
        except ItemNotFoundError as error:
            raise UnansweredError(
                f"the file is gone, or not for this connection: {error}"
            ) from None
        look = answer.item.look
        is_folder = look is not None and look.mime_type == FOLDER
        kinds = [one for one in self._parts if one == "permissions" or not is_folder]
        wanted = [Wanted(kind=kind, file=file) for kind in kinds]
        parts = await self._tokens.call(
            log.tenant, log.connection, lambda token: self._drive.read_parts(token, wanted)
        )
        pages = [file_page(answer)]
        for kind, part in zip(kinds, parts, strict=True):
            if isinstance(part, RetryError):
                raise part
            if isinstance(part, Part):
                version = look.version if look is not None else ""
                pages.append(part_page(kind, file, part, version))
        return await self._publish(log, *pages)

    async def _folder(
        self, log: LogRecord, request: Request, work: "_Work", meter: Meter, progress: Progress
    ) -> None:
        """Read what lies in a folder, level by level."""
        level, met = [request.target], {request.target}
        for _ in range(request.depth):
            below: list[str] = []
            for folder in level:
                below += await self._children(log, folder, work)
                await progress(work.answer(meter, "running"))
            level = [one for one in dict.fromkeys(below) if one not in met]
            met.update(level)
            if len(met) > MAX_FOLDERS:
                raise UnansweredError(
                    f"there are more than {MAX_FOLDERS} folders; ask for a rescan"
                )

    async def _children(self, log: LogRecord, folder: str, work: "_Work") -> list[str]:
        """Publish the children of one folder; return those that are folders."""
        folders: list[str] = []
        page_token: str | None = None
        while True:
            at = page_token
            page = await self._tokens.call(
                log.tenant,
                log.connection,
                lambda token, at=at: self._drive.list_files(token, at, folder=folder),  # type: ignore[misc]
            )
            found = Page(
                source="file",
                items=seen(page.items),
                observed_at=page.observed_at,
                request=page.request,
            )
            work.found += await self._publish(log, found)
            looks = (item.look for item in page.items if item.look is not None)
            folders += [look.id for look in looks if look.mime_type == FOLDER]
            page_token = page.next_page_token
            if page_token is None:
                return folders

    async def _window(
        self,
        tenant: str,
        connection: str,
        request: Request,
        work: "_Work",
        meter: Meter,
        progress: Progress,
    ) -> None:
        """Read a span of activity the way its log is read, gaps included."""
        assert request.since is not None  # noqa: S101 - the contract promises both
        assert request.until is not None  # noqa: S101
        now = self._outside.clock.now()
        until = min(request.until, now)
        log = domain.new_log(tenant, connection, "activity", now, request.target)
        # Far ahead, so that nothing but this window is planned.
        span = Slice(
            after_ms=windows.milliseconds(request.since) - 1,
            until_ms=windows.milliseconds(until),
        )
        log = msgspec.structs.replace(
            log, phase="live", cursor=str(windows.milliseconds(until)), slices=(span,)
        )
        while log.slices:
            step = await self._activity.step(log)
            await self._outside.raws.publish(log, step, self._outside.clock.now())
            work.found += sum(len(page.items) for page in step.pages)
            log = step.record
            if step.setback and not step.more:
                raise UnansweredError(step.setback)
            await progress(work.answer(meter, "running"))
        if log.gaps:
            raise UnansweredError(f"{len(log.gaps)} parts could not be read; each is a gap event")

    async def _logs(
        self, connection: str, request: Request, work: "_Work", meter: Meter, progress: Progress
    ) -> None:
        """Let logs be polled, or listed, and wait until they are."""
        logs = self._asked(connection, request)
        if not logs:
            raise UnansweredError("there is no such log")
        began = self._outside.clock.now()
        before = {one.record.log: one.record for one in logs}
        for held in logs:
            if request.kind == "rescan" and held.record.kind != "activity":
                await rewrite(self._outside.logs, held, _resync(began))
            await self._outside.signals.send(held.record, "operator", priority=PRIORITY)
        while True:
            after = [one.record for one in self._asked(connection, request)]
            known = [(before[one.log], one) for one in after if one.log in before]
            work.found = sum(now.raws - old.raws for old, now in known)
            meter.calls = sum(now.calls - old.calls for old, now in known)
            meter.units = sum(now.units - old.units for old, now in known)
            failing = [now for _, now in known if now.failures and not now.owner]
            if failing:
                raise UnansweredError(f"log {failing[0].log}: {failing[0].last_error}")
            if all(_read_since(one, began) for one in after):
                return
            await progress(work.answer(meter, "running"))
            await asyncio.sleep(LOOK_S)

    def _asked(self, connection: str, request: Request) -> list[Held]:
        found = self._outside.logs.of_connection(connection)
        return [
            one
            for one in found
            if one.record.log.startswith(request.log)
            and not (one.record.left or one.record.paused or one.record.stopped)
        ]


class _Work:
    """What was found so far."""

    def __init__(self, name: str, request: Request, now: Callable[[], dt.datetime]) -> None:
        self._name = name
        self._request = request
        self._now = now
        self.found = 0

    def answer(self, meter: Meter, state: str, reason: str = "") -> Answer:
        return msgspec.convert(
            {
                "request": self._name,
                "kind": self._request.kind,
                "state": state,
                "at": self._now(),
                "found": self.found,
                "calls": meter.calls,
                "units": meter.units,
                "reason": reason[: domain.MAX_ERROR_CHARS],
            },
            Answer,
        )


def _resync(now: dt.datetime) -> Callable[[Held], LogRecord | None]:
    return lambda held: listing.resynced(held.record, now)


def _read_since(record: LogRecord, began: dt.datetime) -> bool:
    """Say whether a log was read to its end after an instant, listing and parts included."""
    return (
        record.last_success_at is not None
        and record.last_success_at >= began
        and record.snapshot is None
        and not record.owner
        and (record.relist_at is None or record.relist_at > record.last_success_at)
    )
