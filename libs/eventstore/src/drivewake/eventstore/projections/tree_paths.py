"""Where files stand in the tree: pure, and safe against whatever parents Google reports."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

FOLDER: Final = "application/vnd.google-apps.folder"
MAX_PATHS: Final = 100
"""Of one folder: with several parents at each level their number would double and double."""

Path = tuple[str, ...]
"""Names from the root down."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder that is not gone; `parents` may be unknown ones, none, or several."""

    file: str
    name: str
    mime_type: str
    parents: Sequence[str]
    version: int
    trashed: bool = False
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A file and one of its paths, its own name last."""

    path: Path
    node: Node


def place(nodes: Iterable[Node], root: str = "") -> list[Placed]:
    """Return every file that is no folder with each of its paths, sorted by path.

    With `root` (a folder's id), only what is below it, with paths from there. Without, whatever
    has no parent among `nodes` stands at the top. What is in the trash, or in a folder that is,
    has no path; neither have folders in a circle and what is in them. A file in two folders has
    two paths, and two files may have the same one.
    """
    known = list(nodes)
    tree = _Tree([node for node in known if node.mime_type == FOLDER], root)
    found = [
        Placed(path=(*above, node.name), node=node)
        for node in known
        if node.mime_type != FOLDER and not node.trashed
        for above in tree.above(node)
    ]
    return sorted(found, key=lambda placed: (placed.path, placed.node.file))


class _Tree:
    """Paths of folders, each found once and without recursion: trees may be thousands deep."""

    def __init__(self, folders: Iterable[Node], root: str) -> None:
        self._folders = {folder.file: folder for folder in folders}
        self._root = root
        self._paths: dict[str, tuple[Path, ...]] = {root: ((),)} if root else {}

    def above(self, node: Node) -> tuple[Path, ...]:
        """Return the paths of the folders that hold a node; () is the root itself."""
        for parent in self._parents(node):
            self._resolve(parent)
        return self._join(node)

    def _parents(self, node: Node) -> list[str]:
        return [
            parent for parent in node.parents if parent == self._root or parent in self._folders
        ]

    def _join(self, node: Node) -> tuple[Path, ...]:
        parents = self._parents(node)
        if not parents:
            return () if self._root else ((),)
        paths = [path for parent in parents for path in self._paths.get(parent, ())]
        return tuple(paths[:MAX_PATHS])

    def _resolve(self, folder: str) -> None:
        stack = [folder]
        entered: set[str] = set()
        while stack:
            current = stack[-1]
            if current in self._paths:
                stack.pop()
                continue
            entered.add(current)
            node = self._folders[current]
            waiting = [
                parent
                for parent in self._parents(node)
                if parent not in self._paths and parent not in entered
            ]
            if waiting:
                stack.extend(waiting)
                continue
            above = () if node.trashed else self._join(node)
            self._paths[current] = tuple((*path, node.name) for path in above)
