"""What a principal can see at this moment: the truth that a mirror of a Drive is compared with."""

from typing import Any

from drivewake.lab.google.model import File, User
from drivewake.lab.google.resources import effective_permissions, permission_resource, rfc3339
from drivewake.lab.google.world import SimulatedGoogle


def seen_by(world: SimulatedGoogle, email: str) -> dict[str, Any]:
    """Return all that a user can see: `principal`, `rootId`, `seq` and `files`, oldest first.

    `seq` is the last change that is in it, as `seq` of the ledger's changes. A file has its
    place (`path` from the highest folder that the user sees), hashes in lower-case hex, the
    trash it inherits, and its permissions in force, direct and inherited. Raises
    InvalidOperationError where there is no such user.
    """
    user = world.state.user(email)
    world.tick()  # whose permission has expired sees no more
    refs = {file_id: ref for ref, file_id in world.refs.items()}
    files = [_file(world, file, user, refs) for file in world.state.visible(user)]
    seq = world.state.seq
    return {"principal": user.email, "rootId": user.root.id, "seq": seq, "files": files}


def _file(world: SimulatedGoogle, file: File, user: User, refs: dict[str, str]) -> dict[str, Any]:
    state, content = world.state, file.content
    path: list[str] = []
    at: File | None = file
    while at is not None and not at.is_root and state.access.rank(user, at):
        path.append(at.name)
        at = at.parent
    return {
        "id": file.id,
        "ref": refs.get(file.id),
        "path": path[::-1],
        "name": file.name,
        "mimeType": file.mime_type,
        "parent": file.parent.id if file.parent else None,
        "owner": file.owner.email if file.owner else None,
        "drive": file.drive.id if file.drive else None,
        "version": file.version,
        "trashed": state.is_trashed(file),
        "createdTime": rfc3339(file.created_ms),
        "modifiedTime": rfc3339(file.modified_ms),
        "size": content.size_bytes if content else None,
        "md5Checksum": content.md5 if content else None,
        "sha1Checksum": content.sha1 if content else None,
        "sha256Checksum": content.sha256 if content else None,
        "headRevisionId": content.revision_id if content else None,
        "permissions": [permission_resource(state, p) for p in effective_permissions(state, file)],
    }
