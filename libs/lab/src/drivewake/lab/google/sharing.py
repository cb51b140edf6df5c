"""Who gets and loses access: permissions of files and drives, links, owners, expiry. Pure."""

import heapq
from collections.abc import Iterable, Mapping

from drivewake.lab.google.core import Core, children_of
from drivewake.lab.google.model import (
    ANYONE,
    FILE_ORGANIZER,
    ORGANIZER,
    OWNER,
    WRITER,
    AccessDeniedError,
    Change,
    File,
    InvalidOperationError,
    PartMissingError,
    Permission,
    RuleError,
    User,
)

_MY_DRIVE_ROLES = {"reader", "commenter", "writer"}
_MEMBER_ROLES = {*_MY_DRIVE_ROLES, "fileOrganizer", "organizer"}
_RESTRICTED = "The sharing settings of the shared drive do not allow this."


class Sharing(Core):
    """Grant, revoke, replace, transfer, expire."""

    def __init__(self, seed: int = 0, *, descendants_in_log: bool = False) -> None:
        super().__init__(seed, descendants_in_log=descendants_in_log)
        self._expiries: list[tuple[int, int, str, str]] = []

    def permission(
        self,
        kind: str,
        role: str,
        email: str | None,
        domain: str | None,
        *,
        expires_ms: int | None = None,
        discoverable: bool = False,
    ) -> Permission:
        """Build a permission for a user, a group, a domain or anyone.

        Raises InvalidOperationError.
        """
        if kind == "user" and email is not None:
            user = self.user(email)
            key = user.permission_id
            return Permission(key, "user", role, email=user.email, expires_ms=expires_ms)
        if kind == "group" and email is not None:
            group = self.group(email)
            key = group.permission_id
            return Permission(key, "group", role, email=group.email, expires_ms=expires_ms)
        if kind == "domain" and domain is not None:
            key = f"domain:{domain}"
            return Permission(key, "domain", role, domain=domain, discoverable=discoverable)
        if kind == "anyone":
            return Permission(ANYONE, "anyone", role, discoverable=discoverable)
        raise InvalidOperationError(f"Not a permission: type {kind!r}, {email!r}, {domain!r}")

    def can_share(self, actor: User, file: File) -> bool:
        """Whether the actor may change who has access."""
        rank = self.access.rank(actor, file)
        if file.drive is None:
            return rank >= (WRITER if file.more.writers_can_share else OWNER)
        if file.is_root:
            return rank >= ORGANIZER
        return rank >= (FILE_ORGANIZER if file.is_folder else WRITER)

    def set_permissions(
        self, actor: User, file_id: str, permissions: Iterable[Permission], now_ns: int
    ) -> Change | None:
        """Replace the direct permissions other than the owner's; None when nothing changes.

        The change goes to the owner's log and to those whose access it touches, to nobody
        else (about-changes). Raises FileMissingError, AccessDeniedError, RuleError.
        """
        file = self._shareable(actor, file_id)
        own = file.owner.permission_id if file.owner else ""
        wanted = {p.key: p for p in permissions if p.key != own}
        for permission in wanted.values():
            self._check(file, permission)
        return self._replace(actor, file, wanted, now_ns)

    def share(
        self, actor: User, file_id: str, permission: Permission, now_ns: int
    ) -> Change | None:
        """Add a permission, or replace the one this principal has. Raises as above."""
        file = self._shareable(actor, file_id)
        if file.owner is not None and file.owner.permission_id == permission.key:
            return None
        self._check(file, permission)
        return self._replace(
            actor, file, {**(file.shares or {}), permission.key: permission}, now_ns
        )

    def unshare(self, actor: User, file_id: str, key: str, now_ns: int) -> Change | None:
        """Take a direct permission away; anyone may give up their own.

        Raises PartMissingError, RuleError for the owner's or an inherited one.
        """
        file = self.find(actor, file_id)
        if key != actor.permission_id or key not in (file.shares or {}):
            file = self._shareable(actor, file_id)
        if file.owner is not None and key == file.owner.permission_id:
            raise RuleError("cannotRemoveOwner", "The owner of a file cannot be removed.")
        shares = dict(file.shares or {})
        if key not in shares:
            self._refuse_missing(file, key)
        del shares[key]
        return self._replace(actor, file, shares, now_ns)

    def transfer(
        self, actor: User, file_id: str, email: str, now_ns: int, *, to_root: bool = False
    ) -> Change:
        """Make another user the owner; the one before stays a writer.

        Raises AccessDeniedError for who is not the owner, RuleError in a shared drive,
        InvalidOperationError for the owner itself.
        """
        file = self._writable(actor, file_id)
        heir = self.user(email)
        if file.owner is None:
            raise RuleError("ownerOnTeamDriveItemNotSupported", "Drive items have no owner.")
        if file.owner is not actor:
            raise AccessDeniedError(file_id)
        if heir is actor:
            raise InvalidOperationError(f"{heir.email} owns the file already.")
        if heir.domain != actor.domain:
            text = "Ownership can only be transferred to another user in the same organization."
            raise RuleError("invalidSharingRequest", f'Bad Request. User message: "{text}"', 400)
        self._keep(file, now_ns)
        before = dict(self.access.grants(file))
        shares = dict(file.shares or {})
        shares.pop(heir.permission_id, None)
        shares[actor.permission_id] = Permission(
            actor.permission_id, "user", "writer", email=actor.email
        )
        file.shares, file.owner = shares, heir
        del actor.owned[file.id]
        actor.shared_with[file.id] = file
        heir.shared_with.pop(file.id, None)
        heir.owned[file.id] = file
        if to_root:
            del children_of(file.parent)[file.id]
            file.parent = heir.root
            children_of(heir.root)[file.id] = file
        self.access.forget()
        file.version += 1
        detail = {"new_owner": heir.email, "old_owner": actor.email}
        grants = {**before, **self.access.grants(file)}
        return self._record(actor, file, "permissions", grants, now_ns, detail)

    def expire(self, now_ns: int) -> list[Change]:
        """End the permissions whose time is over."""
        changes: list[Change] = []
        now_ms = now_ns // 1_000_000
        while self._expiries and self._expiries[0][0] <= now_ms:
            expires_ms, _, file_id, key = heapq.heappop(self._expiries)
            file = self.files.get(file_id)
            held = (file.shares or {}).get(key) if file is not None else None
            if file is None or held is None or held.expires_ms != expires_ms:
                continue
            shares = {k: p for k, p in (file.shares or {}).items() if k != key}
            change = self._replace(None, file, shares, now_ns)
            changes += [] if change is None else [change]
        return changes

    # --- inside -----------------------------------------------------------------------

    def _shareable(self, actor: User, file_id: str) -> File:
        file = self.find(actor, file_id)
        if not self.can_share(actor, file):
            raise AccessDeniedError(file_id)
        if file.is_root and file.drive is None:
            raise InvalidOperationError("A root cannot be changed.")
        return file

    def _check(self, file: File, permission: Permission) -> None:
        """Raise RuleError for a permission that an item cannot have.

        `invalidRole` is inferred: Google lists the roles, not the reason for a wrong one.
        """
        roles = _MY_DRIVE_ROLES if file.drive is None else _MEMBER_ROLES
        if permission.role not in roles:
            raise RuleError(
                "invalidRole", f"The role {permission.role} is not available for this item.", 400
            )
        if permission.type in {"anyone", "domain"} and permission.rank > WRITER:
            raise RuleError("invalidLinkVisibility", "The role is not available for links.", 400)
        if file.drive is None:
            return
        if permission.role == "organizer" and not file.is_root:
            raise RuleError(
                "organizerOnNonTeamDriveItemNotSupported",
                "The organizer role is for shared drives alone.",
            )
        limits = file.drive.restrictions
        domain = (permission.email or permission.domain or "").rpartition("@")[2]
        home = file.drive.root.last_modifying_user.domain
        if limits.get("domainUsersOnly") and domain != home:
            raise RuleError("teamDriveDomainUsersOnlyRestriction", _RESTRICTED)
        inside = file.is_root or permission.key in self.access.grants(file.drive.root)
        if limits.get("driveMembersOnly") and not inside:
            raise RuleError("teamDriveTeamMembersOnlyRestriction", _RESTRICTED)

    def _refuse_missing(self, file: File, key: str) -> None:
        if key in self.access.grants(file):
            team = "TeamDrive" if file.drive is not None else ""
            raise RuleError(
                f"cannotModifyInherited{team}Permission",
                "Cannot update or delete an inherited permission on an item.",
            )
        raise PartMissingError("permission", key)

    def _replace(
        self, actor: User | None, file: File, wanted: Mapping[str, Permission], now_ns: int
    ) -> Change | None:
        old = file.shares or {}
        if wanted == old:
            return None
        self._keep(file, now_ns)
        before = self.access.grants(file)
        self._shelve(file, old, wanted)
        file.shares = dict(wanted) or None
        if file.is_folder:
            self.access.forget()
        after = self.access.grants(file)
        touched = {k: 1 for k in {**before, **after} if before.get(k) != after.get(k)}
        detail = {
            "added": [p for k, p in wanted.items() if old.get(k) != p],
            "removed": [p for k, p in old.items() if wanted.get(k) != p],
        }
        if file.is_root and file.drive is not None:
            users = self.access.audience(touched)
            return self._record_drive(actor, file.drive, "drive-members", users, now_ns, detail)
        file.version += 1
        if file.owner is not None:
            touched[file.owner.permission_id] = 1
        also = self.access.audience(touched) if file.drive is not None else ()
        return self._record(actor, file, "permissions", touched, now_ns, detail, also=also)

    def _shelve(
        self, file: File, old: Mapping[str, Permission], wanted: Mapping[str, Permission]
    ) -> None:
        """Keep up who finds the file under "shared with me", and what ends when."""
        for key, permission in wanted.items():
            if permission.expires_ms is not None and old.get(key) != permission:
                entry = (permission.expires_ms, self._next_ordinal(), file.id, key)
                heapq.heappush(self._expiries, entry)
        if file.is_root:
            return
        for key in old.keys() | wanted.keys():
            holder = self.principals.get(key)
            if holder is None:
                continue
            if key in wanted:
                holder.shared_with[file.id] = file
            else:
                holder.shared_with.pop(file.id, None)
