"""`revisions.*`: the earlier contents of a file."""

from typing import Any

from drivewake.lab.google.drive_base import DriveBase, page
from drivewake.lab.google.drive_content import check_content_scope
from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.formats import EXPORTS
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.http import Response
from drivewake.lab.google.media import media_response
from drivewake.lab.google.model import Revision, User
from drivewake.lab.google.resources import rfc3339, user_resource

_FIELDS = "kind,id,mimeType,modifiedTime"


class RevisionsService(DriveBase):
    """List, get, update, delete."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        listed = f"kind,nextPageToken,revisions({_FIELDS})"
        return {
            "drive.revisions.list": Endpoint(self.list, "list", default_fields=listed),
            "drive.revisions.get": Endpoint(self.get, "read", default_fields=_FIELDS),
            "drive.revisions.update": Endpoint(self.update, "edit", default_fields=_FIELDS),
            "drive.revisions.delete": Endpoint(self.delete, "edit"),
        }

    def list(self, call: Call) -> dict[str, Any]:
        """Return what there still is, oldest first."""
        file = self.find(call)
        found = self._state.revisions(call.user, file.id, self._world.now_ms)
        shown, following = page(call, found, call.params["pageSize"])
        resources = [revision_resource(r, call.user) for r in shown]
        return {"kind": "drive#revisionList", **following, "revisions": resources}

    def get(self, call: Call) -> dict[str, Any] | Response:
        """Return one, or with `alt=media` its bytes, if it is kept for ever or the head."""
        file = self.find(call)
        wanted = call.params["revisionId"]
        now_ms = self._world.now_ms
        revision = self._state.revision(call.user, file.id, wanted, now_ms)
        if call.request.query.get("alt") != "media":
            return revision_resource(revision, call.user)
        check_content_scope(call)
        is_head = revision.content is not None and revision.content is file.content
        if revision.content is None or not (revision.keep_forever or is_head):
            text = "The revision cannot be downloaded: it is not marked to be kept forever."
            raise ApiError(403, "download_restricted_for_revision", text)
        return media_response(
            call.request, revision.content.data, revision.mime_type, revision.name
        )

    def update(self, call: Call) -> dict[str, Any]:
        """Keep one for ever, or no longer."""
        file, keep = self.find(call), call.body.get("keepForever")
        if not isinstance(keep, bool):
            raise invalid_value("keepForever")
        revision, change = self._state.keep_revision(
            call.user, file.id, call.params["revisionId"], self._world.now_ns(), keep=keep
        )
        self.record(change)
        return revision_resource(revision, call.user)

    def delete(self, call: Call) -> None:
        """Delete one of several."""
        file, wanted = self.find(call), call.params["revisionId"]
        now_ns = self._world.now_ns()
        self.record(self._state.delete_revision(call.user, file.id, wanted, now_ns))


def revision_resource(revision: Revision, viewer: User) -> dict[str, Any]:
    """Return Drive's Revision; hashes and size are a blob's."""
    shown: dict[str, Any] = {
        "kind": "drive#revision",
        "id": revision.id,
        "mimeType": revision.mime_type,
        "modifiedTime": rfc3339(revision.modified_ms),
        "lastModifyingUser": user_resource(revision.user, viewer),
        "published": False,
    }
    if revision.content is not None:
        shown["keepForever"] = revision.keep_forever
        shown["md5Checksum"] = revision.content.md5
        shown["size"] = str(revision.content.size_bytes)
        shown["originalFilename"] = revision.name
    elif revision.mime_type in EXPORTS:
        base = f"https://docs.google.com/feeds/download/export?revision={revision.id}"
        kinds = EXPORTS[revision.mime_type]
        shown["exportLinks"] = {k: f"{base}&exportFormat={k.rpartition('.')[2]}" for k in kinds}
    return shown
