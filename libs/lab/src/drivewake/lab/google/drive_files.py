"""`files.*` that find and watch: list, get, generateIds, watch; content goes to `Contents`."""

import re
from collections import OrderedDict
from typing import Any

from drivewake.lab.google.drive_base import (
    DriveBase,
    asked_drive,
    includes_drives,
    refuse_without_items,
    supports_drives,
)
from drivewake.lab.google.drive_channels import MAX_FILES_S, Channels
from drivewake.lab.google.drive_content import Contents
from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.fields import below, wants
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.http import Response
from drivewake.lab.google.model import File
from drivewake.lab.google.query import parse as parse_query
from drivewake.lab.google.resources import file_resource
from drivewake.lab.google.world import SimulatedGoogle

FILE_FIELDS = "kind,id,name,mimeType,driveId,teamDriveId,resourceKey"
_MAX_LISTINGS = 200
_CORPORA = {"user", "domain", "drive", "allDrives"}


class Files(DriveBase):
    """Finding files and following one."""

    def __init__(self, world: SimulatedGoogle, channels: Channels, contents: Contents) -> None:
        super().__init__(world)
        self._channels = channels
        self._contents = contents
        self._listings: OrderedDict[str, list[File]] = OrderedDict()
        self._listing_number = 0

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            "drive.files.list": Endpoint(
                self.search,
                "list",
                default_fields=f"kind,nextPageToken,incompleteSearch,files({FILE_FIELDS})",
                projects=True,
            ),
            "drive.files.get": Endpoint(
                self.get, "read", default_fields=FILE_FIELDS, projects=True
            ),
            "drive.files.generateIds": Endpoint(self.generate_ids, "other"),
            "drive.files.watch": Endpoint(self.watch, "other"),
        }

    def get(self, call: Call) -> dict[str, Any] | Response:
        """Return one file, or with `alt=media` what is in it."""
        file = self.find(call)
        if call.request.query.get("alt") == "media":
            return self._contents.download(call, file)
        return file_resource(self._state, file, call.user, call.mask)

    def generate_ids(self, call: Call) -> dict[str, Any]:
        """Return ids that may be given to files that are created later."""
        ids = self._state.generate_ids(call.params["count"])
        return {"kind": "drive#generatedIds", "space": call.params["space"], "ids": ids}

    def watch(self, call: Call) -> dict[str, Any]:
        """Open a push channel on one file."""
        file = self.find(call)
        return self._channels.open(
            call,
            log=f"file:{file.id}",
            resource=f"files/{file.id}",
            path=f"files/{file.id}",
            max_s=MAX_FILES_S,
        )

    def search(self, call: Call) -> dict[str, Any]:
        """Return the caller's files that match `q`, trashed ones too unless it says no."""
        text = call.params.get("q")
        query = parse_query(text) if text else None
        key, offset = self._listing(call, query.parent if query is not None else None)
        listing = self._listings[key]
        size = call.params["pageSize"]
        wanted = below(call.mask, "files")
        state, user = self._state, call.user
        files: list[dict[str, Any]] = []
        at = offset
        while at < len(listing) and len(files) < size:
            file = listing[at]
            at += 1
            if file.id not in state.files or not state.access.rank(user, file):
                continue
            if query is None or query.holds(state, user, file):
                files.append(file_resource(state, file, user, wanted))
        shown: dict[str, Any] = {"kind": "drive#fileList", "incompleteSearch": False}
        if at < len(listing):
            shown["nextPageToken"] = f"~!!~{key}.{at}"
        shown["files"] = files
        return {k: v for k, v in shown.items() if wants(call.mask, k)}

    def _listing(self, call: Call, parent: str | None) -> tuple[str, int]:
        """Return the listing a call reads and the place in it: a new one, or by page token."""
        token = call.params.get("pageToken")
        if token is None:
            files = order(self._corpus(call, parent), call.params.get("orderBy"))
            self._listing_number += 1
            key = f"{call.user.user_id}.{self._listing_number}"
            self._listings[key] = files
            if len(self._listings) > _MAX_LISTINGS:
                self._listings.popitem(last=False)
            return key, 0
        key, _, offset = token.removeprefix("~!!~").rpartition(".")
        own = key.startswith(f"{call.user.user_id}.")
        if not own or key not in self._listings or not offset.isdecimal():
            raise invalid_value("pageToken")
        self._listings.move_to_end(key)
        return key, int(offset)

    def _corpus(self, call: Call, parent: str | None) -> list[File]:
        """Return what a listing searches.

        `user` is the caller's own and shared files, with drive items if they are wanted;
        `drive` one shared drive; `allDrives` all; `domain` what the domain can find.
        """
        corpora = call.params.get("corpora") or call.params.get("corpus") or "user"
        drive_id = asked_drive(call)
        if not set(corpora.split(",")) <= _CORPORA:
            raise invalid_value("corpora")
        if (drive_id is not None) != (corpora == "drive"):
            raise ApiError(
                403,
                "teamDriveIdRequiresTeamDriveCorpora",
                "The driveId parameter must be specified if and only if corpora is set to drive.",
            )
        everywhere = supports_drives(call) and includes_drives(call)
        if "allDrives" in corpora and not everywhere:
            refuse_without_items()
        drive = None if drive_id is None else self._state.shared_drive(call.user, drive_id)
        found = self._candidates(call, parent, drives=everywhere)
        if drive is not None:
            return [f for f in found if f.drive is drive]
        if corpora == "domain":
            key = f"domain:{call.user.domain}"
            return [f for f in self._state.files.values() if key in (f.shares or ())]
        return found

    def _candidates(self, call: Call, parent: str | None, *, drives: bool) -> list[File]:
        """Return all that the caller can find; a query for one folder's children looks there."""
        if parent is None:
            return self._state.visible(call.user, drives=drives)
        folder = call.user.root if parent == "root" else self._state.files.get(parent)
        if folder is None or (folder.drive is not None and not drives):
            return []
        if not self._state.access.rank(call.user, folder):
            return [f for f in self._state.visible(call.user, drives=drives) if f.parent is folder]
        return list((folder.children or {}).values())


def order(files: list[File], by: str | None) -> list[File]:
    """Sort by an `orderBy` value, oldest creation first without one. Raises ApiError (400)."""
    for part in reversed((by or "").split(",") if by else []):
        key, _, direction = part.strip().partition(" ")
        if direction not in {"", "desc"}:
            raise invalid_value("orderBy")
        sorters: dict[str, Any] = {
            "createdTime": lambda f: f.created_ms,
            "modifiedTime": lambda f: f.modified_ms,
            "modifiedByMeTime": lambda f: f.modified_ms,
            "viewedByMeTime": lambda f: f.modified_ms,
            "sharedWithMeTime": lambda f: f.modified_ms,
            "recency": lambda f: f.modified_ms,
            "name": lambda f: f.name.lower(),
            "name_natural": lambda f: [
                (int(t), "") if t.isdecimal() else (-1, t)
                for t in re.split(r"([0-9]+)", f.name.lower())
            ],
            "folder": lambda f: not f.is_folder,
            "starred": lambda f: not f.more.starred_by,
            "quotaBytesUsed": lambda f: f.content.size_bytes if f.content else 0,
        }
        if key not in sorters:
            raise invalid_value("orderBy")
        files = sorted(files, key=sorters[key], reverse=bool(direction))
    return files
