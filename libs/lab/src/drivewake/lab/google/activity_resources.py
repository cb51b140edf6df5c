"""DriveActivity as Google writes it: actors, targets, actions, relative to who looks. Pure."""

import datetime as dt
from typing import Any

from drivewake.lab.google.activity_book import ActivityBook, Detail, Record
from drivewake.lab.google.core import Core
from drivewake.lab.google.model import FOLDER, User

Group = list[Record]


def resource(book: ActivityBook, state: Core, group: Group, viewer: User) -> dict[str, Any]:
    """Return one activity told to `viewer`; a group of several has a range of time.

    Its records are newest first. Who is in no way known any more is a deletedUser.
    """
    actors, targets = [], []
    actions: list[dict[str, Any]] = []
    for record in group:
        actor, target = _actor(state, record, viewer), _target(book, state, record, viewer)
        actors += [] if actor in actors else [actor]
        targets += [] if target in targets else [target]
        for case, detail in record.details:
            action: dict[str, Any] = {"detail": {case: _told(state, detail, viewer)}}
            if len(group) > 1:
                action |= {"actor": actor, "target": target, "timestamp": time(record.at_ns)}
            actions.append(action)
    shown: dict[str, Any] = {
        "primaryActionDetail": actions[0]["detail"],
        "actors": actors,
        "actions": actions,
        "targets": targets,
    }
    newest_ns, oldest_ns = group[0].at_ns, group[-1].at_ns
    if newest_ns == oldest_ns:
        return shown | {"timestamp": time(newest_ns)}
    return shown | {"timeRange": {"startTime": time(oldest_ns), "endTime": time(newest_ns)}}


def time(at_ns: int) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=at_ns // 1_000_000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person(state: Core, email: str, viewer: User) -> dict[str, Any]:
    """Return a User: who it is stands in People or the Directory, never here."""
    user = state.users.get(email)
    if user is None:
        return {"deletedUser": {}}
    known: dict[str, Any] = {"personName": f"people/{user.user_id}"}
    if user is viewer:
        known["isCurrentUser"] = True
    return {"knownUser": known}


def _actor(state: Core, record: Record, viewer: User) -> dict[str, Any]:
    if isinstance(record.actor, str):
        return {"user": person(state, record.actor, viewer)}
    who = record.actor.get("impersonation")
    if who is not None:
        return {"impersonation": {"impersonatedUser": person(state, who, viewer)}}
    return record.actor


def _target(book: ActivityBook, state: Core, record: Record, viewer: User) -> dict[str, Any]:
    item = _item(book, state, record, viewer)
    if record.file_id in state.drive_ids:
        shown = {"name": f"drives/{record.file_id}", "title": record.title, "root": item}
        return {"drive": shown}
    if record.comment_id is None:
        return {"driveItem": item}
    link = f"https://drive.google.com/file/d/{record.file_id}/view?disco={record.comment_id}"
    comment = {"legacyDiscussionId": record.comment_id, "linkToDiscussion": link, "parent": item}
    return {"fileComment": comment}


def _item(book: ActivityBook, state: Core, record: Record, viewer: User) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": f"items/{record.file_id}", "title": record.title}
    if record.mime_type:
        shown["mimeType"] = record.mime_type
    if record.file_id in state.drive_ids:
        shown["driveFolder"] = {"type": "SHARED_DRIVE_ROOT"}
        shown["folder"] = {"type": "TEAM_DRIVE_ROOT"}
    elif record.mime_type == FOLDER:
        kind = "STANDARD_FOLDER" if record.above else "MY_DRIVE_ROOT"
        shown["driveFolder"] = shown["folder"] = {"type": kind}
    else:
        shown["driveFile"] = shown["file"] = {}
    if record.drive_id is not None:
        title = book.title_of(record.drive_id)
        shown["owner"] = {
            "drive": {"name": f"drives/{record.drive_id}", "title": title},
            "teamDrive": {"name": f"teamDrives/{record.drive_id}", "title": title},
        }
    elif record.owner is not None:
        domain = record.owner.rpartition("@")[2]
        shown["owner"] = {"user": person(state, record.owner, viewer), "domain": {"name": domain}}
    return shown


def _told(state: Core, detail: Detail, viewer: User) -> Detail:
    """Return a detail with the users of its permissions as this viewer sees them."""
    if not ("addedPermissions" in detail or "removedPermissions" in detail):
        return detail
    return {
        side: [
            {**p, "user": person(state, p["user"], viewer)} if isinstance(p.get("user"), str) else p
            for p in permissions
        ]
        for side, permissions in detail.items()
    }
