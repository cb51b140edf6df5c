"""What anybody could see at any past instant is told later exactly as it was told then."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from drivewake.lab.google import Options, SimulatedGoogle
from drivewake.lab.google.model import (
    FOLDER,
    Change,
    File,
    InvalidOperationError,
    StateError,
    User,
)
from drivewake.lab.google.seen import seen_by
from drivewake.lab.google.snapshot import load, save

PEOPLE = ("a@x.example", "b@x.example", "c@y.example")
GROUPS = ("team@x.example", "club@y.example")
START_NS = 1_780_000_000_000_000_000
numbers = st.integers(0, 1_000)
people = st.sampled_from(PEOPLE)


class Histories(RuleBasedStateMachine):
    """Three people, two groups and shared drives; after every step each one's view is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = START_NS
        self.world = self.new_world(PEOPLE)
        for group in GROUPS:
            self.world.set_group(group, ())
        self.noted: list[tuple[int, dict[str, dict[str, Any]]]] = []
        self.at_seq: dict[int, dict[str, dict[str, Any]]] = {}
        self.look()

    def new_world(self, users: tuple[str, ...] = ()) -> SimulatedGoogle:
        """Return a world on this test's clock."""
        return SimulatedGoogle(Options(users=users), now_ns=lambda: self.now_ns)

    def look(self) -> None:
        """Note what everybody sees."""
        views = {email: seen_by(self.world, email) for email in PEOPLE}
        self.noted.append((self.now_ns, views))
        self.at_seq[self.world.state.seq] = views

    def do(self, act: Callable[[], Any]) -> None:
        """Let time pass, act, and look; a refusal changes nothing."""
        self.now_ns += 1_500_000_001
        with contextlib.suppress(StateError):
            done = act()
            changes = done if isinstance(done, list | tuple) else [done]
            self.world.record([c for c in changes if isinstance(c, Change)])
        self.look()

    def user(self, email: str) -> User:
        """Return a person."""
        return self.world.state.user(email)

    def file(self, number: int, *, folder: bool = False, roots: bool = False) -> File:
        """Return one of the files there are."""
        files = [
            f
            for f in self.world.state.files.values()
            if (f.is_folder or not folder) and (roots or not f.is_root)
        ]
        return files[number % len(files)]

    def boss(self, file: File) -> User:
        """Return who may do anything with a file."""
        if file.owner is not None:
            return file.owner
        assert file.drive is not None
        return file.drive.root.last_modifying_user

    def has_files(self) -> bool:
        """Whether there is anything but roots."""
        return any(not f.is_root for f in self.world.state.files.values())

    @rule(where=numbers, kind=st.sampled_from([FOLDER, FOLDER, "text/plain"]), data=st.binary())
    def create(self, where: int, kind: str, data: bytes) -> None:
        """Somewhere, a folder or a file."""
        parent, state = self.file(where, folder=True, roots=True), self.world.state
        content = None if kind == FOLDER else data
        self.do(
            lambda: state.create(
                self.boss(parent), "n", parent.id, self.now_ns, mime_type=kind, data=content
            )
        )

    @precondition(has_files)
    @rule(number=numbers, name=st.sampled_from(["p", "q", None]), data=st.binary() | st.none())
    def edit(self, number: int, name: str | None, data: bytes | None) -> None:
        """Another name, another content."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.edit(
                self.boss(file), file.id, self.now_ns, name=name, data=data
            )
        )

    @precondition(has_files)
    @rule(number=numbers, into=numbers)
    def move(self, number: int, into: int) -> None:
        """Into another folder, or into or out of a shared drive."""
        file, target = self.file(number), self.file(into, folder=True, roots=True)
        self.do(
            lambda: self.world.state.edit(
                self.boss(file), file.id, self.now_ns, parent_id=target.id
            )
        )

    @precondition(has_files)
    @rule(number=numbers, trashed=st.booleans())
    def trash(self, number: int, *, trashed: bool) -> None:
        """Into the trash or out of it."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.trash(self.boss(file), file.id, self.now_ns, trashed=trashed)
        )

    @precondition(has_files)
    @rule(number=numbers)
    def delete(self, number: int) -> None:
        """For ever, with all that is below."""
        file = self.file(number)
        self.do(lambda: self.world.state.delete(self.boss(file), file.id, self.now_ns))

    @rule(who=people)
    def empty_trash(self, who: str) -> None:
        """All of somebody's trash."""
        self.do(lambda: self.world.state.empty_trash(self.user(who), self.now_ns))

    @rule(
        number=numbers,
        kind=st.sampled_from(["user", "user", "group", "group", "domain", "anyone"]),
        whom=numbers,
        role=st.sampled_from(["reader", "writer", None]),
        lasts_s=st.sampled_from([None, None, 3, 9]),
    )
    def share(
        self, number: int, kind: str, whom: int, role: str | None, lasts_s: int | None
    ) -> None:
        """With a person, a group, a domain or whoever has the link, perhaps for a time."""
        file, state = self.file(number, roots=True), self.world.state
        names = GROUPS if kind == "group" else PEOPLE
        email = names[whom % len(names)] if kind in {"user", "group"} else None
        expires_ms = None if lasts_s is None else self.now_ns // 1_000_000 + lasts_s * 1_000
        domain = "x.example" if kind == "domain" else None
        wanted = state.permission(kind, role or "reader", email, domain, expires_ms=expires_ms)
        if role is None:
            act = lambda: state.unshare(self.boss(file), file.id, wanted.key, self.now_ns)  # noqa: E731
        else:
            act = lambda: state.share(self.boss(file), file.id, wanted, self.now_ns)  # noqa: E731
        self.do(act)

    @precondition(has_files)
    @rule(number=numbers, who=people, starred=st.booleans())
    def open_and_star(self, number: int, who: str, *, starred: bool) -> None:
        """Follow a link, then star what is there."""
        file, user, state = self.file(number), self.user(who), self.world.state
        if state.access.rank(user, file):
            self.do(lambda: state.open(user, file, self.now_ns))
        self.do(lambda: state.star(user, file.id, self.now_ns, starred=starred))

    @precondition(has_files)
    @rule(number=numbers, limited=st.booleans())
    def limit(self, number: int, *, limited: bool) -> None:
        """Cut a folder off from what it inherits, or no longer."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.edit(
                self.boss(file), file.id, self.now_ns, extras={"limited": limited}
            )
        )

    @precondition(has_files)
    @rule(number=numbers, heir=people, to_root=st.booleans())
    def transfer(self, number: int, heir: str, *, to_root: bool) -> None:
        """To another owner."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.transfer(
                self.boss(file), file.id, heir, self.now_ns, to_root=to_root
            )
        )

    @rule(group=st.sampled_from(GROUPS), members=st.sets(people))
    def regroup(self, group: str, members: set[str]) -> None:
        """Other people in a group."""
        self.do(lambda: self.world.set_group(group, sorted(members)))

    @rule(who=people)
    def add_drive(self, who: str) -> None:
        """One more shared drive."""
        self.do(lambda: self.world.state.add_drive(self.user(who), "d", self.now_ns))

    @rule(number=numbers)
    def delete_drive(self, number: int) -> None:
        """A shared drive with all that is in it."""
        drives = list(self.world.state.drives.values())
        if drives:
            drive = drives[number % len(drives)]
            self.do(
                lambda: self.world.state.delete_drive(
                    self.boss(drive.root), drive.id, self.now_ns, with_items=True
                )
            )

    @rule(number=numbers, name=st.sampled_from(["d", "e"]))
    def rename_drive(self, number: int, name: str) -> None:
        """A change of a shared drive alone."""
        drives = list(self.world.state.drives.values())
        if drives:
            drive = drives[number % len(drives)]
            self.do(
                lambda: self.world.state.change_drive(
                    self.boss(drive.root), drive.id, self.now_ns, name=name
                )
            )

    @precondition(has_files)
    @rule(number=numbers, keep=st.booleans())
    def keep_revision(self, number: int, *, keep: bool) -> None:
        """The newest content, for ever or no longer."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.keep_revision(
                self.boss(file), file.id, "head", self.now_ns, keep=keep
            )[1]
        )

    @precondition(has_files)
    @rule(number=numbers)
    def delete_revision(self, number: int) -> None:
        """The newest content, so that the one before is back."""
        file = self.file(number)
        self.do(
            lambda: self.world.state.delete_revision(self.boss(file), file.id, "head", self.now_ns)
        )

    @precondition(has_files)
    @rule(number=numbers)
    def comment(self, number: int) -> None:
        """A remark is a version."""
        file = self.file(number)
        self.do(lambda: self.world.state.add_comment(self.boss(file), file.id, "!", self.now_ns)[1])

    def teardown(self) -> None:
        """Ask for every instant and every last change again, here and in a continued world."""
        self.now_ns += 1
        with tempfile.TemporaryDirectory() as folder:
            save(self.world, Path(folder) / "world")
            continued = self.new_world()
            load(continued, Path(folder) / "world")
        for world in (self.world, continued):
            for at_ns, views in self.noted:
                for email, view in views.items():
                    assert view == seen_by(world, email, at_ns=at_ns)
            for seq, views in self.at_seq.items():
                for email, view in views.items():
                    assert view == seen_by(world, email, seq=seq)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def clocked() -> tuple[SimulatedGoogle, list[int]]:
    """Return a world and its clock, to be set."""
    clock = [START_NS]
    return SimulatedGoogle(Options(users=PEOPLE), now_ns=lambda: clock[0]), clock


def test_links_followed_and_whole_folders_moved_are_undone_too() -> None:
    """What makes no entry of its own: a first opening, what a move into a drive carries along."""
    world, clock = clocked()
    state, a, b = world.state, world.state.user(PEOPLE[0]), world.state.user(PEOPLE[1])
    noted: list[tuple[int, list[dict[str, Any]]]] = []

    def look(*_done: object) -> None:
        noted.append((clock[0], [seen_by(world, email) for email in PEOPLE]))
        clock[0] += 10**9

    folder = state.create(a, "folder", "root", clock[0]).file_id
    inside = state.create(a, "inside", folder, clock[0], mime_type="text/plain", data=b"x").file_id
    drive, _ = state.add_drive(a, "drive", clock[0])
    look()
    look(state.share(a, inside, state.permission("anyone", "reader", None, None), clock[0]))
    look(state.open(b, state.files[inside], clock[0]))
    look(state.edit(a, folder, clock[0], parent_id=drive.id))
    look(state.edit(a, folder, clock[0], parent_id=a.root.id))
    look(state.delete(a, folder, clock[0]))

    shown = [[len(view["files"]) for view in views[:2]] for _, views in noted]
    drives = [view["files"][-1]["drive"] if view["files"] else "" for _, (view, *_) in noted]
    assert [[2, 0], [2, 0], [2, 1], [2, 1], [2, 1], [0, 0]] == shown
    assert [None, None, None, drive.id, None, ""] == drives
    for at_ns, views in noted:
        assert views == [seen_by(world, email, at_ns=at_ns) for email in PEOPLE]


def test_a_past_that_was_not_is_refused() -> None:
    """Before somebody came, of a change to come, of an instant to come, of nobody."""
    world, clock = clocked()
    clock[0] += 10**9
    world.add_user("late@x.example")

    for email, asked in (
        ("late@x.example", {"at_ns": START_NS}),
        ("a@x.example", {"seq": 1}),
        ("a@x.example", {"seq": -1}),
        ("a@x.example", {"at_ns": clock[0] + 1}),
        ("a@x.example", {"at_ns": START_NS, "seq": 0}),
        ("nobody@x.example", {"at_ns": START_NS}),
    ):
        with pytest.raises(InvalidOperationError):
            seen_by(world, email, **asked)


def test_the_bytes_of_what_is_deleted_are_not_kept_and_its_hashes_are() -> None:
    """History grows by what happened, not by what was uploaded."""
    world, clock = clocked()
    state, user = world.state, world.state.user("a@x.example")
    made = state.create(user, "n", "root", clock[0], mime_type="text/plain", data=b"one")
    clock[0] += 10**9
    state.edit(user, made.file_id, clock[0], data=b"second")
    contents = [state.files[made.file_id].content, state.files[made.file_id].more.older[0].content]
    clock[0] += 10**9
    state.delete(user, made.file_id, clock[0])

    (first,) = seen_by(world, user.email, at_ns=START_NS)["files"]
    (then,) = seen_by(world, user.email, at_ns=START_NS + 10**9)["files"]
    assert [b"", b""] == [content.data for content in contents if content is not None]
    assert (3, "f97c5d29941bfb1b2fdab0874906ab82") == (first["size"], first["md5Checksum"])
    assert (6, "a9f0e61a137d86aa9db53465e0801612") == (then["size"], then["md5Checksum"])
