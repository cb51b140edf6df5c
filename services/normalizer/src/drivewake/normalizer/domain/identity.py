"""The deterministic key of each event that an observation of a file makes."""

from drivewake.contracts.events import (
    EventData,
    FileExposureChanged,
    FilePermissionsChanged,
    SightingGained,
    SightingLost,
    type_of,
)
from drivewake.contracts.keys import Part, file_state_parts, permissions_parts, sighting_parts
from drivewake.normalizer.domain.audience import acl_hash
from drivewake.normalizer.domain.head import Head


def parts_of(
    tenant: str, connection: str, observed: int, before: Head, after: Head, data: EventData
) -> tuple[Part, ...]:
    """Return what names an event that `connection` caused at `observed` (µs since 1970).

    The first look at a new version names its events by the version. What a later look at the
    same version finds (a file seen again, an aspect learned) can recur at that version, so
    that look is part of its name.
    """
    match data:
        case SightingGained():
            return sighting_parts(tenant, connection, data.file, data.epoch, "gained")
        case SightingLost():
            return sighting_parts(tenant, connection, data.file, data.epoch, "lost")
        case FilePermissionsChanged() | FileExposureChanged():
            known = after.known
            acl, epoch = (known.acl or (), known.acl_epoch) if known else ((), 0)
            return permissions_parts(tenant, data.file.id, epoch, acl_hash(acl), type_of(data))
        case _:
            file = getattr(data, "file")  # noqa: B009 - only file events are left
            version = file.version
            name = type_of(data)
            if version <= before.core[0]:
                name = f"{name}@{connection}@{observed}"
            return file_state_parts(tenant, file.id, version, name)
