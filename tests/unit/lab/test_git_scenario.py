"""A git history becomes Drive activity whose end is exactly git's own tree."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivewake.lab.scenarios.git import Commit, GitError, GitHistory, PathChange
from drivewake.lab.scenarios.plan import ROOT, Action, Planner


def _git(path: Path, *args: str) -> None:
    command = ["git", "-C", str(path), "-c", "user.name=n", "-c", "user.email=e@example.com", *args]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty git repository in a path with a space."""
    path = tmp_path / "a repo"
    path.mkdir()
    _git(path, "init", "-q", "-b", "main", ".")
    return path


def _commit(path: Path, message: str = "m") -> None:
    _git(path, "add", "-A")
    _git(path, "commit", "-q", "--allow-empty", "-m", message)


class Drive:
    """The simplest thing that obeys actions: refs with a name, a parent and a content."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, str]] = {}

    def apply(self, action: Action) -> None:
        """Do what the action says; a rule broken raises KeyError."""
        if action.verb in ("create_folder", "create_file"):
            kind = action.mode or "folder"
            self.files[action.ref] = {
                "name": action.name, "parent": action.parent, "blob": action.blob, "kind": kind
            }  # fmt: skip
            assert action.parent == ROOT or self.files[action.parent]["kind"] == "folder"
        elif action.verb == "update_content":
            self.files[action.ref] |= {"blob": action.blob, "kind": action.mode}
        elif action.verb == "move":
            file = self.files[action.ref]
            file["name"] = action.name
            if action.parent:
                assert file["parent"] == action.old_parent
                file["parent"] = action.parent
        else:
            del self.files[action.ref]

    def tree(self) -> dict[str, str]:
        """Return path to blob of all files."""
        return {
            self._path(ref): file["blob"]
            for ref, file in self.files.items()
            if file["kind"] != "folder"
        }

    def folders(self) -> set[str]:
        """Return the paths of all folders."""
        return {self._path(ref) for ref, file in self.files.items() if file["kind"] == "folder"}

    def _path(self, ref: str) -> str:
        file = self.files[ref]
        above = "" if file["parent"] == ROOT else self._path(file["parent"]) + "/"
        return above + file["name"]


def _replay(history: GitHistory) -> Drive:
    planner, drive = Planner(), Drive()
    for commit in history.commits():
        for action in planner.plan(commit):
            drive.apply(action)
    return drive


def test_every_odd_thing_in_a_repository_ends_as_in_git(repository: Path) -> None:
    """Odd names, symlinks, mode changes, type changes, swaps, merges and empty commits."""
    long = "/".join(["d" * 200] * 10)
    (repository / long).mkdir(parents=True)
    for name, text in {
        "a": "one\n" * 30, "b": "two\n" * 30, 'new\nline "quoted" \x01 😀': "three",
        "dir/x": "x", f"{long}/deep": "deep", "to-be-link": "soon",
    }.items():  # fmt: skip
        (repository / name).parent.mkdir(exist_ok=True, parents=True)
        (repository / name).write_text(text)
    (repository / "link").symlink_to("a")
    _commit(repository)
    (repository / "a").rename(repository / "t")
    (repository / "b").rename(repository / "a")
    (repository / "t").rename(repository / "b")
    (repository / "dir/x").rename(repository / "y")
    (repository / "to-be-link").unlink()
    (repository / "to-be-link").symlink_to("b")
    (repository / "a").chmod(0o755)
    _commit(repository)
    _git(repository, "checkout", "-q", "-b", "side")
    (repository / "side").write_text("s")
    _commit(repository)
    _git(repository, "checkout", "-q", "main")
    (repository / "link").unlink()
    _commit(repository, "an author's \x01 control")
    _git(repository, "merge", "-q", "--no-ff", "-m", "merge", "side")
    _commit(repository, "empty")
    history = GitHistory(repository)
    drive = _replay(history)
    expected = {entry.path: entry.blob for entry in history.tree(history.head)}
    assert expected == drive.tree()
    assert "dir" not in drive.folders()


def test_a_submodule_is_a_file_that_holds_its_commit(repository: Path) -> None:
    """Git stores only a commit id for a submodule; so does the Drive."""
    commit = "1" * 40
    _git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    _git(repository, "commit", "-q", "-m", "m")
    history = GitHistory(repository)
    assert {"sub": commit} == _replay(history).tree()
    with history.blobs() as blobs:
        assert blobs.read(commit, "160000") == commit.encode()


def test_a_path_of_4000_characters_and_names_of_any_kind(repository: Path) -> None:
    """Paths that no file system here could hold are in git all the same, and replayed."""
    path = "/".join(["é" * 40 + "x" * 60] * 40)
    (repository / "content").write_text("c")
    _git(repository, "add", "-A")
    blob = subprocess.run(
        ["git", "-C", str(repository), "hash-object", "content"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    _git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    _git(repository, "commit", "-q", "-m", "long")
    assert 4_000 <= len(path)
    assert {"content": blob, path: blob} == _replay(GitHistory(repository)).tree()


def test_limit_replays_the_oldest_commits(repository: Path) -> None:
    """`--limit 1` of two commits is the first one, and its tree can be asked for."""
    (repository / "a").write_text("1")
    _commit(repository)
    (repository / "b").write_text("2")
    _commit(repository)
    history = GitHistory(repository)
    (only,) = history.commits(limit=1)
    assert ["a"] == [entry.path for entry in history.tree(only.id)]
    assert (1, 2) == (history.count(1), history.count())


def test_a_shallow_clone_replays_from_its_border(repository: Path, tmp_path: Path) -> None:
    """What lies behind the border arrives as one first commit."""
    for number in range(3):
        (repository / f"f{number}").write_text(str(number))
        _commit(repository)
    clone = tmp_path / "shallow"
    _git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(clone))
    assert {"f0", "f1", "f2"} == set(_replay(GitHistory(clone)).tree())


@pytest.mark.parametrize("kind", ["missing", "no repository", "no commit"])
def test_what_is_no_history_is_refused_in_one_line(kind: str, repository: Path) -> None:
    """The error names the path and is one line."""
    path = {
        "missing": repository / "nowhere",
        "no repository": repository.parent,
        "no commit": repository,
    }[kind]
    with pytest.raises(GitError) as caught:
        GitHistory(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "e/a"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(NAMES, st.integers(0, 3).map(str), max_size=6), max_size=8))
def test_any_sequence_of_trees_is_reached(trees: list[dict[str, str]]) -> None:
    """Whatever tree follows whatever tree, the Drive's tree equals the last one.

    Renames are chosen as git would: a path that went and one that came with the same bytes.
    """
    planner, drive, before = Planner(), Drive(), dict[str, str]()
    for number, tree in enumerate(trees):
        gone = [path for path in before if path not in tree]
        changes = []
        for path, blob in tree.items():
            source = next((old for old in gone if before[old] == blob), None)
            if path in before:
                if before[path] != blob:
                    changes.append(PathChange("M", path, path, blob, "100644", before[path]))
            elif source is not None:
                gone.remove(source)
                changes.append(PathChange("R", path, source, blob, "100644", blob))
            else:
                changes.append(PathChange("A", path, path, blob, "100644", "0"))
        changes += [PathChange("D", path, path, "0", "000000", before[path]) for path in gone]
        for action in planner.plan(Commit(str(number), number, "n", "e", tuple(changes))):
            drive.apply(action)
        before = tree
    assert before == drive.tree()
    assert set(before) == set(planner.paths())
