"""`about.get`: who the caller is and what this Drive can do."""

from typing import Any

from drivewake.lab.google.drive_base import DriveBase
from drivewake.lab.google.formats import EXPORTS, IMPORTS
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.resources import user_resource

_STORAGE_BYTES = 15 * 2**30
_PALETTE = ("#ac725e", "#d06b64", "#f83a22", "#fa573c", "#ff7537", "#8f8f8f", "#cabdbf")


class About(DriveBase):
    """The caller's account."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {"drive.about.get": Endpoint(self.get, "read")}

    def get(self, call: Call) -> dict[str, Any]:
        """Return who the caller is."""
        used = trashed = 0
        for file in call.user.owned.values():
            size = file.content.size_bytes if file.content else 0
            used += size
            trashed += size if self._state.is_trashed(file) else 0
        return {
            "kind": "drive#about",
            "user": user_resource(call.user, call.user),
            "storageQuota": {
                "limit": str(_STORAGE_BYTES),
                "usage": str(used),
                "usageInDrive": str(used),
                "usageInDriveTrash": str(trashed),
            },
            "canCreateDrives": True,
            "canCreateTeamDrives": True,
            "appInstalled": False,
            "maxUploadSize": "5242880000000",
            "maxImportSizes": dict.fromkeys(EXPORTS, "10485760"),
            "exportFormats": {native: list(kinds) for native, kinds in EXPORTS.items()},
            "importFormats": {kind: list(natives) for kind, natives in IMPORTS.items()},
            "folderColorPalette": list(_PALETTE),
            "driveThemes": [],
            "teamDriveThemes": [],
        }
