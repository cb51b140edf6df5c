"""What a principal can see, now or then: the truth that a mirror of a Drive is compared with."""

from typing import Any

from drivewake.lab.google.model import File, InvalidOperationError, User
from drivewake.lab.google.past import state_then
from drivewake.lab.google.resources import effective_permissions, permission_resource, rfc3339
from drivewake.lab.google.state import DriveState
from drivewake.lab.google.world import SimulatedGoogle


def seen_by(
    world: SimulatedGoogle, email: str, *, at_ns: int | None = None, seq: int | None = None
) -> dict[str, Any]:
    """Return all that a user can see: `principal`, `rootId`, `seq` and `files`, oldest first.

    Now, or as it was at an instant (Unix nanoseconds: all that was done until then), or when
    the change `seq` was the last. `seq` of the answer is the last change that is in it, as
    `seq` of the ledger's changes. A file has its place (`path` from the highest folder that
    the user sees), hashes in lower-case hex, the trash it inherits, and its permissions in
    force, direct and inherited; `ref` is the name by which actions call it now. A permission
    that expired counts until the simulator ended it, as its change says. Raises
    InvalidOperationError where there is, or was, no such user, and for what is to come.
    """
    world.tick()  # whose permission has expired sees no more
    state, last = world.state, world.state.seq
    if at_ns is not None and at_ns > world.now_ns():
        raise InvalidOperationError(f"The instant {at_ns} has not come yet.")
    if at_ns is not None or seq is not None:
        state, last = state_then(state, email, at_ns=at_ns, seq=seq)
    user = state.user(email)
    refs = {file_id: ref for ref, file_id in world.refs.items()}
    files = [_file(state, file, user, refs) for file in state.visible(user)]
    return {"principal": user.email, "rootId": user.root.id, "seq": last, "files": files}


def _file(state: DriveState, file: File, user: User, refs: dict[str, str]) -> dict[str, Any]:
    content = file.content
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
