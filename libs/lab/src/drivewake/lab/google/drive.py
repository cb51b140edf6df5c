"""Drive v3 of the simulated Google: all its services under one name."""

from drivewake.lab.google.drive_about import About
from drivewake.lab.google.drive_changes import Changes, page_number
from drivewake.lab.google.drive_channels import Channels, channel_resource
from drivewake.lab.google.drive_comments import Comments
from drivewake.lab.google.drive_content import Contents
from drivewake.lab.google.drive_drives import Drives
from drivewake.lab.google.drive_files import Files
from drivewake.lab.google.drive_permissions import Permissions
from drivewake.lab.google.drive_revisions import RevisionsService
from drivewake.lab.google.drive_writes import Writes
from drivewake.lab.google.gateway import Endpoint
from drivewake.lab.google.world import SimulatedGoogle

__all__ = ["DriveService", "channel_resource", "page_number"]


class DriveService:
    """Answers of Drive v3."""

    def __init__(self, world: SimulatedGoogle) -> None:
        channels, contents = Channels(world), Contents(world)
        self._services = (
            About(world),
            Changes(world, channels),
            channels,
            Files(world, channels, contents),
            contents,
            Writes(world),
            Permissions(world),
            RevisionsService(world),
            Comments(world),
            Drives(world),
        )

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            method_id: endpoint
            for service in self._services
            for method_id, endpoint in service.endpoints().items()
        }
