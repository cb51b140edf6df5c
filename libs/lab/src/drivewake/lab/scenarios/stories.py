"""Hand-written stories: a small text format for what people do in a Drive.

    # who there is; everything behind a hash is a comment
    person alice@example.com "Alice Adams"
    person bob@example.com
    group  staff@example.com alice bob

    alice  folder Plans                      as plans
    alice  file   q3.txt in plans            as q3     "first draft"
    alice  share  q3 writer bob
    bob    edit   q3 "second draft"
    bob    comment q3 "Is this final?"
    alice  rename q3 q3-final.txt
    alice  drive  Archive                    as archive
    alice  share  archive organizer alice, fileOrganizer staff, reader domain:example.com
    alice  move   q3 to archive
    alice  share  plans reader anyone
    alice  trash  plans

A line is a person, a verb and its words; quotes as in a shell. People and groups go by the
part of their address before the at sign. `share` says who has access from then on, so a
re-share is another `share`, and `share q3 nobody` takes it all back. Verbs: folder, file,
doc, drive, edit, rename, move, share, comment, trash, restore, delete, delete-drive, open,
star, unstar, transfer, limit. Pure, but for `tell`, which lets a story happen in a world.
"""

import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from drivewake.lab.google.actions import Batch, BatchRefusedError, apply
from drivewake.lab.google.model import StateError
from drivewake.lab.google.world import SimulatedGoogle

_DOCUMENT = "application/vnd.google-apps.document"
_ROLES = {"reader", "commenter", "writer", "fileOrganizer", "organizer"}
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
Action = dict[str, Any]


class StoryError(ValueError):
    """A story cannot be read, or cannot happen; the message names the line."""


class Step(NamedTuple):
    """One action of one actor, and the line that asks for it."""

    line: int
    actor: str
    action: Action


class Story(NamedTuple):
    """People (address to name), groups (address to members) and steps in order."""

    people: dict[str, str]
    groups: dict[str, tuple[str, ...]]
    steps: tuple[Step, ...]


