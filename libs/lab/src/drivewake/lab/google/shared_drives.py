"""Shared drives: made, renamed, hidden, deleted. Members are permissions on the root. Pure."""

from collections.abc import Mapping

from drivewake.lab.google.changelog import ChangeLog
from drivewake.lab.google.core import Core, below
from drivewake.lab.google.model import (
    ORGANIZER,
    AccessDeniedError,
    Change,
    Permission,
    RuleError,
    SharedDrive,
    User,
)


class SharedDrives(Core):
    """What `drives.*` does."""

    def add_drive(self, actor: User, name: str, now_ns: int) -> tuple[SharedDrive, Change]:
        """Create a shared drive; its maker is its first organizer."""
        root = self._new_root(name, None, actor, now_ns, self._ids.drive())
        log = ChangeLog(f"drive:{root.id}", self._ids.between(1_000, 90_000_000))
        drive = SharedDrive(root, log, root.created_ms)
        root.drive, root.version = drive, 0
        key = actor.permission_id
        root.shares = {key: Permission(key, "user", "organizer", email=actor.email)}
        self.drives[drive.id] = drive
        self.drive_ids.add(drive.id)
        change = self._record_drive(actor, drive, "drive-create", (actor,), now_ns)
        return drive, change

    def change_drive(
        self,
        actor: User,
        drive_id: str,
        now_ns: int,
        *,
        name: str | None = None,
        restrictions: Mapping[str, bool] | None = None,
        color_rgb: str | None = None,
        theme_id: str | None = None,
    ) -> Change:
        """Rename a drive or change its settings; all members learn of it.

        Raises DriveMissingError, AccessDeniedError.
        """
        drive = self._organized(actor, drive_id)
        self._keep(drive.root, now_ns)
        detail = {"old_name": drive.root.name, "new_name": name} if name is not None else None
        if name is not None:
            drive.root.name = name
        drive.restrictions |= restrictions or {}
        drive.color_rgb = color_rgb or drive.color_rgb
        drive.theme_id = theme_id or drive.theme_id
        drive.root.modified_ms = now_ns // 1_000_000
        kind = "drive-rename" if name is not None else "drive-settings"
        members = self.access.audience(drive.root.shares or ())
        return self._record_drive(actor, drive, kind, members, now_ns, detail)

    def delete_drive(
        self, actor: User, drive_id: str, now_ns: int, *, with_items: bool = False
    ) -> Change:
        """Delete a drive that has nothing outside its trash, or, `with_items`, whatever it has.

        Raises DriveMissingError, AccessDeniedError, RuleError. That a full drive is refused is
        Google's rule; the reason `cannotDeleteTeamDriveWithItems` is inferred.
        """
        drive = self._organized(actor, drive_id)
        items = below(drive.root)
        if not with_items and not all(self.is_trashed(f) for f in items):
            raise RuleError(
                "cannotDeleteTeamDriveWithItems",
                "A shared drive cannot be deleted while it contains items that are not trashed.",
            )
        for file in (drive.root, *items):
            self._keep(file, now_ns)
        members = self.access.audience(drive.root.shares or ())
        change = self._record_drive(actor, drive, "delete-drive", members, now_ns)
        for file in items:
            del self.files[file.id]
            file.seal()
            for key in file.shares or ():
                holder = self.principals.get(key)
                if holder is not None:
                    holder.shared_with.pop(file.id, None)
            for user in file.more.openers.values():
                user.opened.pop(file.id, None)
        del self.files[drive.id], self.drives[drive.id]
        return change

    def hide_drive(self, actor: User, drive_id: str, *, hidden: bool) -> SharedDrive:
        """Take a drive out of the actor's default view, or back in. Raises DriveMissingError."""
        drive = self.shared_drive(actor, drive_id)
        self.untold += 1
        actor.hidden_drives = (actor.hidden_drives | {drive_id}) - (set() if hidden else {drive_id})
        return drive

    def _organized(self, actor: User, drive_id: str) -> SharedDrive:
        drive = self.shared_drive(actor, drive_id)
        if self.access.rank(actor, drive.root) < ORGANIZER:
            raise AccessDeniedError(drive_id)
        return drive
