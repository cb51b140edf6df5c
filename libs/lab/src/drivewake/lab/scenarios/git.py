"""A git history as it lies on disk: commits in order, what each did to which path, contents.

Follows first parents, so that the tree after the last commit is exactly `git ls-tree -r`
of it, merges included. Git itself does the reading (`git log --raw`, `cat-file --batch`):
no other reader knows every repository format.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

FORMAT: Final = "tformat:%H%x00%at%x00%aN%x00%aE"
SUBMODULE_MODE: Final = "160000"
SYMLINK_MODE: Final = "120000"
_CHUNK_BYTES: Final = 1 << 16


class GitError(Exception):
    """The repository cannot be replayed; the text says why in one line."""


class PathChange(msgspec.Struct, frozen=True):
    """What a commit did to one path.

    `verb` is git's status letter: Added, Modified, Deleted, Renamed, Type changed.
    `blob` names the content after the change, `mode` its kind (six octal digits);
    `old_blob` is the content before.
    """

    verb: Literal["A", "M", "D", "R", "T"]
    path: str
    old_path: str
    blob: str
    mode: str
    old_blob: str

    @property
    def same_content(self) -> bool:
        """Whether a rename or a change of mode left the bytes alone."""
        return self.old_blob == self.blob


class Commit(msgspec.Struct, frozen=True):
    """One commit of the first-parent line, oldest first; `at` in seconds since 1970."""

    id: str
    at: int
    author: str
    email: str
    changes: tuple[PathChange, ...]


class TreeEntry(msgspec.Struct, frozen=True):
    """One line of `git ls-tree -r`."""

    path: str
    mode: str
    blob: str


def _text(path: bytes) -> str:
    """Return a path as text: Drive has no bytes in names, so odd bytes become escapes."""
    return path.decode("utf-8", "backslashreplace")


class GitHistory:
    """Reads one repository. Raises GitError where git cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise GitError(f"{path} does not exist")
        try:
            self._run("rev-parse", "--git-dir")
        except FileNotFoundError:
            raise GitError("git is not installed: the demo replays a git history") from None
        except GitError as error:
            raise GitError(f"{path} is no git repository that can be read: {error}") from None
        try:
            self.head = self._run("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
        except GitError:
            raise GitError(f"{path} has no commit yet: nothing to replay") from None

    def _run(self, *args: str) -> bytes:
        done = subprocess.run(  # noqa: S603 - a fixed program, arguments never reach a shell
            ["git", "-C", str(self.path), *args],  # noqa: S607 - the user's own git
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise GitError(lines[0] if lines else f"git {args[0]} failed")
        return done.stdout

    def count(self, limit: int | None = None) -> int:
        """Return how many commits `commits(limit)` will yield."""
        total = int(self._run("rev-list", "--first-parent", "--count", self.head))
        return total if limit is None else min(total, limit)

    def commits(self, limit: int | None = None) -> Iterator[Commit]:
        """Yield the first `limit` commits (all by default), oldest first.

        The order comes first and is cut there: `git log --reverse --max-count` would cut
        the newest instead.
        """
        order = self._run("rev-list", "--first-parent", "--reverse", self.head).split()
        yield from parse_log(self._log(order[:limit]))

    def _log(self, ids: list[bytes]) -> Iterator[bytes]:
        """Yield the NUL-separated tokens of `git log --raw -z` for these commits, in order."""
        command = [
            "git", "-C", str(self.path), "log", "--stdin", "--no-walk=unsorted",
            "--first-parent", "-m", "--root", "--raw", "-z", "--no-abbrev", "-M", "-l0",
            "--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-notes",
            f"--format={FORMAT}",
        ]  # fmt: skip
        with subprocess.Popen(  # noqa: S603 - a fixed program, arguments never reach a shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as git:
            assert git.stdin is not None
            assert git.stdout is not None
            git.stdin.write(b"\n".join(ids) + b"\n")
            git.stdin.close()
            pending = b""
            while chunk := git.stdout.read(_CHUNK_BYTES):
                *whole, pending = (pending + chunk).split(b"\0")
                yield from whole
            if pending:
                yield pending
            if git.wait() != 0:
                raise GitError("git log failed: is the clone complete? try `git fsck`")

    def tree(self, commit: str) -> list[TreeEntry]:
        """Return `git ls-tree -r` of a commit."""
        entries = []
        for line in self._run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
            if line:
                meta, _, path = line.partition(b"\t")
                mode, _, blob = meta.decode().split()
                entries.append(TreeEntry(_text(path), mode, blob))
        return entries

    def blobs(self) -> "Blobs":
        """Return a reader of contents, to be used in a `with` block."""
        return Blobs(self.path)


def parse_log(tokens: Iterator[bytes]) -> Iterator[Commit]:
    """Parse the tokens of `git log --raw -z` in FORMAT.

    Paths may hold any byte but NUL, so nothing is recognised by its looks but what stands
    where a change (`:modes blobs status`) or the next commit must stand.
    """
    header: list[bytes] = []
    changes: list[PathChange] = []
    for token in tokens:
        if token.lstrip(b"\n").startswith(b":"):
            changes.append(_parse_change(token, tokens))
        elif token:
            if header:
                yield _commit(header, changes)
            header, changes = [token, next(tokens), next(tokens), next(tokens)], []
    if header:
        yield _commit(header, changes)


def _commit(header: list[bytes], changes: list[PathChange]) -> Commit:
    commit, at, author, email = header
    return Commit(
        id=commit.strip().decode(),
        at=int(at),
        author=author.decode(errors="replace") or "unknown",
        email=email.strip(b"\n").decode(errors="replace"),
        changes=tuple(changes),
    )


def _parse_change(meta: bytes, tokens: Iterator[bytes]) -> PathChange:
    _, mode, old_blob, blob, status = meta.strip(b"\n:").decode().split()
    old_path = path = next(tokens)
    if status[0] in "RC":
        path = next(tokens)
    return PathChange(
        verb=status[0],  # type: ignore[arg-type] # git's letters; others can't occur here
        path=_text(path),
        old_path=_text(old_path),
        blob=blob,
        mode=mode,
        old_blob=old_blob,
    )


class Blobs:
    """Contents by blob id, through one `git cat-file --batch`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        """Start git."""
        self._git = subprocess.Popen(  # noqa: S603 - a fixed program
            ["git", "-C", str(self._path), "cat-file", "--batch"],  # noqa: S607 - the user's git
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop git."""
        assert self._git.stdin is not None
        assert self._git.stdout is not None
        self._git.stdin.close()
        self._git.stdout.close()
        self._git.wait()

    def read(self, blob: str, mode: str) -> bytes:
        """Return the content; a submodule's is the id of its commit, for git stores no more."""
        if mode == SUBMODULE_MODE:
            return blob.encode()
        assert self._git.stdin is not None
        assert self._git.stdout is not None
        self._git.stdin.write(blob.encode() + b"\n")
        self._git.stdin.flush()
        header = self._git.stdout.readline().split()
        if len(header) != 3 or header[1] != b"blob":
            raise GitError(f"git cannot read blob {blob}: is the clone complete?")
        size_bytes = int(header[2])
        content = self._git.stdout.read(size_bytes)
        self._git.stdout.read(1)
        return content
