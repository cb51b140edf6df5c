"""`drives.*`: shared drives. `teamdrives.*`, their former name, is not served."""

from typing import Any

from drivewake.lab.google.drive_base import DriveBase, page
from drivewake.lab.google.errors import ApiError, required
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.model import (
    COMMENTER,
    FILE_ORGANIZER,
    ORGANIZER,
    WRITER,
    SharedDrive,
    User,
)
from drivewake.lab.google.query import parse_drives
from drivewake.lab.google.resources import rfc3339
from drivewake.lab.google.state import DriveState
from drivewake.lab.google.world import SimulatedGoogle

_FIELDS = "kind,id,name"
_RESTRICTIONS = (
    "adminManagedRestrictions",
    "copyRequiresWriterPermission",
    "domainUsersOnly",
    "driveMembersOnly",
    "sharingFoldersRequiresOrganizerPermission",
)
_MAX_REQUESTS = 10_000


class Drives(DriveBase):
    """List, get, create, update, delete, hide, unhide."""

    def __init__(self, world: SimulatedGoogle) -> None:
        super().__init__(world)
        self._requests: dict[tuple[str, str], str] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            "drive.drives.list": Endpoint(
                self.list, "list", default_fields=f"kind,nextPageToken,drives({_FIELDS})"
            ),
            "drive.drives.get": Endpoint(self.get, "read", default_fields=_FIELDS),
            "drive.drives.create": Endpoint(self.create, "edit", default_fields=_FIELDS),
            "drive.drives.update": Endpoint(self.update, "edit", default_fields=_FIELDS),
            "drive.drives.delete": Endpoint(self.delete, "edit"),
            "drive.drives.hide": Endpoint(self.hide, "edit", default_fields=_FIELDS),
            "drive.drives.unhide": Endpoint(self.unhide, "edit", default_fields=_FIELDS),
        }

    def list(self, call: Call) -> dict[str, Any]:
        """Return the caller's shared drives."""
        _refuse_admin(call)
        drives = self._state.drives_of(call.user)
        if call.params.get("q"):
            matches = parse_drives(call.params["q"])
            drives = [d for d in drives if matches(call.user, d)]
        shown, following = page(call, drives, call.params["pageSize"])
        resources = [drive_resource(self._state, d, call.user) for d in shown]
        return {"kind": "drive#driveList", **following, "drives": resources}

    def get(self, call: Call) -> dict[str, Any]:
        """Return one."""
        _refuse_admin(call)
        drive = self._state.shared_drive(call.user, call.params["driveId"])
        return drive_resource(self._state, drive, call.user)

    def create(self, call: Call) -> dict[str, Any]:
        """Create one; the same request id a second time is 409."""
        name = call.body.get("name")
        if not isinstance(name, str) or not name:
            raise required("name", "The name of a shared drive is required.")
        asked = (call.user.email, call.params["requestId"])
        if asked in self._requests:
            text = "A shared drive with the same request ID exists already."
            raise ApiError(409, "conflict", text)
        drive, change = self._state.add_drive(call.user, name, self._world.now_ns())
        if len(self._requests) >= _MAX_REQUESTS:
            self._requests.pop(next(iter(self._requests)))
        self._requests[asked] = drive.id
        self.record(change)
        return drive_resource(self._state, drive, call.user)

    def update(self, call: Call) -> dict[str, Any]:
        """Rename one, or change its settings."""
        body = call.body
        limits = body.get("restrictions") or {}
        change = self._state.change_drive(
            call.user,
            call.params["driveId"],
            self._world.now_ns(),
            name=body.get("name"),
            restrictions={k: bool(limits[k]) for k in _RESTRICTIONS if k in limits},
            color_rgb=body.get("colorRgb"),
            theme_id=body.get("themeId"),
        )
        self.record(change)
        return drive_resource(self._state, self._state.drives[change.file_id], call.user)

    def delete(self, call: Call) -> None:
        """Delete one that holds nothing outside its trash."""
        if call.params["allowItemDeletion"]:
            _refuse_admin(call, needed=True)
        now_ns = self._world.now_ns()
        self.record(self._state.delete_drive(call.user, call.params["driveId"], now_ns))

    def hide(self, call: Call) -> dict[str, Any]:
        """Take one out of the default view."""
        return self._hide(call, hidden=True)

    def unhide(self, call: Call) -> dict[str, Any]:
        """Bring one back into the default view."""
        return self._hide(call, hidden=False)

    def _hide(self, call: Call, *, hidden: bool) -> dict[str, Any]:
        drive = self._state.hide_drive(call.user, call.params["driveId"], hidden=hidden)
        return drive_resource(self._state, drive, call.user)


def _refuse_admin(call: Call, *, needed: bool = False) -> None:
    """Refuse the powers of a domain administrator, whom this world does not have."""
    if needed or call.params.get("useDomainAdminAccess"):
        text = "The user does not have administrator privileges for the domain."
        raise ApiError(403, "insufficientAdminPrivileges", text)


def drive_resource(state: DriveState, drive: SharedDrive, viewer: User) -> dict[str, Any]:
    """Return Drive's Drive as a viewer may see it."""
    rank = state.access.rank(viewer, drive.root)
    write, manage, organize = rank >= WRITER, rank >= FILE_ORGANIZER, rank >= ORGANIZER
    return {
        "kind": "drive#drive",
        "id": drive.id,
        "name": drive.root.name,
        "themeId": drive.theme_id or "abacus",
        "colorRgb": drive.color_rgb or "#4285f4",
        "createdTime": rfc3339(drive.created_ms),
        "hidden": drive.id in viewer.hidden_drives,
        "capabilities": {
            "canAddChildren": write,
            "canChangeDriveBackground": organize,
            "canComment": rank >= COMMENTER,
            "canCopy": rank > 0,
            "canDeleteChildren": organize,
            "canDeleteDrive": organize,
            "canDownload": rank > 0,
            "canEdit": write,
            "canListChildren": rank > 0,
            "canManageMembers": organize,
            "canReadRevisions": write,
            "canRename": manage,
            "canRenameDrive": organize,
            "canShare": organize,
            "canTrashChildren": manage,
        },
        "restrictions": {name: drive.restrictions.get(name, False) for name in _RESTRICTIONS},
    }


_FORMER_NAMES = {
    "canChangeDriveBackground": "canChangeTeamDriveBackground",
    "canDeleteDrive": "canDeleteTeamDrive",
    "canRenameDrive": "canRenameTeamDrive",
    "driveMembersOnly": "teamMembersOnly",
}


def team_drive_resource(drive: dict[str, Any]) -> dict[str, Any]:
    """Return a Drive under the names it had when it was a TeamDrive."""
    former = {k: v for k, v in drive.items() if k != "hidden"} | {"kind": "drive#teamDrive"}
    for part in ("capabilities", "restrictions"):
        former[part] = {_FORMER_NAMES.get(k, k): v for k, v in drive[part].items()}
    return former
