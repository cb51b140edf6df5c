"""What the poller needs from outside, as narrow ports; `adapters` fulfils them on the bus."""

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from drivewake.contracts.raw import LogFact
from drivewake.contracts.raw import Source as RawSource
from drivewake.contracts.records import LogKind, LogRecord
from drivewake.contracts.signals import Reason
from drivewake.gdrive.token import AccessToken
from drivewake.runtime.clock import Clock

T = TypeVar("T")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One item as Google returned it: the id that routes it, and the verbatim body.

    `version` and `ordinal` as in contracts' Raw.
    """

    id: str
    body: msgspec.Raw
    version: int = 0
    ordinal: int = 0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What one call returned, with its provenance (see contracts' Raw)."""

    source: RawSource
    items: Sequence[Seen]
    observed_at: dt.datetime
    cursor: str = ""
    request: str = ""
    snapshot: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of reading a log: publish `before`, `pages`, `after`; then save `record`.

    Facts go into every partition. `more`: go on at once. `setback`: the step moved the log
    back; a second one in a row, or one with nothing more to do, backs off like a failure.
    `drives`: all shared drives of the user, each of which has a log. `doubted`: Google does
    not know the drive of this log: the user's drives are to be listed.
    """

    record: LogRecord
    before: Sequence[LogFact] = ()
    pages: Sequence[Page] = ()
    after: Sequence[LogFact] = ()
    more: bool = True
    setback: str = ""
    drives: Sequence[str] | None = None
    doubted: bool = False


class Source(Protocol):
    """A kind of log that can be read step by step. It asks Google and touches nothing else."""

    @property
    def kinds(self) -> Sequence[LogKind]:
        """The kinds of log that this source reads."""
        ...

    async def step(self, record: LogRecord) -> Step:
        """Ask Google one question and say what follows from its answer.

        The same record asked again gives the same facts: a crash repeats the step. Raises
        GoogleError; the record then stands where it stood.
        """
        ...


class Memberships(Protocol):
    """Keeps the logs of shared drives as the user's log says. May raise BusError."""

    async def follow(self, record: LogRecord, drives: Sequence[str]) -> bool:
        """Give each of a user's drives its log, end the others'; say whether one was left."""
        ...

    async def doubt(self, record: LogRecord) -> None:
        """Let the drives of the user be listed whose drive log this is."""
        ...


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A log record and the revision at which it was read or written."""

    record: LogRecord
    revision: int


class Logs(Protocol):
    """The log records: cached, written by compare-and-set. Methods may raise BusError."""

    def cached(self, key: str) -> Held | None:
        """Return what this process last saw of a record; it may be stale, a save tells."""
        ...

    def of_connection(self, connection: str) -> Sequence[Held]:
        """Return the cached records of one connection."""
        ...

    def all(self) -> Iterable[tuple[str, Held]]:
        """Iterate over a copy of all cached records by key."""
        ...

    async def read(self, key: str) -> Held | None:
        """Return the current record, None if there is none."""
        ...

    async def save(self, held: Held, record: LogRecord) -> Held:
        """Replace `held` by `record`; ConflictError if it is not the current one.

        Revision 0 creates.
        """
        ...


class Tokens(Protocol):
    """Runs Google calls with access tokens (`gdrive.auth.TokenSource`)."""

    async def call(
        self, tenant: str, connection: str, once: Callable[[AccessToken], Awaitable[T]]
    ) -> T:
        """Run one call: refreshed once on 401, what Google says of the grant told to auth."""
        ...

    def forget(self, tenant: str, connection: str) -> None:
        """Drop what is kept of a connection."""
        ...


class Channels(Protocol):
    """What is known of push channels."""

    def alive(self, log: str, now: dt.datetime) -> bool:
        """Say whether a push channel of this log works."""
        ...


class Raws(Protocol):
    """The way into DRIVE_RAW. Returning means durable; a repeat adds equal raws, no harm.

    Raises StreamFullError while the stream refuses, BusError otherwise.
    """

    async def publish(self, record: LogRecord, step: Step, at: dt.datetime) -> int:
        """Publish a step's facts and items in order; return how many messages."""
        ...


class Signals(Protocol):
    """The way into DRIVE_SIGNAL. May raise BusError."""

    async def schedule(self, record: LogRecord, at: dt.datetime) -> None:
        """Let a timer signal come at `at`, instead of any that was scheduled before."""
        ...

    async def send(self, record: LogRecord, reason: Reason, *, priority: int) -> None:
        """Signal a log now, instead of any signal that waits."""
        ...


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """Everything around the poller but Google."""

    logs: Logs
    raws: Raws
    signals: Signals
    channels: Channels
    clock: Clock


def key_of(record: LogRecord) -> str:
    """Return the key of a record in the bucket `logs`; its parts were checked on entry."""
    return f"{record.connection}.{record.log}"
