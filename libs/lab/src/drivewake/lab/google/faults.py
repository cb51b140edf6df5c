"""Everything that can go wrong, on command: which call meets which fault. Pure; seeded.

A rule says where (operation, principal, path as glob patterns), when (`afterS` and `forS`
from its arrival; the `nth` matching call, `every` so many, a `share` of them, at most
`times`) and what. Each rule has its own stream of chance, so that rules do not disturb each
other and the same seed and the same calls meet the same faults. The effects themselves are
made at the rim (effects.py) and in push.py. Every hit is in the ledger.

Operations are method ids (`drive.changes.list`, `driveactivity.activity.query`),
`oauth.token`, `oauth.revoke` and so on, `batch`, and `push`. A call inside a batch meets its own
faults too, but for those of the connection, which it has not; the control API meets none.
"""

import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from drivewake.lab.google.ledger import FaultFact, Ledger

_S = 1_000_000_000
_MS = 1_000_000
_MAX_RULES = 1_000
ACTIVITY = "driveactivity.activity.query"

Effect = Literal[
    "status",
    "timeout",
    "reset",
    "truncate",
    "truncate_json",
    "late",
    "slow",
    "content_type",
    "expired_page_token",
    "bogus_page_token",
    "incomplete_search",
    "clock_skew",
    "activity_internal",
    "activity_short_page",
    "push_duplicate",
    "push_delay",
    "push_reorder",
    "push_silence",
    "push_spelling",
]


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One fault on command.

    `status` refuses with status, reason, message and perhaps Retry-After. `timeout` answers
    nothing for `seconds`, then cuts the connection; `reset` cuts it at once; `truncate`
    cuts it after `keep` (a share) of the body, `truncate_json` ends such a short body in order;
    `slow` spreads the body over `seconds`, `late` sends nothing before `seconds` have passed
    (a notification of the channel that a watch opened comes before its answer);
    `content_type` says `value`, an HTML page, instead of JSON. `expired_page_token` refuses
    calls that carry a page token, `bogus_page_token` gives out tokens nobody knows,
    `incomplete_search` leaves out half of a listing and says so, `clock_skew` shifts the
    Date header by `seconds`. `activity_internal` is the 500 of Drive Activity for queries
    that reach into the window `fromMs`..`untilMs` or whose ancestor holds or lies in
    `folder`, `activity_short_page` gives `keep` of the activities that a page may have, perhaps
    none, and a token to go on with. Push: `push_spelling` writes `changed` for `change` and a
    blank after the comma of `X-Goog-Changed`, as other examples of Google do,
    `push_duplicate` sends `copies` more, `push_delay` waits `seconds`, `push_reorder` lets
    the next one overtake (or waits `seconds`), `push_silence` sends none.
    """

    effect: Effect
    operation: str = "*"
    principal: str = "*"
    path: str = "*"
    share: float = 1.0
    nth: int | None = None
    every: int | None = None
    times: int | None = None
    after_s: float = 0.0
    for_s: float | None = None
    status: int = 503
    reason: str = "backendError"
    message: str = "Backend Error"
    retry_after_s: int | None = None
    seconds: float = 1.0
    keep: float = 0.5
    copies: int = 1
    value: str = "text/html; charset=UTF-8"
    from_ms: int | None = None
    until_ms: int | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ValueError."""
        if not 0 <= self.share <= 1 or not 0 <= self.keep < 1:
            raise ValueError("share and keep are between 0 and 1")
        if any(n is not None and n < 1 for n in (self.nth, self.every, self.times)):
            raise ValueError("nth, every and times count from 1")
        if not 400 <= self.status <= 599:
            raise ValueError("status is 400 to 599")
        if self.copies < 1 or self.copies > 100 or not -1e9 < self.seconds < 1e9:
            raise ValueError("copies are 1 to 100, seconds a moderate number")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario file (TOML): `[[fault]]` tables, each a Rule."""

    fault: tuple[Rule, ...] = ()


def read_scenario(text: str) -> Scenario:
    """Read a scenario file. Raises ValueError saying where it is wrong."""
    return msgspec.toml.decode(text, type=Scenario)


class Armed:
    """A rule in force: how often it was looked at and how often it hit."""

    __slots__ = ("_chance", "from_ns", "hits", "id", "rule", "seen", "until_ns")

    def __init__(self, rule: Rule, rule_id: int, seed: int, now_ns: int) -> None:
        self.id = rule_id
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self.from_ns = now_ns + int(rule.after_s * _S)
        self.until_ns = None if rule.for_s is None else self.from_ns + int(rule.for_s * _S)
        self._chance = random.Random(f"{seed}/fault/{rule_id}")

    def strikes(self, operation: str, principal: str, path: str, now_ns: int) -> bool:
        """Whether this call is hit; looking counts."""
        rule = self.rule
        if now_ns < self.from_ns or (self.until_ns is not None and now_ns >= self.until_ns):
            return False
        if not (
            fnmatchcase(operation, rule.operation)
            and fnmatchcase(principal, rule.principal)
            and fnmatchcase(path, rule.path)
        ):
            return False
        self.seen += 1
        lucky = self._chance.random() >= rule.share
        out_of_turn = rule.nth is not None and self.seen != rule.nth
        between = rule.every is not None and self.seen % rule.every != 0
        if lucky or out_of_turn or between:
            return False
        if rule.times is not None and self.hits >= rule.times:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force, in order of arrival."""

    def __init__(self, seed: int, ledger: Ledger) -> None:
        self._seed = seed
        self._ledger = ledger
        self._made = 0
        self.armed: dict[int, Armed] = {}

    def add(self, rule: Rule, now_ns: int) -> int:
        """Put a rule in force; return its id. Raises ValueError beyond 1,000 rules."""
        if len(self.armed) >= _MAX_RULES:
            raise ValueError(f"There are {_MAX_RULES} faults already.")
        self._made += 1
        self.armed[self._made] = Armed(rule, self._made, self._seed, now_ns)
        return self._made

    def remove(self, rule_id: int | None = None) -> int:
        """Lift one rule, or all; return how many there were."""
        doomed = list(self.armed) if rule_id is None else [rule_id]
        return sum(self.armed.pop(i, None) is not None for i in doomed)

    def meet(
        self, operation: str, principal: str, path: str, now_ns: int, *, paged: bool = False
    ) -> tuple[Rule, ...]:
        """Return the faults a call meets. `paged` says that it carries a page token."""
        found: list[Rule] = []
        for armed in self.armed.values():
            effect = armed.rule.effect
            if effect.startswith(("activity_", "push_")):
                continue
            if effect == "expired_page_token" and not paged:
                continue
            if armed.strikes(operation, principal, path, now_ns):
                self._note(armed, operation, principal, now_ns)
                found.append(armed.rule)
        return tuple(found)

    def meet_push(self, principal: str, log: str, now_ns: int) -> tuple[Rule, ...]:
        """Return the faults a notification meets; its path is the log's name."""
        found: list[Rule] = []
        for armed in self.armed.values():
            if not armed.rule.effect.startswith("push_"):
                continue
            if armed.strikes("push", principal, log, now_ns):
                self._note(armed, "push", principal, now_ns)
                found.append(armed.rule)
        return tuple(found)

    def page_of_activity(self, principal: str, size: int, now_ns: int) -> int:
        """Return how many activities a page has that may have `size`."""
        for armed in self.armed.values():
            if armed.rule.effect == "activity_short_page" and armed.strikes(
                ACTIVITY, principal, "/v2/activity:query", now_ns
            ):
                self._note(armed, ACTIVITY, principal, now_ns)
                return int(size * armed.rule.keep)
        return size

    def poisons_activity(
        self,
        principal: str,
        *,
        after_ns: int,
        before_ns: int,
        item_id: str | None,
        ancestor_id: str | None,
        now_ns: int,
        above: Callable[[str], tuple[str, ...]],
    ) -> bool:
        """Whether a query of the open window meets an `activity_internal`.

        `above` tells an item and the folders above it. An item queried by itself escapes a
        poisoned folder above it: that is the way out that clients have.
        """
        for armed in self.armed.values():
            rule = armed.rule
            if rule.effect != "activity_internal":
                continue
            low_ns = after_ns + 1 if rule.from_ms is None else rule.from_ms * _MS
            high_ns = before_ns - 1 if rule.until_ms is None else rule.until_ms * _MS
            if max(low_ns, after_ns + 1) > min(high_ns, before_ns - 1):
                continue
            if rule.folder is not None and not _reaches(rule.folder, item_id, ancestor_id, above):
                continue
            if armed.strikes(ACTIVITY, principal, "/v2/activity:query", now_ns):
                self._note(armed, ACTIVITY, principal, now_ns)
                return True
        return False

    def _note(self, armed: Armed, operation: str, principal: str, now_ns: int) -> None:
        number, effect = self._ledger.next_n, armed.rule.effect
        fact = FaultFact(number, now_ns, armed.id, operation, principal, effect)
        self._ledger.add(fact, "fault", f"fault_{effect}")


def _reaches(
    folder: str,
    item_id: str | None,
    ancestor_id: str | None,
    above: Callable[[str], tuple[str, ...]],
) -> bool:
    if ancestor_id is None:
        return item_id == folder
    return ancestor_id in above(folder) or folder in above(ancestor_id)
