"""Organisations that could exist: people, teams, folders, shared drives, links, departures.

A seed decides everything; the same seed gives the same organisation, byte for byte. What
comes out is data for the control API (`POST /_sim/actions`) or for `settle` in process:
people and groups first, then batches in the order of a history. Proportions are those of
ordinary offices: a few teams, a manager each; most files edited by their owner, some shared
with a team, few by link; now and then somebody moves on, and what they owned is handed over.
Pure, but for `settle`.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from drivewake.lab.google.actions import Batch, apply
from drivewake.lab.google.world import SimulatedGoogle

_FIRST: Final = (
    "Ada Ben Cleo Dan Eva Finn Gita Hugo Iris Jon Kim Lea Max Nora Omar Pia Quinn Rosa "
    "Sam Tara Uma Vito Wes Xenia Yara Zeno"
)
_LAST: Final = (
    "Adler Berg Costa Dahl Evans Fischer Grant Hoff Ito Jansen Klein Lund Meyer Novak "
    "Okafor Park Quist Rossi Silva Tanaka Ueda Vogel Weber Xu Young Zhang"
)
_TEAMS: Final = ("sales", "finance", "engineering", "legal", "people", "support", "marketing")
_SUBJECTS: Final = ("budget", "roadmap", "contract", "notes", "offer", "review", "plan", "survey")
_KINDS: Final = (
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("", "application/vnd.google-apps.document"),
    ("", "application/vnd.google-apps.spreadsheet"),
)
_WORDS: Final = "the of plan for next year team numbers review draft customer open done late"
_MIX: Final = {
    "create": 22,
    "edit": 30,
    "rename": 6,
    "move": 8,
    "share": 10,
    "link": 3,
    "unshare": 5,
    "comment": 8,
    "trash": 4,
    "restore": 1,
    "delete": 1,
    "star": 2,
}
Action = dict[str, Any]


class Size(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large an organisation is, and how much happens. All counts are exact.

    `files` are there before the history of `steps` begins; `departures` of people are
    spread over that history.
    """

    people: int = 20
    teams: int = 4
    files: int = 100
    steps: int = 200
    departures: int = 1
    domain: str = "example.com"

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises ValueError."""
        if not 1 <= self.teams <= len(_TEAMS) or self.people < 2 * self.teams:
            raise ValueError(f"1 to {len(_TEAMS)} teams of at least two people")
        if self.departures > self.people - 2 * self.teams or self.departures < 0:
            raise ValueError("every team keeps at least two people")

    @classmethod
    def of(cls, people: int, domain: str = "example.com") -> "Size":
        """Return what is usual for so many people. Raises ValueError for fewer than two."""
        teams = max(1, min(len(_TEAMS), people // 5))
        return cls(
            people=people,
            teams=teams,
            files=5 * people,
            steps=10 * people,
            departures=max(0, min(people // 20, people - 2 * teams)),
            domain=domain,
        )


class Person(NamedTuple):
    """Somebody in a team."""

    email: str
    name: str
    team: str


class Chapter(NamedTuple):
    """What one actor does in a row; `members` are group changes made just before it."""

    actor: str
    actions: tuple[Action, ...]
    members: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Organisation(NamedTuple):
    """People, groups (address to members) and a history."""

    people: tuple[Person, ...]
    groups: dict[str, tuple[str, ...]]
    chapters: tuple[Chapter, ...]


def found(seed: int, size: Size | None = None) -> Organisation:
    """Return the organisation of a seed."""
    return _Founder(seed, size or Size()).found()


def settle(world: SimulatedGoogle, organisation: Organisation) -> None:
    """Let an organisation's history happen in a world that does not know its people yet.

    Raises StateError or BatchRefusedError for a world with people of the same addresses.
    """
    for person in organisation.people:
        world.add_user(person.email, person.name)
    for email, members in organisation.groups.items():
        world.set_group(email, members)
    for chapter in organisation.chapters:
        for email, members in chapter.members:
            world.set_group(email, members)
        batch = {"actor": chapter.actor, "actions": list(chapter.actions)}
        apply(world, msgspec.convert(batch, Batch))


class _Item:
    """A file or folder as the founder remembers it."""

    __slots__ = ("folder", "name", "owner", "parent", "ref", "shares", "team", "trashed")

    def __init__(self, ref: str, name: str, owner: str, team: str, parent: str) -> None:
        self.ref = ref
        self.name = name
        self.owner = owner
        self.team = team
        self.parent = parent
        self.folder = False
        self.trashed = False
        self.shares: dict[str, Action] = {}


class _Founder:
    """Invents one organisation. Every choice is drawn from one stream."""

    def __init__(self, seed: int, size: Size) -> None:
        self._rng = random.Random(f"{seed}/organisation")
        self._size = size
        self._words = _WORDS.split()
        self._made = 0
        self._people: list[Person] = []
        self._teams: dict[str, list[Person]] = {}
        self._files: list[_Item] = []
        self._folders: dict[str, list[_Item]] = {}
        self._chapters: list[Chapter] = []

    def found(self) -> Organisation:
        """Return everything."""
        self._hire()
        everybody = tuple(self._people)
        groups = {self._group(team): self._members(team) for team in self._teams}
        for team in self._teams:
            self._furnish(team)
        for _ in range(self._size.files):
            person = self._rng.choice(self._people)
            self._chapters.append(Chapter(person.email, (self._create(person),)))
        leave_at = self._departures()
        for step in range(self._size.steps):
            for _ in range(leave_at.count(step)):
                self._offboard()
            self._chapters.extend(self._step())
        return Organisation(everybody, groups, tuple(self._chapters))

    # --- before the history -------------------------------------------------------------

    def _hire(self) -> None:
        names = [f"{first} {last}" for first in _FIRST.split() for last in _LAST.split()]
        self._rng.shuffle(names)
        teams = _TEAMS[: self._size.teams]
        for number in range(self._size.people):
            name = names[number % len(names)]
            again = number // len(names)
            local = name.lower().replace(" ", ".") + (str(again + 1) if again else "")
            team = teams[number % len(teams)]
            person = Person(f"{local}@{self._size.domain}", name, team)
            self._people.append(person)
            self._teams.setdefault(team, []).append(person)

    def _furnish(self, team: str) -> None:
        """Give a team a shared drive and a folder in its manager's My Drive."""
        manager = self._teams[team][0]
        drive = {"op": "create_drive", "name": team.title(), "ref": f"drive-{team}"}
        members = [self._permit("group", "fileOrganizer", self._group(team))]
        members.append(self._permit("user", "organizer", manager.email))
        opening = {"op": "set_permissions", "file": f"drive-{team}", "permissions": members}
        folder = _Item(f"folder-{team}", f"{team} (working)", manager.email, team, "root")
        folder.folder = True
        made = {"op": "create_folder", "name": folder.name, "ref": folder.ref}
        shared = self._share(folder, self._permit("group", "writer", self._group(team)))
        self._folders[team] = [folder]
        self._chapters.append(Chapter(manager.email, (drive, opening, made, shared)))

    def _create(self, person: Person) -> Action:
        """Make a file in the team's drive, the team's folder, or one's own Drive."""
        self._made += 1
        extension, mime_type = self._rng.choice(_KINDS)
        subject = self._rng.choice(_SUBJECTS)
        name = f"{subject} {self._made}" + (f".{extension}" if extension else "")
        place = self._rng.choices(
            (f"drive-{person.team}", f"folder-{person.team}", "root"), (4, 3, 3)
        )[0]
        owner = "" if place.startswith("drive-") else person.email
        item = _Item(f"file-{self._made}", name, owner, person.team, place)
        self._files.append(item)
        return {
            "op": "create_file",
            "name": name,
            "ref": item.ref,
            "parent": place,
            "mimeType": mime_type,
            "content": self._text(),
        }

    def _departures(self) -> list[int]:
        steps = max(1, self._size.steps)
        return sorted(self._rng.randrange(steps) for _ in range(self._size.departures))

    # --- the history ----------------------------------------------------------------------

    def _step(self) -> Iterator[Chapter]:
        """Let one thing happen."""
        verb = self._rng.choices(tuple(_MIX), tuple(_MIX.values()))[0]
        living = [f for f in self._files if not f.trashed]
        if verb == "restore":
            living = [f for f in self._files if f.trashed]
        if verb == "create" or not living:
            person = self._rng.choice(self._people)
            yield Chapter(person.email, (self._create(person),))
            return
        item = self._rng.choice(living)
        actor = self._keeper(item)
        if verb in {"edit", "comment"} and item.parent != "root":
            actor = self._rng.choice(self._teams[item.team]).email
        yield Chapter(actor, (self._act(verb, item),))

    def _act(self, verb: str, item: _Item) -> Action:  # noqa: PLR0911 - one line a verb
        file = {"file": item.ref}
        match verb:
            case "edit":
                return {"op": "update", **file, "content": self._text()}
            case "rename":
                item.name = f"{item.name.removesuffix(' (final)')} (final)"
                return {"op": "update", **file, "name": item.name}
            case "move":
                return {"op": "update", **file, "parent": self._elsewhere(item)}
            case "share":
                other = self._rng.choice(self._people)
                role = self._rng.choice(("reader", "commenter", "writer"))
                return self._share(item, self._permit("user", role, other.email))
            case "link":
                return self._share(item, {"type": "anyone", "role": "reader"})
            case "unshare":
                item.shares.clear()
                return {"op": "set_permissions", **file, "permissions": []}
            case "comment":
                return {"op": "comment", **file, "content": self._text().decode()}
            case "star":
                return {"op": "star", **file}
            case "delete":
                self._files.remove(item)
                return {"op": "delete", **file}
        item.trashed = verb == "trash"
        return {"op": "trash" if item.trashed else "untrash", **file}

    def _offboard(self) -> None:
        """Somebody leaves: out of the group first, then all they own is the manager's."""
        leavers = [p for p in self._people if self._teams[p.team][0] is not p]
        leavers = [p for p in leavers if len(self._teams[p.team]) > 2]
        if not leavers:
            return
        leaver = self._rng.choice(leavers)
        manager = self._teams[leaver.team][0]
        owned = [f for f in self._files if f.owner == leaver.email]
        handed = tuple(
            {"op": "transfer", "file": f.ref, "emailAddress": manager.email} for f in owned
        )
        for item in owned:
            item.owner = manager.email
        self._people.remove(leaver)
        self._teams[leaver.team].remove(leaver)
        change = ((self._group(leaver.team), self._members(leaver.team)),)
        self._chapters.append(Chapter(leaver.email, handed, change))
        taken: list[Action] = []
        for item in owned:
            item.shares.pop(leaver.email, None)
            taken.append(self._share(item))
        self._chapters.append(Chapter(manager.email, tuple(taken)))

    # --- words ------------------------------------------------------------------------------

    def _keeper(self, item: _Item) -> str:
        """Return who may do everything with an item: its owner, or the team's manager."""
        return item.owner or self._teams[item.team][0].email

    def _elsewhere(self, item: _Item) -> str:
        """Return another place where the item may go without changing hands."""
        if item.parent.startswith("drive-"):
            return item.parent
        team = f"folder-{item.team}"
        item.parent = "root" if item.parent == team else team
        return item.parent

    def _share(self, item: _Item, *permissions: Action) -> Action:
        """Give access; who had it keeps it, as `set_permissions` says all of it."""
        for permission in permissions:
            who = str(permission.get("emailAddress") or permission["type"])
            if who != item.owner:
                item.shares[who] = permission
        shown = list(item.shares.values())
        return {"op": "set_permissions", "file": item.ref, "permissions": shown}

    def _permit(self, kind: str, role: str, email: str) -> Action:
        return {"type": kind, "role": role, "emailAddress": email}

    def _group(self, team: str) -> str:
        return f"{team}@{self._size.domain}"

    def _members(self, team: str) -> tuple[str, ...]:
        return tuple(person.email for person in self._teams[team])

    def _text(self) -> bytes:
        return " ".join(self._rng.choices(self._words, k=self._rng.randint(3, 40))).encode()
