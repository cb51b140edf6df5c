"""From a git history to what people would have done in a Drive. Pure: no I/O, no clock.

A path becomes a file in folders; a rename keeps the file and changes its name, parents or
both; a deletion sends the file to the trash or deletes it for good (decided by its path, so
that both happen in every history); a folder that empties goes to the trash.
"""

import zlib
from collections import Counter
from typing import Final, Literal

import msgspec

from drivewake.lab.scenarios.git import SUBMODULE_MODE, SYMLINK_MODE, Commit, PathChange

Verb = Literal["create_folder", "create_file", "update_content", "move", "trash", "delete"]
ROOT: Final = "root"


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call that a person's client would make: exactly one new version of one file.

    `ref` is our name of the file, `parent` of its folder; `blob` and `mode` say which
    content git has for it; `at` is the commit's time in seconds since 1970.
    """

    verb: Verb
    ref: str
    at: int
    name: str = ""
    parent: str = ""
    old_parent: str = ""
    blob: str = ""
    mode: str = ""


def mime_type_of(mode: str) -> str:
    """Return the MIME type under which a blob of this mode is kept."""
    if mode == SYMLINK_MODE:
        return "inode/symlink"
    if mode == SUBMODULE_MODE:
        return "application/x-git-submodule"
    return "application/octet-stream"


class Planner:
    """Turns commits into actions, one after the other; remembers which path is which file."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {"": ROOT}
        self._children: Counter[str] = Counter()
        self._made = 0

    def paths(self) -> dict[str, str]:
        """Return the living files: path to ref."""
        return dict(self._files)

    def plan(self, commit: Commit) -> list[Action]:
        """Return what the commit's author did, in an order that every rename survives.

        Paths are taken out of the map before any is put in, so that two files may swap
        names or move in a circle within one commit.
        """
        leaving = {
            change.old_path: self._take(change.old_path)
            for change in commit.changes
            if change.verb in "DR"
        }
        actions = [
            _deletion(leaving[change.path], change.path, commit.at)
            for change in commit.changes
            if change.verb == "D"
        ]
        for change in commit.changes:
            if change.verb == "R":
                actions += self._rename(leaving[change.old_path], change, commit.at)
            elif change.path in self._files and change.verb in "MT":
                if not change.same_content:
                    actions.append(_content(self._files[change.path], change, commit.at))
            elif change.verb != "D":
                actions += self._create(change, commit.at)
        actions += self._trash_empty_folders(commit)
        return actions

    def _take(self, path: str) -> str:
        self._children[_folder_of(path)] -= 1
        return self._files.pop(path)

    def _put(self, path: str, ref: str) -> None:
        self._children[_folder_of(path)] += 1
        self._files[path] = ref

    def _new_ref(self) -> str:
        self._made += 1
        return f"n{self._made}"

    def _create(self, change: PathChange, at: int) -> list[Action]:
        actions = self._folder(_folder_of(change.path), at)
        ref = self._new_ref()
        self._put(change.path, ref)
        created = Action(
            verb="create_file",
            ref=ref,
            at=at,
            name=_name_of(change.path),
            parent=self._folders[_folder_of(change.path)],
            blob=change.blob,
            mode=change.mode,
        )
        return [*actions, created]

    def _rename(self, ref: str, change: PathChange, at: int) -> list[Action]:
        old_folder, folder = _folder_of(change.old_path), _folder_of(change.path)
        actions = self._folder(folder, at)
        self._put(change.path, ref)
        moved = folder != old_folder
        actions.append(
            Action(
                verb="move",
                ref=ref,
                at=at,
                name=_name_of(change.path),
                parent=self._folders[folder] if moved else "",
                old_parent=self._folders[old_folder] if moved else "",
            )
        )
        if not change.same_content:
            actions.append(_content(ref, change, at))
        return actions

    def _folder(self, path: str, at: int) -> list[Action]:
        """Make the folder and those above it where they are missing."""
        if path in self._folders:
            return []
        above = _folder_of(path)
        actions = self._folder(above, at)
        ref = self._new_ref()
        self._folders[path] = ref
        self._children[above] += 1
        made = Action(
            verb="create_folder",
            ref=ref,
            at=at,
            name=_name_of(path),
            parent=self._folders[above],
        )
        return [*actions, made]

    def _trash_empty_folders(self, commit: Commit) -> list[Action]:
        """Empty folders go, deepest first: git knows none."""
        touched = {_folder_of(change.old_path) for change in commit.changes}
        actions = []
        while touched:
            path = max(touched, key=lambda folder: folder.count("/") if folder else -1)
            touched.discard(path)
            if path and path in self._folders and self._children[path] == 0:
                above = _folder_of(path)
                actions.append(Action(verb="trash", ref=self._folders.pop(path), at=commit.at))
                self._children[above] -= 1
                touched.add(above)
        return actions


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _name_of(path: str) -> str:
    return path.rpartition("/")[2]


def _deletion(ref: str, path: str, at: int) -> Action:
    verb: Verb = "trash" if zlib.crc32(path.encode()) % 2 else "delete"
    return Action(verb=verb, ref=ref, at=at)


def _content(ref: str, change: PathChange, at: int) -> Action:
    return Action(verb="update_content", ref=ref, at=at, blob=change.blob, mode=change.mode)
