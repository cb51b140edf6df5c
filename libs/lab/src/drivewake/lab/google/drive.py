"""Drive v3 of the simulated Google: about, files, changes, channels."""

import base64
import hashlib
import re
from collections import OrderedDict
from typing import Any

from drivewake.lab.google.changelog import Entry
from drivewake.lab.google.errors import ApiError, invalid_value, required
from drivewake.lab.google.fields import Mask, below, project, wants
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.grants import LOOPBACK
from drivewake.lab.google.ledger import PageFact
from drivewake.lab.google.model import File, User
from drivewake.lab.google.push import Channel
from drivewake.lab.google.query import parse as parse_query
from drivewake.lab.google.resources import file_resource, rfc3339, user_resource
from drivewake.lab.google.world import SimulatedGoogle

_FILE_FIELDS = "kind,id,name,mimeType"
_CHANNEL_ID = re.compile(r"[A-Za-z0-9\-_+/=]{1,64}")
_MAX_CHANNEL_S = 604_800
_DEFAULT_CHANNEL_S = 3_600
_MAX_LISTINGS = 200
_STORAGE_BYTES = 15 * 2**30


class DriveService:
    """Answers of Drive v3. Every method takes an authorised call and returns JSON."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world
        self._listings: OrderedDict[str, list[File]] = OrderedDict()
        self._listing_number = 0

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        change = f"changes(kind,removed,file({_FILE_FIELDS}),fileId,time,type,changeType)"
        return {
            "drive.about.get": Endpoint(self.about_get, "read", needs_fields=True),
            "drive.changes.getStartPageToken": Endpoint(self.start_page_token, "read"),
            "drive.changes.list": Endpoint(
                self.changes_list,
                "list",
                default_fields=f"kind,nextPageToken,newStartPageToken,{change}",
                projects=True,
                coerce=frozenset({"pageSize"}),
            ),
            "drive.changes.watch": Endpoint(
                self.changes_watch, "other", coerce=frozenset({"pageSize"})
            ),
            "drive.channels.stop": Endpoint(self.channels_stop, "other"),
            "drive.files.list": Endpoint(
                self.files_list,
                "list",
                default_fields=f"kind,nextPageToken,incompleteSearch,files({_FILE_FIELDS})",
                projects=True,
            ),
            "drive.files.get": Endpoint(
                self.files_get, "read", default_fields=_FILE_FIELDS, projects=True
            ),
        }

    # --- about ------------------------------------------------------------------------

    def about_get(self, call: Call) -> dict[str, Any]:
        """Return who the caller is."""
        used = sum(f.content.size_bytes for f in call.user.owned.values() if f.content)
        return {
            "kind": "drive#about",
            "user": user_resource(call.user, call.user),
            "storageQuota": {
                "limit": str(_STORAGE_BYTES),
                "usage": str(used),
                "usageInDrive": str(used),
                "usageInDriveTrash": "0",
            },
            "canCreateDrives": True,
            "canCreateTeamDrives": True,
            "appInstalled": False,
            "maxUploadSize": "5242880000000",
        }

    # --- changes ----------------------------------------------------------------------

    def start_page_token(self, call: Call) -> dict[str, Any]:
        """Return the place in the caller's log where the next change will be."""
        return {
            "kind": "drive#startPageToken",
            "startPageToken": str(call.user.log.tip),
        }

    def changes_list(self, call: Call) -> dict[str, Any]:
        """Return changes from a page token on, each as the file is now."""
        start = page_number(call.params["pageToken"])
        entries, following = call.user.log.read(start, call.params["pageSize"])
        mask = call.mask
        shown: dict[str, Any] = {"kind": "drive#changeList"}
        if following is None:
            shown["newStartPageToken"] = str(max(call.user.log.tip, start))
        else:
            shown["nextPageToken"] = str(following)
        shown = {k: v for k, v in shown.items() if wants(mask, k)}
        self._note_page(call.user, start, following or call.user.log.tip, entries)
        if wants(mask, "changes"):
            wanted = below(mask, "changes")
            changes = (self._change(call, e.file_id, e.at_ms, wanted) for e in entries)
            shown["changes"] = [c for c in changes if c is not None]
        return shown

    def _note_page(self, user: User, start: int, following: int, entries: list[Entry]) -> None:
        """Write down what a page shows: what a reader took can be told from it."""
        world = self._world
        files, access = world.state.files, world.state.access
        shown = tuple(
            (e.file_id, file.version if file and access.rank(user, file) else 0)
            for e in entries
            for file in (files.get(e.file_id),)
        )
        ledger = world.ledger
        ledger.add(PageFact(ledger.next_n, world.now_ns(), user.log.id, start, following, shown))

    def _change(
        self, call: Call, file_id: str, at_ms: int, mask: Mask | None
    ) -> dict[str, Any] | None:
        file = self._world.state.files.get(file_id)
        rank = 0 if file is None else self._world.state.access.rank(call.user, file)
        removed = rank == 0
        if removed and not call.params["includeRemoved"]:
            return None
        hides_others = call.params["restrictToMyDrive"]
        if file is not None and not removed and hides_others and not _in_my_drive(call.user, file):
            return None
        shown: dict[str, Any] = {
            "kind": "drive#change",
            "type": "file",
            "changeType": "file",
            "time": rfc3339(at_ms),
            "removed": removed,
            "fileId": file_id,
        }
        shown = {k: project(v, below(mask, k)) for k, v in shown.items() if wants(mask, k)}
        if file is not None and not removed and wants(mask, "file"):
            shown["file"] = file_resource(self._world.state, file, call.user, below(mask, "file"))
        return shown

    def changes_watch(self, call: Call) -> dict[str, Any]:
        """Open a push channel on the caller's change log."""
        page_number(call.params["pageToken"])
        log = call.user.log.id
        uri = f"https://www.googleapis.com/drive/v3/changes?{call.request.query_string}"
        channel = self._channel(call, log, f"changes/{log}", uri)
        self._world.push.open(channel)
        return channel_resource(channel)

    def _channel(self, call: Call, log: str, resource: str, uri: str) -> Channel:
        body = call.body
        channel_id = body.get("id")
        if not isinstance(channel_id, str) or not channel_id:
            raise required("id")
        if not _CHANNEL_ID.fullmatch(channel_id):
            raise ApiError(
                400,
                "push.channelIdInvalid",
                "Channel id must match [A-Za-z0-9\\-_\\+/=]+ and have at most 64 characters",
            )
        if body.get("type") not in {"web_hook", "webhook"}:
            raise ApiError(400, "push.channelTypeInvalid", "Unknown channel type.")
        address = self._address(body.get("address"))
        token = body.get("token")
        if token is not None and (not isinstance(token, str) or len(token) > 256):
            raise ApiError(400, "push.channelTokenInvalid", "Channel token is too long.")
        if channel_id in self._world.push.used_ids:
            raise ApiError(400, "channelIdNotUnique", f"Channel id {channel_id} not unique")
        digest = hashlib.sha256(f"{call.user.user_id}/{resource}".encode()).digest()
        return Channel(
            id=channel_id,
            resource_id=base64.urlsafe_b64encode(digest[:20]).decode().rstrip("="),
            resource_uri=uri,
            address=address,
            token=token,
            expires_ms=self._expiration(body),
            log=log,
            user_email=call.user.email,
            client_id=call.token.client_id,
        )

    def _address(self, address: object) -> str:
        if not isinstance(address, str) or not address:
            raise required("address")
        plain_allowed = not self._world.options.https_only and address.startswith(LOOPBACK)
        if not address.startswith("https://") and not plain_allowed:
            text = f"WebHook callback must be HTTPS: {address}"
            raise ApiError(400, "push.webhookUrlNotHttps", text)
        return address

    def _expiration(self, body: dict[str, Any]) -> int:
        now_ms = self._world.now_ms
        latest_ms = now_ms + _MAX_CHANNEL_S * 1000
        wanted: list[int] = []
        try:
            if body.get("expiration") is not None:
                wanted.append(int(body["expiration"]))
            ttl = (body.get("params") or {}).get("ttl")
            if ttl is not None:
                wanted.append(now_ms + int(ttl) * 1000)
        except (TypeError, ValueError, AttributeError):
            raise invalid_value("expiration") from None
        if any(at_ms <= now_ms for at_ms in wanted):
            raise invalid_value("expiration")
        return min([latest_ms, *(wanted or [now_ms + _DEFAULT_CHANNEL_S * 1000])])

    def channels_stop(self, call: Call) -> None:
        """End a channel: the same user through the same client, else it is not found."""
        channel = self._world.push.channels.get(str(call.body.get("id")))
        known = (
            channel is not None
            and channel.resource_id == call.body.get("resourceId")
            and channel.user_email == call.user.email
            and channel.client_id == call.token.client_id
        )
        if channel is None or not known:
            text = f"Channel '{call.body.get('id')}' not found for project"
            raise ApiError(404, "notFound", text)
        self._world.push.stop(channel)

    # --- files ------------------------------------------------------------------------

    def files_get(self, call: Call) -> dict[str, Any]:
        """Return one file."""
        file = self._world.state.find(call.user, call.params["fileId"])
        return file_resource(self._world.state, file, call.user, call.mask)

    def files_list(self, call: Call) -> dict[str, Any]:
        """Return the caller's files that match `q`, trashed ones too unless it says no."""
        text = call.params.get("q")
        predicate = parse_query(text) if text else None
        key, offset = self._listing(call)
        listing = self._listings[key]
        size = call.params["pageSize"]
        wanted = below(call.mask, "files")
        state, user = self._world.state, call.user
        files: list[dict[str, Any]] = []
        at = offset
        while at < len(listing) and len(files) < size:
            file = listing[at]
            at += 1
            if file.id not in state.files or not state.access.rank(user, file):
                continue
            if predicate is None or predicate(state, user, file):
                files.append(file_resource(state, file, user, wanted))
        shown: dict[str, Any] = {"kind": "drive#fileList", "incompleteSearch": False}
        if at < len(listing):
            shown["nextPageToken"] = f"~!!~{key}.{at}"
        shown["files"] = files
        return {k: v for k, v in shown.items() if wants(call.mask, k)}

    def _listing(self, call: Call) -> tuple[str, int]:
        token = call.params.get("pageToken")
        if token is None:
            files = self._world.state.visible(call.user)
            files = order(files, call.params.get("orderBy"))
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


