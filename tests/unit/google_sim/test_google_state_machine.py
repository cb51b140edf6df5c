"""Whatever people do, the state shows and logs what a trivially simple model says it should."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from drivewake.lab.google.changelog import ChangeLog
from drivewake.lab.google.model import FOLDER, RANKS, Change, Permission, StateError, User
from drivewake.lab.google.state import DriveState

PEOPLE = ("a@x.example", "b@x.example", "c@y.example")
WRITER, FILE_ORGANIZER, ORGANIZER, OWNER = 3, 4, 5, 6
people = st.sampled_from(PEOPLE)
mostly = st.sampled_from([True, True, False])
actors = st.sampled_from(["", "", *PEOPLE])
"""Somebody, or, empty, whoever owns the file: most of what people try is theirs to do."""


@dataclass(eq=False)
class Node:
    """A file of the model. `owner` is None in the shared drive."""

    parent: str | None
    owner: str | None
    folder: bool
    shares: dict[str, int] = field(default_factory=dict)
    trashed: bool = False
    version: int = 1


class Model:
    """Files in a dictionary, access by walking up, logs as plain lists of ids."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.roots: set[str] = set()
        self.logs: dict[str, list[str]] = {}

    def chain(self, file: str) -> list[Node]:
        """Return a file and the folders above it."""
        found = [self.nodes[file]]
        while found[-1].parent is not None:
            found.append(self.nodes[found[-1].parent])
        return found

    def rank(self, who: str, file: str) -> int:
        """Return what somebody may do."""
        chain = self.chain(file)
        if chain[0].owner == who:
            return OWNER
        above = [WRITER for node in chain if node.owner == who]
        return max([0, *above, *(node.shares.get(who, 0) for node in chain)])

    def in_drive(self, file: str) -> bool:
        """Whether a file is in the shared drive."""
        return self.chain(file)[-1].owner is None

    def ranks(self, file: str) -> dict[str, int]:
        """Return everybody's rank, owners as writers: what inheritance compares."""
        return {who: min(self.rank(who, file), ORGANIZER) for who in PEOPLE}

    def seen_by(self, file: str) -> set[str]:
        """Return who sees a file."""
        return {who for who in PEOPLE if self.rank(who, file)}

    def below(self, file: str) -> list[str]:
        """Return all that is in a folder."""
        return [f for f in self.nodes if f != file and self.nodes[file] in self.chain(f)]

    def visible(self, who: str) -> set[str]:
        """Return what somebody's listings hold."""
        return {f for f in self.nodes if f not in self.roots and self.rank(who, f)}

    def note(self, file: str, actor: str, audience: set[str]) -> set[str]:
        """Move a file to the tail of the logs that carry it; return them."""
        logs = set(audience)
        if self.in_drive(file):
            logs = {who for who in audience if who in self.nodes[file].shares} | {actor, "drive"}
        for log in logs:
            self.logs[log] = [f for f in self.logs[log] if f != file] + [file]
        return logs


