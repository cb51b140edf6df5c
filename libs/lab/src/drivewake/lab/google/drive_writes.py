"""`files.*` that write: create, update, copy, delete, emptyTrash."""

import datetime as dt
from typing import Any

from drivewake.lab.google.drive_base import DriveBase, supports_drives
from drivewake.lab.google.drive_files import FILE_FIELDS
from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.formats import IMPORTS
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.model import (
    GOOGLE_NATIVE_PREFIX,
    SHORTCUT,
    WRITER,
    File,
    FileMissingError,
)
from drivewake.lab.google.resources import file_resource

_ONE_PARENT = "Increasing the number of parents is not allowed."
_EXTRAS = {
    "properties": ("properties", dict),
    "appProperties": ("app_properties", dict),
    "copyRequiresWriterPermission": ("copy_restricted", bool),
    "writersCanShare": ("writers_can_share", bool),
    "folderColorRgb": ("folder_color", str),
    "originalFilename": ("original_filename", str),
    "inheritedPermissionsDisabled": ("limited", bool),
}
"""Writable fields of a File that few files have, and where they are kept."""


class Writes(DriveBase):
    """What changes files."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        shown = {"default_fields": FILE_FIELDS, "projects": True}
        return {
            "drive.files.create": Endpoint(self.create, "edit", **shown),  # type: ignore[arg-type]
            "drive.files.update": Endpoint(self.update, "edit", **shown),  # type: ignore[arg-type]
            "drive.files.copy": Endpoint(self.copy, "edit", **shown),  # type: ignore[arg-type]
            "drive.files.delete": Endpoint(self.delete, "edit"),
            "drive.files.emptyTrash": Endpoint(self.empty_trash, "edit"),
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Create a file, a folder, a shortcut or a Google document."""
        body = _writable(call)
        mime_type, data = self._content(call, body.get("mimeType"))
        extras = _extras(body)
        if mime_type == SHORTCUT:
            extras["target_id"] = self._target(call)
        parents = body.get("parents") or ["root"]
        change = self._state.create(
            call.user,
            _text(body, "name") or "Untitled",
            self._parent(call, parents),
            self._world.now_ns(),
            mime_type=mime_type,
            data=data,
            description=_text(body, "description"),
            created_ms=_time(body, "createdTime"),
            modified_ms=_time(body, "modifiedTime"),
            extras=extras,
            file_id=self._new_id(body),
        )
        self.record(change)
        self._star(call, change.file_id)
        self._keep_head(call, change.file_id)
        return self._show(call, change.file_id)

    def update(self, call: Call) -> dict[str, Any]:
        """Change what the body says, and where the file is; each is one version."""
        file, body, state = self.find(call), _writable(call), self._state
        if "parents" in body:
            raise _not_writable(
                "The parents field is not directly writable in update requests. Use the "
                "addParents and removeParents parameters instead."
            )
        now_ns = self._world.now_ns()
        data = None if call.media is None else call.media.data
        wanted = {
            "name": _text(body, "name"),
            "description": _text(body, "description"),
            "mime_type": _text(body, "mimeType"),
            "modified_ms": _time(body, "modifiedTime"),
            "created_ms": _time(body, "createdTime"),
            "parent_id": self._new_parent(call, file),
            "data": data,
            "extras": _extras(body) or None,
        }
        if any(value is not None for value in wanted.values()):
            self.record(state.edit(call.user, file.id, now_ns, **wanted))  # type: ignore[arg-type]
            self._keep_head(call, file.id)
        if isinstance(body.get("trashed"), bool):
            self.record(*state.trash(call.user, file.id, now_ns, trashed=body["trashed"]))
        self._star(call, file.id)
        return self._show(call, file.id)

    def copy(self, call: Call) -> dict[str, Any]:
        """Copy a file beside itself, or into the folder that the body names."""
        file, body = self.find(call), _writable(call)
        parents = body.get("parents")
        if not parents:
            above = file.parent
            near = above is not None and self._state.access.rank(call.user, above) >= WRITER
            parents = [above.id if above is not None and near else "root"]
        name = _text(body, "name") or f"Copy of {file.name}"
        now_ns = self._world.now_ns()
        change = self._state.copy(call.user, file.id, now_ns, self._parent(call, parents), name)
        self.record(change)
        return self._show(call, change.file_id)

    def delete(self, call: Call) -> None:
        """Delete a file for ever."""
        file = self.find(call)
        self.record(*self._state.delete(call.user, file.id, self._world.now_ns()))

    def empty_trash(self, call: Call) -> None:
        """Delete for ever what is in the caller's trash, or in a drive's."""
        drive_id, state = call.params.get("driveId"), self._state
        drive = None if drive_id is None else state.shared_drive(call.user, drive_id)
        self.record(*state.empty_trash(call.user, self._world.now_ns(), drive))

    # --- inside -----------------------------------------------------------------------

    def _show(self, call: Call, file_id: str) -> dict[str, Any]:
        return file_resource(self._state, self._state.files[file_id], call.user, call.mask)

    def _content(self, call: Call, wanted: object) -> tuple[str, bytes | None]:
        """Return the type of a new file and its bytes: none for what has none of its own."""
        asked = wanted if isinstance(wanted, str) and wanted else None
        if call.media is None:
            mime_type = asked or "application/octet-stream"
            return mime_type, None if mime_type.startswith(GOOGLE_NATIVE_PREFIX) else b""
        sent_as = call.media.mime_type.partition(";")[0].strip()
        mime_type = asked or sent_as
        is_import = mime_type.startswith(GOOGLE_NATIVE_PREFIX)
        if is_import and mime_type not in IMPORTS.get(sent_as, ()):
            text = "The requested conversion is not supported."
            raise ApiError(400, "badRequest", text)
        return mime_type, call.media.data

    def _parent(self, call: Call, parents: object) -> str:
        if not isinstance(parents, list) or not all(isinstance(p, str) for p in parents):
            raise invalid_value("parents")
        if len(parents) != 1:
            raise ApiError(403, "cannotAddParent", _ONE_PARENT)
        return self._reachable(call, parents[0])

    def _reachable(self, call: Call, folder_id: str) -> str:
        """Return a folder's id unless it hides in a drive the caller does not speak of."""
        folder = self._state.find(call.user, folder_id)
        if folder.drive is not None and not supports_drives(call):
            raise FileMissingError(folder_id)
        return folder_id

    def _new_parent(self, call: Call, file: File) -> str | None:
        """Return the folder a file moves to, None when it stays: it has one parent, always.

        Raises ApiError (403); the reason `cannotRemoveParent` is inferred.
        """
        added = [p for p in call.params.get("addParents", "").split(",") if p]
        removed = {
            call.user.root.id if p == "root" else p
            for p in call.params.get("removeParents", "").split(",")
        }
        here = file.parent.id if file.parent is not None else None
        added = [p for p in added if p != here]
        if not added:
            if here in removed:
                raise ApiError(403, "cannotRemoveParent", "A file must have a parent.")
            return None
        if len(added) > 1 or here not in removed:
            raise ApiError(403, "cannotAddParent", _ONE_PARENT)
        return self._reachable(call, added[0])

    def _target(self, call: Call) -> str:
        details = call.body.get("shortcutDetails")
        target = details.get("targetId") if isinstance(details, dict) else None
        if not isinstance(target, str):
            text = "The shortcut's target ID is missing."
            raise ApiError(400, "shortcutTargetInvalid", text)
        return self._state.find(call.user, target).id

    def _new_id(self, body: dict[str, Any]) -> str | None:
        file_id = body.get("id")
        if file_id is None:
            return None
        if not isinstance(file_id, str) or not self._state.is_generated(file_id):
            text = "The provided file ID is not usable."
            raise ApiError(400, "invalid", text, location="file.id", location_type="other")
        return file_id

    def _star(self, call: Call, file_id: str) -> None:
        starred = call.body.get("starred")
        if isinstance(starred, bool):
            now_ns = self._world.now_ns()
            self.record(self._state.star(call.user, file_id, now_ns, starred=starred))

    def _keep_head(self, call: Call, file_id: str) -> None:
        if call.params["keepRevisionForever"] and call.media is not None:
            self._state.files[file_id].extend().head_kept = True


def _writable(call: Call) -> dict[str, Any]:
    """Return the body. Raises ApiError (403) for fields that only Google writes."""
    for name in call.body:
        if name in call.method.read_only and name != "kind":
            text = "The resource body includes fields which are not directly writable."
            raise _not_writable(text)
    return call.body


def _not_writable(message: str) -> ApiError:
    return ApiError(403, "fieldNotWritable", message)


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid_value(name)
    return value


def _time(body: dict[str, Any], name: str) -> int | None:
    text = _text(body, name)
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise invalid_value(name) from None
    return round((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _extras(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (kept_as, kind) in _EXTRAS.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise invalid_value(name)
        found[kept_as] = value
    return found
