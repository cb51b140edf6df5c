"""Everything that ever happened, in order: the truth a client is compared with."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec


class ChangeFact(msgspec.Struct, frozen=True, gc=False, tag="change", tag_field="type"):
    """A version of a file came to be. `logs` are the change logs that carry it."""

    n: int
    at_ns: int
    seq: int
    file_id: str
    version: int
    kind: str
    actor: str
    logs: tuple[str, ...]


class PushFact(msgspec.Struct, frozen=True, gc=False, tag="push", tag_field="type"):
    """One attempt to notify a channel.

    `outcome` is delivered, failed, retrying, unreachable, disallowed (by the receiver's
    robots.txt), dropped, silenced or expired;
    `status` is the receiver's, 0 when there was none. `changes` is how many changes it stands for.
    """

    n: int
    at_ns: int
    channel_id: str
    log: str
    message_number: int
    state: str
    attempt: int
    status: int
    outcome: str
    changes: int


class RequestFact(msgspec.Struct, frozen=True, gc=False, tag="request", tag_field="type"):
    """One API call; `reason` is Google's on a refusal, else empty."""

    n: int
    at_ns: int
    method: str
    path: str
    principal: str
    status: int
    reason: str
    duration_us: int


class PageFact(msgspec.Struct, frozen=True, gc=False, tag="page", tag_field="type"):
    """A page of changes was served: what stood on it between two places of a log.

    `next` is where the page says to go on: whoever asks from there has taken this page.
    `entries` are (file id, version shown), version 0 for a removal.
    """

    n: int
    at_ns: int
    log: str
    start: int
    next: int
    entries: tuple[tuple[str, int], ...]


class FaultFact(msgspec.Struct, frozen=True, gc=False, tag="fault", tag_field="type"):
    """A commanded fault (faults.py) met an operation; `rule` is its id."""

    n: int
    at_ns: int
    rule: int
    operation: str
    principal: str
    effect: str


class GrantFact(msgspec.Struct, frozen=True, gc=False, tag="grant", tag_field="type"):
    """Refresh tokens of a user died; `cause` is one of grants.CAUSES."""

    n: int
    at_ns: int
    user: str
    cause: str
    tokens: int


class SecurityFact(msgspec.Struct, frozen=True, gc=False, tag="security", tag_field="type"):
    """One attempt to send a security event token; `status` is 0 when nobody answered."""

    n: int
    at_ns: int
    jti: str
    event: str
    subject: str
    attempt: int
    status: int


class ActivityFact(msgspec.Struct, frozen=True, gc=False, tag="activity", tag_field="type"):
    """Drive Activity tells what no change does: `case` of ActionDetail, `actor` an address or kind.

    All other activities are those of the changes.
    """

    n: int
    at_ns: int
    file_id: str
    case: str
    actor: str


class GroupFact(msgspec.Struct, frozen=True, gc=False, tag="group", tag_field="type"):
    """A group has these members from now on, and they the access that it has."""

    n: int
    at_ns: int
    group: str
    members: tuple[str, ...]


Fact = (
    ChangeFact
    | PushFact
    | RequestFact
    | PageFact
    | FaultFact
    | GrantFact
    | SecurityFact
    | ActivityFact
    | GroupFact
)
_TYPES: dict[str, type[Fact]] = {
    "change": ChangeFact,
    "push": PushFact,
    "request": RequestFact,
    "page": PageFact,
    "fault": FaultFact,
    "grant": GrantFact,
    "security": SecurityFact,
    "activity": ActivityFact,
    "group": GroupFact,
}


class Ledger:
    """An append-only list of facts numbered from 1, with counters."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self.counts: Counter[str] = Counter()

    @property
    def next_n(self) -> int:
        """The number the next fact will get."""
        return len(self._facts) + 1

    def add(self, fact: Fact, *counters: str) -> None:
        """Append a fact whose `n` is `next_n`."""
        self._facts.append(fact)
        self.counts.update(counters)

    def after(
        self, n: int, limit: int, types: Iterable[str] = ()
    ) -> tuple[Sequence[Fact], int, bool]:
        """Return up to `limit` facts behind number `n`, the number reached, and if more wait."""
        kinds = tuple(_TYPES[t] for t in types if t in _TYPES) or tuple(_TYPES.values())
        found: list[Fact] = []
        at = max(0, n)
        while at < len(self._facts) and len(found) < limit:
            fact = self._facts[at]
            if isinstance(fact, kinds):
                found.append(fact)
            at += 1
        return found, at, at < len(self._facts)