def read_story(text: str) -> Story:
    """Read a story. Raises StoryError."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                reader.read(number, words)
        except IndexError:
            raise StoryError(f"line {number}: too few words") from None
        except ValueError as error:
            raise StoryError(f"line {number}: {error}") from None
    return Story(reader.people, reader.groups, tuple(reader.steps))


def tell(world: SimulatedGoogle, story: Story) -> None:
    """Let a story happen; people and groups that exist stay who they are. Raises StoryError."""
    for email, name in story.people.items():
        if email not in world.state.users:
            world.add_user(email, name)
    for email, members in story.groups.items():
        world.set_group(email, members)
    for step in story.steps:
        try:
            batch = msgspec.convert({"actor": step.actor, "actions": [step.action]}, Batch)
            apply(world, batch)
        except (BatchRefusedError, StateError, msgspec.MsgspecError) as error:
            raise StoryError(f"line {step.line}: {error}") from error


class _Reader:
    """Reads lines; knows the people and the refs so far."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        self.steps: list[Step] = []
        self._refs: set[str] = {"root"}

    def read(self, number: int, words: list[str]) -> None:
        """Read one line. Raises ValueError saying what is wrong."""
        first, rest = words[0], words[1:]
        if first == "person":
            email = _address(rest[0])
            self.people[email] = rest[1] if len(rest) > 1 else email.partition("@")[0]
        elif first == "group":
            self.groups[_address(rest[0])] = tuple(self._person(word) for word in rest[1:])
        else:
            actor = self._person(first)
            verb, arguments = rest[0], rest[1:]
            if verb not in _VERBS:
                raise ValueError(f"no such verb: {verb}")
            self.steps.append(Step(number, actor, _VERBS[verb](self, arguments)))

    def _person(self, word: str) -> str:
        return _find(word.rstrip(","), self.people, "person")

    def _ref(self, word: str) -> str:
        if word not in self._refs:
            raise ValueError(f"nothing is called {word} yet")
        return word

    def _made(self, words: list[str]) -> tuple[list[str], str | None]:
        """Take `as NAME` off the words."""
        if "as" not in words:
            return words, None
        at = words.index("as")
        self._refs.add(words[at + 1])
        return words[:at] + words[at + 2 :], words[at + 1]

    def create(self, op: str, words: list[str], **more: str) -> Action:
        """Read `NAME [in FOLDER] [as REF] ["content"]`."""
        words, ref = self._made(words)
        action: Action = {"op": op, "name": words[0], **more}
        if ref is not None:
            action["ref"] = ref
        words = words[1:]
        if words[:1] == ["in"]:
            action["parent"], words = self._ref(words[1]), words[2:]
        if words and op == "create_file":
            action["content"], words = words[0].encode(), words[1:]
        _end(words)
        return action

    def change(self, words: list[str], key: str, *skip: str) -> Action:
        """Read `REF [skip] VALUE` of an update."""
        ref, rest = self._ref(words[0]), [w for w in words[1:] if w not in skip]
        _end(rest[1:])
        value: Any = rest[0].encode() if key == "content" else rest[0]
        return {"op": "update", "file": ref, key: self._ref(value) if key == "parent" else value}

    def plain(self, op: str, words: list[str], **more: object) -> Action:
        """Read `REF`."""
        _end(words[1:])
        return {"op": op, "file": self._ref(words[0]), **more}

    def comment(self, words: list[str]) -> Action:
        """Read `REF "text"`."""
        _end(words[2:])
        return {"op": "comment", "file": self._ref(words[0]), "content": words[1]}

    def transfer(self, words: list[str]) -> Action:
        """Read `REF to PERSON`."""
        ref, rest = self._ref(words[0]), [w for w in words[1:] if w != "to"]
        _end(rest[1:])
        return {"op": "transfer", "file": ref, "emailAddress": self._person(rest[0])}

    def share(self, words: list[str]) -> Action:
        """Read `REF ROLE WHO[, ROLE WHO...]` or `REF nobody`."""
        ref, rest = self._ref(words[0]), words[1:]
        if rest == ["nobody"]:
            rest = []
        elif not rest or len(rest) % 2:
            raise ValueError("share needs pairs of role and person, or nobody")
        pairs = zip(rest[::2], rest[1::2], strict=True)
        permissions = [self._permission(role, who.rstrip(",")) for role, who in pairs]
        return {"op": "set_permissions", "file": ref, "permissions": permissions}

    def _permission(self, role: str, who: str) -> Action:
        if role not in _ROLES:
            raise ValueError(f"no such role: {role}")
        if who == "anyone":
            return {"type": "anyone", "role": role}
        if who.startswith("domain:"):
            return {"type": "domain", "role": role, "domain": who.removeprefix("domain:")}
        try:
            return {"type": "user", "role": role, "emailAddress": self._person(who)}
        except ValueError:
            group = _find(who, self.groups, "person or group")
            return {"type": "group", "role": role, "emailAddress": group}


_VERBS: dict[str, Callable[[_Reader, list[str]], Action]] = {
    "folder": lambda r, w: r.create("create_folder", w),
    "file": lambda r, w: r.create("create_file", w, mimeType="text/plain"),
    "doc": lambda r, w: r.create("create_file", w, mimeType=_DOCUMENT),
    "drive": lambda r, w: r.create("create_drive", w),
    "edit": lambda r, w: r.change(w, "content"),
    "rename": lambda r, w: r.change(w, "name", "to"),
    "move": lambda r, w: r.change(w, "parent", "to"),
    "share": lambda r, w: r.share(w),
    "comment": lambda r, w: r.comment(w),
    "trash": lambda r, w: r.plain("trash", w),
    "restore": lambda r, w: r.plain("untrash", w),
    "delete": lambda r, w: r.plain("delete", w),
    "delete-drive": lambda r, w: r.plain("delete_drive", w),
    "open": lambda r, w: r.plain("open", w),
    "star": lambda r, w: r.plain("star", w),
    "unstar": lambda r, w: r.plain("star", w, starred=False),
    "transfer": lambda r, w: r.transfer(w),
    "limit": lambda r, w: r.plain("mark", w, limited=True),
}


def _find(word: str, known: dict[str, Any], what: str) -> str:
    """Return the one known address that is the word, or begins with it up to the at sign."""
    if word in known:
        return word
    found = [email for email in known if email.partition("@")[0] == word]
    if len(found) != 1:
        reason = "more than one" if found else "no such"
        raise ValueError(f"{reason} {what}: {word}")
    return found[0]


def _address(word: str) -> str:
    if not _ADDRESS.fullmatch(word):
        raise ValueError(f"no address: {word}")
    return word.lower()


def _end(words: list[str]) -> None:
    if words:
        raise ValueError(f"unexpected: {' '.join(words)}")