class Drives(RuleBasedStateMachine):
    """Three people, their My Drives and one shared drive."""

    files = Bundle("files")

    def __init__(self) -> None:
        super().__init__()
        self.state, self.model, self.now_ns = DriveState(7), Model(), 10**18
        self.tokens: dict[str, int] = {}
        for email in PEOPLE:
            user = self.state.add_user(email, email, 0)
            self.model.nodes[user.root.id] = Node(None, email, folder=True)
            self.model.logs[email] = []

    @initialize(target=files)
    def make_drive(self) -> str:
        """Make the shared drive of the first person; the second may write there."""
        drive, _ = self.state.add_drive(self.user(PEOPLE[0]), "d", self.now_ns)
        self.drive = drive
        writer = self.state.permission("user", "writer", PEOPLE[1], None)
        self.state.share(self.user(PEOPLE[0]), drive.id, writer, self.now_ns)
        shares = {PEOPLE[0]: ORGANIZER, PEOPLE[1]: WRITER}
        self.model.nodes[drive.id] = Node(None, None, folder=True, shares=shares)
        self.model.logs["drive"] = []
        self.model.roots = {u.root.id for u in self.state.users.values()} | {drive.id}
        self.tokens = {name: log.tip for name, log in self.all_logs()}
        self.start = dict(self.tokens)
        return drive.id

    def user(self, email: str) -> User:
        """Return the state's user."""
        return self.state.user(email)

    def actor(self, who: str, file: str) -> str:
        """Return who acts: somebody, or the owner, or the drive's organizer."""
        node = self.model.nodes.get(file)
        return who or (node.owner if node is not None and node.owner else PEOPLE[0])

    def all_logs(self) -> list[tuple[str, ChangeLog]]:
        """Return every log by its name in the model."""
        return [*((e, self.user(e).log) for e in PEOPLE), ("drive", self.drive.log)]

    def attempt(self, allowed: bool, act: Callable[[], Any]) -> list[Change] | None:
        """Do what the model allows; what it does not must be refused and change nothing."""
        self.now_ns += 10**9
        before = self.state.seq
        try:
            done = act()
        except StateError:
            assert not allowed
            assert before == self.state.seq
            return None
        assert allowed
        return done if isinstance(done, list) else [] if done is None else [done]

    def agree(self, changes: list[Change] | None, logs: set[str], file: str) -> None:
        """Compare the logs that one change went to."""
        assert changes is not None
        (change,) = changes
        names = {"drive" if log.startswith("drive:") else log for log in change.logs}
        assert (file, logs) == (change.file_id, names)

    @rule(
        target=files, who=people, parent=files | people, folder=st.sampled_from([True, True, False])
    )
    def create(self, who: str, parent: str, *, folder: bool) -> str | MultipleResults[str]:
        """Create a file or folder somewhere."""
        where = self.user(parent).root.id if parent in PEOPLE else parent
        node = self.model.nodes.get(where)
        allowed = node is not None and node.folder and self.model.rank(who, where) >= WRITER
        kind = FOLDER if folder else "text/plain"
        changes = self.attempt(
            allowed,
            lambda: self.state.create(self.user(who), "n", where, self.now_ns, mime_type=kind),
        )
        if not changes:
            return multiple()
        made = changes[0].file_id
        owner = None if self.model.in_drive(where) else who
        self.model.nodes[made] = Node(where, owner, folder)
        self.agree(changes, self.model.note(made, who, self.model.seen_by(made)), made)
        return made

    @rule(who=actors, file=files)
    def rename(self, who: str, file: str) -> None:
        """Give it another name."""
        who = self.actor(who, file)
        node = self.model.nodes.get(file)
        allowed = file in self.visible_nodes() and self.model.rank(who, file) >= WRITER
        act = lambda: self.state.edit(self.user(who), file, self.now_ns, name="m")  # noqa: E731
        changes = self.attempt(allowed, act)
        if node is not None and changes:
            node.version += 1
            self.agree(changes, self.model.note(file, who, self.model.seen_by(file)), file)

    @rule(who=actors, file=files, into=files)
    def move(self, who: str, file: str, into: str) -> None:
        """Put it into another folder of the same kind of place."""
        model, who = self.model, self.actor(who, file)
        if not {file, into} <= set(model.nodes) or file in model.roots:
            return
        if model.in_drive(file) != model.in_drive(into):
            return
        least = FILE_ORGANIZER if model.in_drive(file) else WRITER
        allowed = (
            model.rank(who, file) >= least
            and model.nodes[into].folder
            and model.rank(who, into) >= WRITER
            and into not in {file, *model.below(file)}
        )
        changes = self.attempt(
            allowed,
            lambda: self.state.edit(self.user(who), file, self.now_ns, parent_id=into),
        )
        if changes:
            before = model.seen_by(file)
            model.nodes[file].parent = into
            model.nodes[file].version += 1
            self.agree(changes, model.note(file, who, before | model.seen_by(file)), file)

    @rule(who=actors, file=files, trashed=st.booleans())
    def trash(self, who: str, file: str, *, trashed: bool) -> None:
        """Put it into the trash or take it out."""
        model, who = self.model, self.actor(who, file)
        allowed = file in self.visible_nodes() and model.rank(who, file) >= (
            FILE_ORGANIZER if model.in_drive(file) else OWNER
        )
        act = lambda: self.state.trash(self.user(who), file, self.now_ns, trashed=trashed)  # noqa: E731
        changes = self.attempt(allowed, act)
        if changes:
            model.nodes[file].trashed = trashed
            model.nodes[file].version += 1
            self.agree(changes, model.note(file, who, model.seen_by(file)), file)
        elif allowed:
            assert model.nodes[file].trashed == trashed

    @rule(who=actors, file=files)
    def delete(self, who: str, file: str) -> None:
        """Delete it with what is below; what others own goes to their own My Drive."""
        model, who = self.model, self.actor(who, file)
        allowed = file in self.visible_nodes() and model.rank(who, file) >= (
            ORGANIZER if model.in_drive(file) else OWNER
        )
        changes = self.attempt(
            allowed, lambda: self.state.delete(self.user(who), file, self.now_ns)
        )
        if not changes:
            return
        doomed = {f: model.seen_by(f) for f in [file, *model.below(file)]}
        assert set(doomed) == {c.file_id for c in changes}
        for change in changes:
            audience = doomed[change.file_id]
            self.agree([change], model.note(change.file_id, who, audience), change.file_id)
        for victim in doomed:
            node = model.nodes[victim]
            if node.owner in {None, who}:
                continue
            node.parent = self.user(node.owner or "").root.id
            node.version += 1
        for victim in doomed:
            if model.nodes[victim].owner in {None, who}:
                del model.nodes[victim]

    @rule(
        who=actors,
        file=files,
        whom=people,
        role=st.sampled_from(["reader", "commenter", "writer", "fileOrganizer", None]),
    )
    def share(self, who: str, file: str, whom: str, role: str | None) -> None:
        """Give somebody a role, or take it away."""
        model, who = self.model, self.actor(who, file)
        node = model.nodes.get(file)
        if node is None or file in model.roots or whom == node.owner:
            return
        rank = model.rank(who, file)
        managed = model.in_drive(file) and node.folder
        allowed = rank >= (FILE_ORGANIZER if managed else WRITER)
        key = self.user(whom).permission_id
        if role is None:
            allowed = whom in node.shares and (allowed or who == whom)
            act = lambda: self.state.unshare(self.user(who), file, key, self.now_ns)  # noqa: E731
        else:
            allowed = allowed and (model.in_drive(file) or role != "fileOrganizer")
            wanted = Permission(key, "user", role, email=whom)
            act = lambda: self.state.share(self.user(who), file, wanted, self.now_ns)  # noqa: E731
        changes = self.attempt(allowed, act)
        if not changes:
            return
        before = model.ranks(file)
        was_direct = {w for w in node.shares}  # noqa: C416 - a copy, as a set
        if role is None:
            del node.shares[whom]
        else:
            node.shares[whom] = RANKS[role]
        after = model.ranks(file)
        touched = {w for w in PEOPLE if before[w] != after[w]}
        node.version += 1
        if model.in_drive(file):
            logs = touched | {who, "drive"}
            assert touched <= was_direct | set(node.shares)
            for log in logs:
                model.logs[log] = [f for f in model.logs[log] if f != file] + [file]
        else:
            logs = model.note(file, who, touched | {node.owner or ""})
        self.agree(changes, logs, file)

    @rule(log=st.sampled_from([*PEOPLE, "drive"]), size=st.integers(1, 4))
    def poll(self, log: str, size: int) -> None:
        """Read on from one's token: each file once, in the order of its last change."""
        held = dict(self.all_logs())[log]
        following: int | None = self.tokens[log]
        read: list[str] = []
        while following is not None:
            entries, following = held.read(following, size)
            read += [e.file_id for e in entries]
        expected = self.model.logs[log][-len(read) :] if read else []
        assert expected == read
        assert len(read) == len(set(read))
        self.tokens[log] = held.tip

    def visible_nodes(self) -> set[str]:
        """Return what can be changed at all."""
        return set(self.model.nodes) - self.model.roots

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        """Listings, ranks, versions and the trash."""
        if not self.tokens:
            return
        for email in PEOPLE:
            seen = self.state.visible(self.user(email))
            assert self.model.visible(email) == {f.id for f in seen}
            for file in seen:
                rank = self.state.access.rank(self.user(email), file)
                assert self.model.rank(email, file.id) == rank
        for file_id in self.visible_nodes():
            node, file = self.model.nodes[file_id], self.state.files[file_id]
            assert (node.version, node.trashed) == (file.version, file.explicitly_trashed)
            trashed = any(n.trashed for n in self.model.chain(file_id))
            assert trashed == self.state.is_trashed(file)

    @invariant()
    def every_log_is_what_the_model_says(self) -> None:
        """One entry a file, at the place of its last change."""
        if not self.tokens:
            return
        for name, log in self.all_logs():
            entries, _ = log.read(self.start[name], 10_000)
            assert self.model.logs[name] == [e.file_id for e in entries]


TestDrives = Drives.TestCase
TestDrives.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
