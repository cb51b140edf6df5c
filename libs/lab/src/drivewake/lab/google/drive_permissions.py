"""`permissions.*` of files and of shared drives, whose id is that of their root."""

import datetime as dt
from typing import Any

from drivewake.lab.google.drive_base import DriveBase, page
from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.model import (
    RANKS,
    AccessDeniedError,
    File,
    InvalidOperationError,
    PartMissingError,
    Permission,
)
from drivewake.lab.google.resources import (
    Held,
    held_permissions,
    held_resource,
    permission_id,
)

_FIELDS = "kind,id,type,role"
_TYPES = {"user", "group", "domain", "anyone"}
_YEAR_MS = 366 * 86_400_000
_DRIVE_PAGE = 100


class Permissions(DriveBase):
    """List, get, create, update, delete."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        listed = f"kind,nextPageToken,permissions({_FIELDS})"
        return {
            "drive.permissions.list": Endpoint(self.list, "list", default_fields=listed),
            "drive.permissions.get": Endpoint(self.get, "read", default_fields=_FIELDS),
            "drive.permissions.create": Endpoint(self.create, "edit", default_fields=_FIELDS),
            "drive.permissions.update": Endpoint(self.update, "edit", default_fields=_FIELDS),
            "drive.permissions.delete": Endpoint(self.delete, "edit"),
        }

    def list(self, call: Call) -> dict[str, Any]:
        """Return who has access: all of it in My Drive, by hundreds in shared drives."""
        file = self._readable(call)
        size = call.params.get("pageSize", None if file.drive is None else _DRIVE_PAGE)
        shown, following = page(call, held_permissions(self._state, file), size)
        resources = [held_resource(self._state, file, held) for held in shown]
        return {"kind": "drive#permissionList", **following, "permissions": resources}

    def get(self, call: Call) -> dict[str, Any]:
        """Return one."""
        file = self._readable(call)
        return held_resource(self._state, file, self._held(call, file))

    def create(self, call: Call) -> dict[str, Any]:
        """Share, or with role owner hand the file over."""
        file, body, state = self.find(call), call.body, self._state
        kind, role = body.get("type"), body.get("role")
        if kind not in _TYPES:
            text = "The permission type field is required."
            raise invalid_value("permission.type", text)
        if role not in RANKS:
            raise invalid_value("permission.role", "The permission role field is required.")
        if role == "owner":
            return self._transfer(call, file, body.get("emailAddress"))
        try:
            permission = state.permission(
                kind,
                role,
                body.get("emailAddress"),
                body.get("domain"),
                expires_ms=self._expiry(body, kind),
                discoverable=bool(body.get("allowFileDiscovery")),
            )
        except InvalidOperationError as error:
            text = f'Bad Request. User message: "{error}"'
            raise ApiError(400, "invalidSharingRequest", text) from None
        self.record(state.share(call.user, file.id, permission, self._world.now_ns()))
        return self._shown(file, permission.key)

    def update(self, call: Call) -> dict[str, Any]:
        """Change a permission's role or end."""
        file, body, state = self.find(call), call.body, self._state
        old = self._held(call, file).permission
        role = body.get("role", old.role)
        if role not in RANKS:
            raise invalid_value("permission.role")
        if role == "owner" and old.role != "owner":
            return self._transfer(call, file, old.email)
        if old.key not in (file.shares or {}):
            state.unshare(call.user, file.id, old.key, self._world.now_ns())
        expires_ms = old.expires_ms
        if call.params["removeExpiration"]:
            expires_ms = None
        elif "expirationTime" in body:
            expires_ms = self._expiry(body, old.type)
        new = Permission(
            old.key, old.type, role, old.email, old.domain, expires_ms, old.discoverable
        )
        self.record(state.share(call.user, file.id, new, self._world.now_ns()))
        return self._shown(file, new.key)

    def delete(self, call: Call) -> None:
        """Take access away."""
        file = self.find(call)
        key = self._held(call, file).permission.key
        self.record(self._state.unshare(call.user, file.id, key, self._world.now_ns()))

    # --- inside -----------------------------------------------------------------------

    def _readable(self, call: Call) -> File:
        """Return the file, to those who may share it; a drive's members all see who is there."""
        file = self.find(call)
        if file.drive is not None and self._state.access.rank(call.user, file.drive.root):
            return file
        if not self._state.can_share(call.user, file):
            raise AccessDeniedError(file.id)
        return file

    def _held(self, call: Call, file: File) -> Held:
        wanted = call.params["permissionId"]
        for held in held_permissions(self._state, file):
            if permission_id(held.permission) == wanted:
                return held
        raise PartMissingError("permission", wanted)

    def _shown(self, file: File, key: str) -> dict[str, Any]:
        for held in held_permissions(self._state, file):
            if held.permission.key == key:
                return held_resource(self._state, file, held)
        raise PartMissingError("permission", key)

    def _transfer(self, call: Call, file: File, email: object) -> dict[str, Any]:
        if not call.params["transferOwnership"]:
            text = (
                "The transferOwnership parameter must be enabled when the permission role is "
                "'owner'."
            )
            raise ApiError(403, "forbidden", text, location="transferOwnership")
        if not isinstance(email, str):
            raise invalid_value("permission.emailAddress")
        to_root = bool(call.params.get("moveToNewOwnersRoot"))
        now_ns = self._world.now_ns()
        self.record(self._state.transfer(call.user, file.id, email, now_ns, to_root=to_root))
        return self._shown(file, self._state.user(email).permission_id)

    def _expiry(self, body: dict[str, Any], kind: str) -> int | None:
        """Return when a permission ends: for users and groups, within a year from now."""
        text = body.get("expirationTime")
        if text is None:
            return None
        try:
            at = dt.datetime.fromisoformat(text)
        except (TypeError, ValueError):
            raise invalid_value("permission.expirationTime") from None
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)
        now_ms = self._world.now_ms
        if kind not in {"user", "group"} or not now_ms < at_ms <= now_ms + _YEAR_MS:
            text = "Expiration dates must be in the future, within a year, for users and groups."
            raise ApiError(403, "expirationDateNotAllowedForSharedDriveMembers", text)
        return at_ms
