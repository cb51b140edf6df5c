"""`changes.*`: the logs of users and of shared drives, read and watched."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from drivewake.lab.google.changelog import ChangeLog, Entry
from drivewake.lab.google.drive_base import (
    DriveBase,
    asked_drive,
    includes_drives,
    supports_drives,
)
from drivewake.lab.google.drive_channels import MAX_CHANGES_S, Channels
from drivewake.lab.google.drive_drives import drive_resource, team_drive_resource
from drivewake.lab.google.encoded import Encoded
from drivewake.lab.google.errors import invalid_value
from drivewake.lab.google.fields import Mask, below, project, wants
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.http import Response
from drivewake.lab.google.ledger import PageFact
from drivewake.lab.google.model import File, SharedDrive, User
from drivewake.lab.google.resources import file_resource, rfc3339
from drivewake.lab.google.world import SimulatedGoogle

_CHANGE = (
    "changes(kind,removed,file(kind,id,name,mimeType,driveId,teamDriveId),fileId,time,type,"
    "changeType,driveId,teamDriveId,drive(kind,id,name),teamDrive(kind,id,name))"
)
_MAX_ENCODED_BYTES = 64 * 2**20
_SPACES = {"drive", "appDataFolder", "photos"}


class _Reader(NamedTuple):
    """Who reads which log how."""

    user: User
    log: ChangeLog
    drive: SharedDrive | None
    drives_too: bool
    files_too: bool
    my_drive_only: bool
    with_removed: bool
    with_corpus_removals: bool


class _Page(NamedTuple):
    """A page as it is served, and what the ledger notes of it."""

    log: ChangeLog
    start: int
    behind: int
    versions: tuple[tuple[str, int], ...]
    response: Response


class Changes(DriveBase):
    """Start tokens, pages, channels."""

    def __init__(self, world: SimulatedGoogle, channels: Channels) -> None:
        super().__init__(world)
        self._channels = channels
        self._encoded: Encoded[msgspec.Raw] = Encoded(_MAX_ENCODED_BYTES)
        self._pages: Encoded[_Page] = Encoded(_MAX_ENCODED_BYTES)
        self._keeps_pages = world.options.profile.preencoded_pages

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            "drive.changes.getStartPageToken": Endpoint(self.start_page_token, "read"),
            "drive.changes.list": Endpoint(
                self.page,
                "list",
                default_fields=f"kind,nextPageToken,newStartPageToken,{_CHANGE}",
                projects=True,
                again=self.again,
            ),
            "drive.changes.watch": Endpoint(self.watch, "other"),
        }

    def start_page_token(self, call: Call) -> dict[str, Any]:
        """Return the place in a log where the next change will be."""
        drive_id = asked_drive(call, listing=False)
        log = call.user.log
        if drive_id is not None:
            log = self._state.shared_drive(call.user, drive_id).log
        return {"kind": "drive#startPageToken", "startPageToken": str(log.tip)}

    def again(self, user: User, query: str) -> Response | None:
        """Serve a page as it was served before, while nothing can have changed on it."""
        held = self._pages.shelf(user.email).get(query)
        if held is None or held[0] != self._page_stamp(held[1].log):
            return None
        return self._note(held[1])

    def page(self, call: Call) -> Response:
        """Return changes from a page token on, each as the file is now."""
        page = self._page(call)
        stamp, size = self._page_stamp(page.log), len(page.response.body)
        self._pages.put(call.user.email, call.request.query_string, stamp, page, size)
        return self._note(page)

    def _page_stamp(self, log: ChangeLog) -> tuple[int, ...]:
        """Return what a page of a log depends on: the log, and what enters no log."""
        if self._keeps_pages:
            return (log.tip,)
        return (log.tip, self._state.untold, *self._state.stamp)

    def _note(self, page: _Page) -> Response:
        ledger = self._world.ledger
        number, now_ns = ledger.next_n, self._world.now_ns()
        fact = PageFact(number, now_ns, page.log.id, page.start, page.behind, page.versions)
        ledger.add(fact)
        return page.response

    def _page(self, call: Call) -> _Page:
        reader = self._reader(call)
        start = page_number(call.params["pageToken"])
        entries, following = reader.log.read(start, call.params["pageSize"])
        if not reader.files_too:
            entries = []
        mask = call.mask
        shown: dict[str, Any] = {"kind": "drive#changeList"}
        if following is None:
            shown["newStartPageToken"] = str(max(reader.log.tip, start))
        else:
            shown["nextPageToken"] = str(following)
        shown = {k: v for k, v in shown.items() if wants(mask, k)}
        wanted, fields = below(mask, "changes"), call.request.query.get("fields")
        versions, changes = self._read(reader, entries, wanted, fields)
        if wants(mask, "changes"):
            shown["changes"] = changes
        behind = following or reader.log.tip
        return _Page(reader.log, start, behind, versions, Response.json(shown))

    def _read(
        self, reader: _Reader, entries: Sequence[Entry], mask: Mask | None, fields: str | None
    ) -> tuple[tuple[tuple[str, int], ...], list[Any]]:
        """Return what the reader is shown of each entry: versions, and changes as JSON.

        What was encoded before is taken while it is still true. A file looks, and is seen, as
        its version, and the access and the trash of its folders, make it; shortcuts also tell
        of their targets, drives of their settings: these are made anew.
        """
        name = (reader.user.email, reader.drives_too, fields, reader.log.id)
        shelf, inherited = self._encoded.shelf(name), self._state.stamp
        versions: list[tuple[str, int]] = []
        changes: list[Any] = []
        files = self._state.files
        for entry in entries:
            held = shelf.get(entry.seq)
            if held is not None and not reader.my_drive_only:
                file = files.get(entry.file_id)
                if file is not None and held[0] == (file.version, inherited):
                    versions.append((entry.file_id, file.version))
                    changes.append(held[1])
                    continue
            at = self._seen(reader, entry)
            versions.append((entry.file_id, 0 if at is None else at.version))
            if at is None or reader.my_drive_only or at.is_root or at.more.target_id is not None:
                change: Any = self._change(reader, entry, at, mask)
                if change is not None:
                    changes.append(change)
                continue
            change = self._change(reader, entry, at, mask)
            if change is not None:
                text = msgspec.json.encode(change)
                changes.append(msgspec.Raw(text))
                stamp = (at.version, inherited)
                self._encoded.put(name, entry.seq, stamp, changes[-1], len(text))
        return tuple(versions), changes

    def watch(self, call: Call) -> dict[str, Any]:
        """Open a push channel on a log."""
        page_number(call.params["pageToken"])
        log = self._reader(call).log.id
        return self._channels.open(
            call, log=log, resource=f"changes/{log}", path="changes", max_s=MAX_CHANGES_S
        )

    def _reader(self, call: Call) -> _Reader:
        drive_id = asked_drive(call)
        drive = None if drive_id is None else self._state.shared_drive(call.user, drive_id)
        spaces = set(call.params["spaces"].split(","))
        if not spaces <= _SPACES:
            raise invalid_value("spaces")
        return _Reader(
            user=call.user,
            log=call.user.log if drive is None else drive.log,
            drive=drive,
            drives_too=supports_drives(call) and includes_drives(call),
            files_too="drive" in spaces,
            my_drive_only=call.params["restrictToMyDrive"],
            with_removed=call.params["includeRemoved"],
            with_corpus_removals=call.params["includeCorpusRemovals"],
        )

    def _seen(self, reader: _Reader, entry: Entry) -> File | None:
        """Return the file, or the root of the drive, that an entry shows; None is removed."""
        file = self._state.files.get(entry.file_id)
        if file is None or not self._state.access.rank(reader.user, file):
            return None
        if reader.drive is not None and file.drive is not reader.drive:
            return None
        return file

    def _change(
        self, reader: _Reader, entry: Entry, at: File | None, mask: Mask | None
    ) -> dict[str, Any] | None:
        if at is None and not reader.with_removed:
            return None
        is_drive = entry.file_id in self._state.drive_ids
        if not reader.drives_too and (is_drive or (at is not None and at.drive is not None)):
            return None
        if reader.my_drive_only and (is_drive or (at is not None and not _is_under(reader, at))):
            return None
        kind = "drive" if is_drive else "file"
        shown: dict[str, Any] = {
            "kind": "drive#change",
            "type": "teamDrive" if is_drive else "file",
            "changeType": kind,
            "time": rfc3339(entry.at_ms),
            "removed": at is None,
        }
        if is_drive:
            shown["driveId"] = shown["teamDriveId"] = entry.file_id
        else:
            shown["fileId"] = entry.file_id
        shown = {k: project(v, below(mask, k)) for k, v in shown.items() if wants(mask, k)}
        self._add_resource(reader, entry, at, mask, shown)
        return shown

    def _add_resource(
        self,
        reader: _Reader,
        entry: Entry,
        at: File | None,
        mask: Mask | None,
        shown: dict[str, Any],
    ) -> None:
        """Add the file or the drive as it is now, where the reader may see it."""
        if at is None:
            at = self._state.files.get(entry.file_id) if reader.with_corpus_removals else None
            if at is None or not self._state.access.rank(reader.user, at):
                return
        if entry.file_id not in self._state.drive_ids:
            if wants(mask, "file"):
                wanted = below(mask, "file")
                shown["file"] = file_resource(self._state, at, reader.user, wanted)
            return
        drive = self._state.drives[entry.file_id]
        resource = drive_resource(self._state, drive, reader.user)
        if wants(mask, "drive"):
            shown["drive"] = project(resource, below(mask, "drive"))
        if wants(mask, "teamDrive"):
            former = team_drive_resource(resource)
            shown["teamDrive"] = project(former, below(mask, "teamDrive"))


def page_number(token: str) -> int:
    """Return a change page token as a number. Raises ApiError (400 invalid pageToken)."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", token):
        raise invalid_value("pageToken")
    return int(token)


def _is_under(reader: _Reader, file: File) -> bool:
    at = file
    while at.parent is not None:
        at = at.parent
    return at is reader.user.root
