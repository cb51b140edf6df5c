"""What people did, as Drive Activity remembers it: one record a change, kept for ever. Pure.

A record holds what was true right after the action (title, place, owner, who could see it),
so that a closed window of time never reads differently later. Visibility: who can see the
item now sees its whole history; who lost access sees what happened while it had access, the
loss included, and nothing after.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from drivewake.lab.google.activity_index import ActivityIndex
from drivewake.lab.google.core import Core
from drivewake.lab.google.model import Change, File, User

Detail = dict[str, Any]
_REMARKS = {
    "comment": "ADDED",
    "comment-delete": "DELETED",
    "reply": "REPLY_ADDED",
    "reply-delete": "REPLY_DELETED",
    "resolve": "RESOLVED",
    "reopen": "REOPENED",
}
_ROLES = {
    "owner": "OWNER",
    "organizer": "ORGANIZER",
    "fileOrganizer": "FILE_ORGANIZER",
    "writer": "EDITOR",
    "commenter": "COMMENTER",
    "reader": "VIEWER",
}
_FEATURES = {
    "domainUsersOnly": "SHARING_OUTSIDE_DOMAIN",
    "driveMembersOnly": "DIRECT_SHARING",
    "copyRequiresWriterPermission": "ITEM_DUPLICATION",
    "sharingFoldersRequiresOrganizerPermission": "FILE_ORGANIZER_CAN_SHARE_FOLDERS",
}
_MS = 1_000_000
_UPLOAD: tuple[tuple[str, Detail], ...] = (("create", {"upload": {}}),)
_NEW: tuple[tuple[str, Detail], ...] = (("create", {"new": {}}),)
"""What a million files have in common stands here once."""
_NOBODY: Mapping[str, int] = {}


class Record(NamedTuple):
    """One activity: its actions share actor, time and item.

    `details` are ActionDetails by case, a list of one nearly always; `actor` is an address,
    or a finished Actor. `above` are the folders it was in, nearest first. `logs` are those
    of the change, `grants` the access right after it. `previous` is the place of the item's
    activity before this one, -1 for none.
    """

    n: int
    at_ns: int
    file_id: str
    actor: str | Detail
    details: tuple[tuple[str, Detail], ...]
    title: str
    mime_type: str
    owner: str | None
    drive_id: str | None
    above: tuple[str, ...]
    logs: tuple[str, ...]
    grants: Mapping[str, int]
    previous: int
    comment_id: str | None = None

    @property
    def cases(self) -> frozenset[str]:
        """The fields of ActionDetail that its actions have."""
        return frozenset(case for case, _ in self.details)


class ActivityBook:
    """All records in order of time, and each item's latest."""

    def __init__(self, state: Core) -> None:
        self._state = state
        self.records: list[Record] = []
        self.latest: dict[str, int] = {}
        self.index = ActivityIndex()
        self._paths: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._titles: dict[str, str] = {}

    def note(self, change: Change) -> None:
        """Remember a change; most of Drive's bookkeeping (stars, revisions) is no activity."""
        last = self.last(change.file_id)
        file = self._state.files.get(change.file_id)
        details = self._details(change, file, last)
        if file is not None and file.is_root and file.drive is not None:
            self._titles[file.id] = file.name
        if not details:
            return
        actor: str | Detail = change.actor
        if not actor:
            actor = {"administrator": {}} if change.kind == "drive-members" else {"system": {}}
        comment_id = (change.detail or {}).get("comment_id")
        if "move" in change.kind or change.kind in {"create", "delete"}:
            self._add(change, file, last, actor, details, comment_id)
            return
        for detail in details:
            self._add(change, file, self.last(change.file_id), actor, [detail], comment_id)

    def add(self, file: File, actor: str | Detail, case: str, detail: Detail, at_ns: int) -> Record:
        """Remember what no change tells: a label, a leak found, a link made, a setting."""
        change = Change(0, file.id, file.version, case, "", at_ns, ())
        return self._add(change, file, self.last(file.id), actor, [(case, detail)], None)

    def last(self, file_id: str) -> Record | None:
        """Return an item's latest activity."""
        place = self.latest.get(file_id)
        return None if place is None else self.records[place]

    def sees(self, user: User, record: Record) -> bool:
        """Whether the user may know of an activity."""
        file = self._state.files.get(record.file_id)
        if file is not None and self._state.access.rank(user, file):
            return True
        if user.email in record.logs:
            return True
        return any(record.grants.get(key) for key in user.keys)

    def title_of(self, item_id: str) -> str:
        """Return what an item, living or gone, is called."""
        file = self._state.files.get(item_id)
        if file is not None:
            return file.name
        last = self.last(item_id)
        return last.title if last else self._titles.get(item_id, "")

    # --- inside -----------------------------------------------------------------------

    def _add(
        self,
        change: Change,
        file: File | None,
        last: Record | None,
        actor: str | Detail,
        details: Sequence[tuple[str, Detail]],
        comment_id: str | None,
    ) -> Record:
        place = len(self.records)
        if file is not None:
            owner = file.owner.email if file.owner else None
            drive_id = file.drive.id if file.drive else None
            known = (file.name, file.mime_type, owner, drive_id)
            above, grants = self._above(file), self._state.access.grants(file)
        elif last is not None:
            known = (last.title, last.mime_type, last.owner, last.drive_id)
            above, grants = last.above, last.grants
        else:
            known = (self.title_of(change.file_id), "", None, None)
            above, grants = (), _NOBODY
        record = Record(
            place,
            change.at_ns // _MS * _MS,
            change.file_id,
            actor,
            tuple(details),
            *known,
            above=above,
            logs=change.logs,
            grants=grants,
            previous=self.latest.get(change.file_id, -1),
            comment_id=comment_id,
        )
        self.records.append(record)
        self.index.note(record, last)
        self.latest[change.file_id] = place
        return record

    def _above(self, file: File) -> tuple[str, ...]:
        """Return the ids of the folders an item is in; folders share the answer."""
        if file.parent is None:
            return ()
        epoch = self._state.access.epoch
        held = self._paths.get(file.parent.id)
        if held is None or held[0] != epoch:
            held = (epoch, (file.parent.id, *self._above(file.parent)))
            self._paths[file.parent.id] = held
        return held[1]

    def _details(
        self, change: Change, file: File | None, last: Record | None
    ) -> Sequence[tuple[str, Detail]]:
        if change.kind == "create" and not change.detail:
            return _NEW if file is None or file.content is None else _UPLOAD
        found = [
            detail
            for kind in change.kind.split("+")
            if (detail := self._detail(kind, change, file)) is not None
        ]
        if "move" in change.kind and file is not None and last is not None:
            added = self._gained(last.grants, self._state.access.grants(file))
            if added:
                found.append(("permissionChange", {"addedPermissions": added}))
        return found

    def _detail(  # noqa: C901, PLR0911 - one line a kind of change
        self, kind: str, change: Change, file: File | None
    ) -> tuple[str, Detail] | None:
        said = change.detail or {}
        match kind:
            case "create" | "drive-create":
                return "create", self._creation(said)
            case "content":
                return "edit", {}
            case "rename" | "drive-rename":
                return "rename", {"oldTitle": said["old_name"], "newTitle": said["new_name"]}
            case "move" | "orphan":
                return "move", self._move(said)
            case "trash":
                return "delete", {"type": "TRASH"}
            case "delete" | "delete-drive":
                return "delete", {"type": "PERMANENT_DELETE"}
            case "untrash":
                return "restore", {"type": "UNTRASH"}
            case "permissions" | "drive-members":
                return "permissionChange", self._permission_change(said)
            case "drive-settings":
                return "settingsChange", _settings(file)
            case _ if kind in _REMARKS:
                return "comment", {"post": {"subtype": _REMARKS[kind]}}
        return None

    def _creation(self, said: Mapping[str, Any]) -> Detail:
        if "copied_from" in said:
            return {"copy": {"originalObject": self.reference(said["copied_from"])}}
        return {"new": {}}

    def _move(self, said: Mapping[str, Any]) -> Detail:
        sides = {"addedParents": "added_parents", "removedParents": "removed_parents"}
        return {
            name: [self.reference(item_id) for item_id in said[key]]
            for name, key in sides.items()
            if said.get(key)
        }

    def reference(self, item_id: str) -> Detail:
        """Return a TargetReference as it would be now."""
        title = self.title_of(item_id)
        if item_id in self._state.drive_ids:
            return {"drive": {"name": f"drives/{item_id}", "title": title}}
        file = self._state.files.get(item_id)
        shown: Detail = {"name": f"items/{item_id}", "title": title}
        if file is not None and file.is_folder:
            kind = "MY_DRIVE_ROOT" if file.is_root else "STANDARD_FOLDER"
            shown |= {"driveFolder": {"type": kind}, "folder": {"type": kind}}
        else:
            shown |= {"driveFile": {}, "file": {}}
        return {"driveItem": shown}

    def _permission_change(self, said: Mapping[str, Any]) -> Detail:
        if "new_owner" in said:
            new, old = said["new_owner"], said["old_owner"]
            added = [_of_user("OWNER", new), _of_user("EDITOR", old)]
            return {"addedPermissions": added, "removedPermissions": [_of_user("OWNER", old)]}
        names = {"addedPermissions": "added", "removedPermissions": "removed"}
        return {
            name: [
                _permission(
                    _ROLES[p.role], p.type, p.email or p.domain, discoverable=p.discoverable
                )
                for p in said[key]
            ]
            for name, key in names.items()
            if said.get(key)
        }

    def _gained(self, before: Mapping[str, int], after: Mapping[str, int]) -> list[Detail]:
        """Return whom a move let in: Google groups it with the move."""
        found: list[Detail] = []
        for key, rank in after.items():
            if before.get(key, 0) >= rank:
                continue
            role = {1: "VIEWER", 2: "COMMENTER", 3: "EDITOR", 4: "FILE_ORGANIZER"}.get(rank)
            holder = self._state.principals.get(key)
            if holder is None:
                kind, _, name = key.partition(":")
                told = ("domain", name) if kind == "domain" else ("anyone", None)
            else:
                told = ("user" if isinstance(holder, User) else "group", holder.email)
            found.append(_permission(role or "ORGANIZER", *told))
        return found


def _of_user(role: str, email: str) -> Detail:
    return _permission(role, "user", email)


def _permission(role: str, kind: str, name: str | None, *, discoverable: bool = False) -> Detail:
    """Return a Permission; a user's stands by address until somebody asks (activity.py)."""
    shown: Detail = {"role": role, kind: {}}
    if kind == "user":
        shown["user"] = name
    elif kind == "group":
        shown["group"] = {"email": name, "title": str(name).partition("@")[0]}
    elif kind == "domain":
        shown["domain"] = {"name": name}
    if discoverable:
        shown["allowDiscovery"] = True
    return shown


def _settings(file: File | None) -> Detail:
    limits = file.drive.restrictions if file is not None and file.drive is not None else {}
    changes = [
        {
            "feature": _FEATURES[name],
            "newRestriction": "FULLY_RESTRICTED" if on else "UNRESTRICTED",
        }
        for name, on in limits.items()
        if name in _FEATURES
    ]
    return {"restrictionChanges": changes} if changes else {}
