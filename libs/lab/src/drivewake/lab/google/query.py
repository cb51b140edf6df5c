"""The language of `files.list?q=`: terms joined by and, or, not and parentheses.

`and` and `or` bind equally and are read from left to right, as Google documents.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import NamedTuple

from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.model import OWNER, READER, WRITER, File, SharedDrive, User
from drivewake.lab.google.state import DriveState

Predicate = Callable[[DriveState, User, File], bool]
_TOKEN = re.compile(
    r"\s*(?:'(?P<text>(?:\\.|[^'\\])*)'|(?P<op><=|>=|!=|=|<|>|\(|\))|(?P<word>[\w.]+))", re.DOTALL
)
_MAX_DEPTH = 50


def _refuse() -> ApiError:
    return invalid_value("q")


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        text = text.strip()
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _refuse()
            kind = found.lastgroup or ""
            value = found.group(kind)
            if kind == "text":
                value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
            self.tokens.append((kind, value))
            at = found.end()

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def expression(self, depth: int = 0) -> Predicate:
        if depth > _MAX_DEPTH:
            raise _refuse()
        left = self.term(depth)
        while self.peek() in {("word", "and"), ("word", "or")}:
            word = self.take()[1]
            right = self.term(depth)
            left = _both(left, right) if word == "and" else _either(left, right)
        return left

    def term(self, depth: int) -> Predicate:
        kind, value = self.take()
        if (kind, value) == ("word", "not"):
            return _negated(self.term(depth + 1))
        if (kind, value) == ("op", "("):
            inner = self.expression(depth + 1)
            if self.take() != ("op", ")"):
                raise _refuse()
            return inner
        if kind == "text":
            if self.take() != ("word", "in"):
                raise _refuse()
            return _membership(value, self.take()[1])
        if kind != "word":
            raise _refuse()
        operator = self.take()[1]
        literal_kind, literal = self.take()
        if literal_kind not in {"text", "word"}:
            raise _refuse()
        return _comparison(value, operator, literal)


class Query(NamedTuple):
    """A parsed query. `parent` is a folder all that matches must be in, where it names one."""

    holds: Predicate
    parent: str | None


def parse(text: str) -> Query:
    """Return the query. Raises ApiError (400 invalid, location q)."""
    parser = _Parser(text)
    predicate = parser.expression()
    if parser.peek()[0] != "end":
        raise _refuse()
    return Query(predicate, _parent(parser.tokens))


def _parent(tokens: list[tuple[str, str]]) -> str | None:
    """Return the folder of a `'id' in parents` that is joined by and alone."""
    if ("word", "or") in tokens or ("word", "not") in tokens or ("op", "(") in tokens:
        return None
    for at in range(len(tokens) - 2):
        if tokens[at + 1 : at + 3] == [("word", "in"), ("word", "parents")]:
            return tokens[at][1]
    return None


def _both(a: Predicate, b: Predicate) -> Predicate:
    return lambda s, u, f: a(s, u, f) and b(s, u, f)


def _either(a: Predicate, b: Predicate) -> Predicate:
    return lambda s, u, f: a(s, u, f) or b(s, u, f)


def _negated(a: Predicate) -> Predicate:
    return lambda s, u, f: not a(s, u, f)


def _membership(value: str, collection: str) -> Predicate:
    if collection == "parents":
        return lambda _s, u, f: (
            f.parent is not None and f.parent.id == (u.root.id if value == "root" else value)
        )
    least = {"owners": OWNER, "writers": WRITER, "readers": READER}.get(collection)
    if least is None:
        raise _refuse()

    def has_role(state: DriveState, viewer: User, file: File) -> bool:
        user = viewer if value == "me" else state.users.get(value.lower())
        return user is not None and state.access.rank(user, file) >= least

    return has_role


def _comparison(field: str, operator: str, literal: str) -> Predicate:
    if field in {"name", "mimeType", "fullText"}:
        return _text(field, operator, literal)
    if field in {"modifiedTime", "createdTime"}:
        return _time(field, operator, literal)
    if field in {"trashed", "starred", "sharedWithMe"}:
        return _flag(field, operator, literal)
    raise _refuse()


def _text(field: str, operator: str, literal: str) -> Predicate:
    def value(file: File) -> str:
        return file.mime_type if field == "mimeType" else file.name

    if operator == "contains":
        wanted = literal.lower()
        if field == "mimeType":
            return lambda _s, _u, f: value(f).startswith(literal)
        # Google matches the beginnings of words in a name, not any part of it.
        starts = re.compile(r"(?:^|[\W_])" + re.escape(wanted))
        return lambda _s, _u, f: starts.search(value(f).lower()) is not None
    if operator not in {"=", "!="} or field == "fullText":
        raise _refuse()
    return lambda _s, _u, f: (value(f) == literal) == (operator == "=")


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _time(field: str, operator: str, literal: str) -> Predicate:
    try:
        at = dt.datetime.fromisoformat(literal)
        compare = _COMPARE[operator]
    except (ValueError, KeyError):
        raise _refuse() from None
    aware = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    wanted = int(aware.timestamp() * 1000)
    if field == "modifiedTime":
        return lambda _s, _u, f: compare(f.modified_ms, wanted)
    return lambda _s, _u, f: compare(f.created_ms, wanted)


def _flag(field: str, operator: str, literal: str) -> Predicate:
    if operator not in {"=", "!="} or literal not in {"true", "false"}:
        raise _refuse()
    wanted = (literal == "true") == (operator == "=")
    if field == "trashed":
        return lambda s, _u, f: s.is_trashed(f) == wanted
    if field == "starred":
        return lambda _s, u, f: (u.email in f.more.starred_by) == wanted
    return lambda _s, u, f: (f.id in u.shared_with) == wanted


_DRIVE_TERM = re.compile(
    r"(?P<field>name|hidden)\s*(?P<op>contains|!=|=)\s*(?:'(?P<text>(?:\\.|[^'\\])*)'|(?P<flag>true|false))"
)


def parse_drives(text: str) -> Callable[[User, SharedDrive], bool]:
    """Return the predicate of `drives.list?q=`: terms on name and hidden, joined by and.

    Raises ApiError (400 invalid, location q).
    """
    terms: list[tuple[str, str, str]] = []
    for part in re.split(r"\s+and\s+", text.strip()):
        found = _DRIVE_TERM.fullmatch(part)
        if found is None or (found["field"] == "hidden") != (found["flag"] is not None):
            raise _refuse()
        value = found["flag"] or re.sub(r"\\(.)", r"\1", found["text"], flags=re.DOTALL)
        terms.append((found["field"], found["op"], value))

    def holds(user: User, drive: SharedDrive, field: str, operator: str, value: str) -> bool:
        if field == "hidden":
            return (drive.id in user.hidden_drives) == ((value == "true") == (operator == "="))
        if operator == "contains":
            return value.lower() in drive.root.name.lower()
        return (drive.root.name == value) == (operator == "=")

    return lambda user, drive: all(holds(user, drive, *term) for term in terms)