def page_number(token: str) -> int:
    """Return a change page token as a number. Raises ApiError (400 invalid pageToken)."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", token):
        raise invalid_value("pageToken")
    return int(token)


def order(files: list[File], by: str | None) -> list[File]:
    """Sort by an `orderBy` value, oldest creation first without one. Raises ApiError (400)."""
    for part in reversed((by or "").split(",") if by else []):
        key, _, direction = part.strip().partition(" ")
        if direction not in {"", "desc"}:
            raise invalid_value("orderBy")
        sorters: dict[str, Any] = {
            "createdTime": lambda f: f.created_ms,
            "modifiedTime": lambda f: f.modified_ms,
            "recency": lambda f: f.modified_ms,
            "name": lambda f: f.name.lower(),
            "name_natural": lambda f: [
                (int(t), "") if t.isdecimal() else (-1, t)
                for t in re.split(r"([0-9]+)", f.name.lower())
            ],
            "folder": lambda f: not f.is_folder,
            "quotaBytesUsed": lambda f: f.content.size_bytes if f.content else 0,
        }
        if key not in sorters:
            raise invalid_value("orderBy")
        files = sorted(files, key=sorters[key], reverse=bool(direction))
    return files


def channel_resource(channel: Channel) -> dict[str, Any]:
    """Return a Channel as `watch` answers it."""
    shown = {
        "kind": "api#channel",
        "id": channel.id,
        "resourceId": channel.resource_id,
        "resourceUri": channel.resource_uri,
        "token": channel.token,
        "expiration": str(channel.expires_ms),
    }
    return {k: v for k, v in shown.items() if v is not None}


def _in_my_drive(user: User, file: File) -> bool:
    at = file
    while at.parent is not None:
        at = at.parent
    return at is user.root
