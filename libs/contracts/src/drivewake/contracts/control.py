"""Asking the poller over request/reply: control of logs, and how they go."""

import datetime as dt
from typing import Final, Literal

import msgspec

from drivewake.contracts.records import LogKind, LogPhase

MAX_CONTROLLED: Final = 1000
"""Most connections, or cursors, of one control request."""

Verb = Literal["poll", "pause", "resume", "resync", "rewind"]


class LogCursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log is to go on reading; an empty cursor begins it anew, with a full listing."""

    connection: str
    log: str
    cursor: str


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Do something to logs: all those of `connections`, or `log` of the only one.

    - `poll`: look now. `pause`: stop at once, until `resume`.
    - `resync`: list everything again beside the live reading.
    - `rewind`: go on from other cursors, those of a restored store: what was read since is
      read again. Names its logs in `cursors` and takes no `connections`.
    """

    verb: Verb
    connections: tuple[str, ...] = ()
    log: str = ""
    cursors: tuple[LogCursor, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if len(self.connections) > MAX_CONTROLLED or len(self.cursors) > MAX_CONTROLLED:
            raise ValueError(f"at most {MAX_CONTROLLED} at once")
        if (self.verb == "rewind") != bool(self.cursors) or (self.cursors and self.connections):
            raise ValueError("rewind takes cursors and no connections, other verbs the reverse")
        if self.verb != "rewind" and not self.connections:
            raise ValueError("no connection is named")
        if self.log and len(self.connections) != 1:
            raise ValueError("a log is named beside its one connection")


class LogOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one log; `unknown` with an empty `log`: no log of that connection."""

    connection: str
    log: str
    outcome: Literal["done", "unchanged", "unknown", "failed"]
    reason: str = ""


class ControlReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One outcome a log, in the order asked; `error` if the request as a whole made no sense."""

    outcomes: tuple[LogOutcome, ...] = ()
    error: str = ""


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which logs to tell of; `after` is the key at which the last answer ended."""

    connection: str = ""
    after: str = ""
    limit: int = 200


class LogStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one log goes; ages and waits in seconds, as of the answer.

    `lag_s` is how overdue its next poll is. `calls` and `units` are what the log has cost
    since its record was made. `files` counts those listed by the snapshot under way.
    """

    tenant: str
    connection: str
    log: str
    kind: LogKind
    phase: LogPhase
    state: str
    why: str
    interval_s: float
    push: bool
    resource: str = ""
    failures: int = 0
    last_error: str = ""
    last_success_at: dt.datetime | None = None
    last_change_at: dt.datetime | None = None
    cursor_age_s: float | None = None
    lag_s: float = 0.0
    next_poll_at: dt.datetime | None = None
    files: int = 0
    pending: int = 0
    gaps: tuple[str, ...] = ()
    calls: int = 0
    units: int = 0
    owner: str = ""


class QuotaStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the answering process may spend and waits for.

    `share` is its part of the project's budget, `stretch` how much timers are stretched so
    that all logs fit into it; `waiting` counts calls that wait, by what they wait for.
    """

    share: float = 1.0
    replicas: int = 1
    stretch: float = 1.0
    units_spent: int = 0
    units_per_min: float = 0.0
    waiting: dict[str, int] = {}


class StatusReply(msgspec.Struct, frozen=True, kw_only=True):
    """A page of logs by key, and counts over all of them. `next`: ask on after this key."""

    instance: str
    at: dt.datetime
    total: int
    states: dict[str, int]
    logs: list[LogStatus]
    next: str = ""
    quota: QuotaStatus = QuotaStatus()
