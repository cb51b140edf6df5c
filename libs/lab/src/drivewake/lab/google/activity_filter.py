"""The filter grammar of Drive Activity: `time` with numeric operators, action cases. Pure.

Expressions of the form "field operator value" are joined by an optional AND (discovery,
QueryDriveActivityRequest.filter). Times are Unix milliseconds, or RFC 3339 in quotes.
"""

import datetime as dt
import re
from typing import NamedTuple

CASES = {
    "CREATE": "create",
    "EDIT": "edit",
    "MOVE": "move",
    "RENAME": "rename",
    "DELETE": "delete",
    "RESTORE": "restore",
    "PERMISSION_CHANGE": "permissionChange",
    "COMMENT": "comment",
    "DLP_CHANGE": "dlpChange",
    "REFERENCE": "reference",
    "SETTINGS_CHANGE": "settingsChange",
    "APPLIED_LABEL_CHANGE": "appliedLabelChange",
}
_NS = 1_000_000
_FOREVER_NS = 2**62
_AND = re.compile(r"AND(?=\s|$)")
_TIME = re.compile(r'time\s*(<=|>=|<|>|=)\s*(?:(-?\d{1,18})|"([^"]*)")(?=\s|$)')
_CASE = re.compile(
    r"(-?)detail\.action_detail_case\s*:\s*(?:([A-Z_]+)|\(\s*([A-Z_]+(?:\s+[A-Z_]+)*)\s*\))(?=\s|$)"
)


class FilterError(ValueError):
    """The filter is not in Google's grammar."""


class Filter(NamedTuple):
    """What passes: `after_ns < time < before_ns`; every wanted set meets, no refused one does.

    Sets are of fields of ActionDetail (`permissionChange`).
    """

    after_ns: int = -_FOREVER_NS
    before_ns: int = _FOREVER_NS
    wanted: tuple[frozenset[str], ...] = ()
    refused: frozenset[str] = frozenset()

    def passes(self, at_ns: int, cases: frozenset[str]) -> bool:
        """Whether an activity of these actions at this time passes."""
        return (
            self.after_ns < at_ns < self.before_ns
            and all(cases & some for some in self.wanted)
            and not cases & self.refused
        )


def parse(text: str) -> Filter:
    """Read a filter; the empty one lets all pass. Raises FilterError."""
    found = Filter()
    rest = text.strip()
    joined = True
    while rest:
        word = _AND.match(rest)
        if word is not None:
            if joined:
                raise FilterError(f"Unexpected AND in filter: {text}")
            joined, rest = True, rest[word.end() :].lstrip()
            continue
        time, case = _TIME.match(rest), _CASE.match(rest)
        if time is not None:
            found = _with_time(found, time)
        elif case is not None:
            found = _with_cases(found, case)
        else:
            raise FilterError(f"Invalid filter: {text}")
        joined, rest = False, rest[(time or case or word).end() :].lstrip()  # type: ignore[union-attr]
    if joined and text.strip():
        raise FilterError(f"Filter ends in AND: {text}")
    return found


def _with_time(found: Filter, match: re.Match[str]) -> Filter:
    """Narrow the open interval; an activity's time has milliseconds."""
    operator, number, quoted = match.groups()
    at_ns = int(number) * _NS if number is not None else _from_text(quoted)
    low, high = found.after_ns, found.before_ns
    if operator in {">", ">=", "="}:
        low = max(low, at_ns - (operator != ">"))
    if operator in {"<", "<=", "="}:
        high = min(high, at_ns + (operator != "<"))
    return found._replace(after_ns=low, before_ns=high)


def _from_text(text: str) -> int:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise FilterError(f"Invalid time in filter: {text}") from None
    if at.tzinfo is None or "T" not in text.upper():
        raise FilterError(f"Not an RFC 3339 time in filter: {text}")
    since = at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since // dt.timedelta(microseconds=1)) * 1000


def _with_cases(found: Filter, match: re.Match[str]) -> Filter:
    hyphen, one, several = match.groups()
    names = [one] if one else several.split()
    unknown = [n for n in names if n not in CASES]
    if unknown:
        raise FilterError(f"Unknown action detail case: {unknown[0]}")
    cases = frozenset(CASES[n] for n in names)
    if hyphen:
        return found._replace(refused=found.refused | cases)
    return found._replace(wanted=(*found.wanted, cases))
