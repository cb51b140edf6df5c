"""The trail: who did what with connections and tokens, on its way into the audit chain.

What changes a connection is recorded in the transaction that changes it. The rest comes here:
`append` returns when the record is durable; `count` costs a look-up and gathers equal facts, so
that handing out a cached token a thousand times is one record that says a thousand.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec

from drivewake.auth.errors import StoreUnavailableError
from drivewake.auth.keyring import Place
from drivewake.auth.ports import Audit
from drivewake.auth.records import By, Entry
from drivewake.runtime.clock import Clock
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.metrics import Counter
from drivewake.runtime.telemetry import traceparent

FLUSH_EVERY_S: Final = 30.0
HEAD_EVERY_S: Final = 600.0
RETRY_S: Final = 2.0
BATCH: Final = 500
MAX_COUNTED: Final = 50_000
"""Different facts gathered at once; beyond it only actions and outcomes are told apart."""

MAX_WHY: Final = 300
_log = get_logger(__name__)
RECORDS: Final = Counter("auth_audit_records", meaning="Records added to the audit chain.")
LATE: Final = Counter("auth_audit_late", meaning="Times that the audit chain could not be written.")

_Fact = tuple[str, str, str, str, str, str]
"""who, action, outcome, why, tenant, connection"""


class _Tally(msgspec.Struct):
    count: int
    since: dt.datetime
    at: dt.datetime
    trace: str


def current_trace() -> str:
    """Return the id of the trace that is being served, nothing outside of any."""
    parent = traceparent()
    return parent.split("-")[1] if parent else ""


def entry(
    by: By,
    now: dt.datetime,
    action: str,
    *,
    outcome: str = "ok",
    why: str = "",
    tenant: str = "",
    connection: str = "",
) -> Entry:
    """Return one fact of now, fit to be recorded: its reason is bounded and printable."""
    reason = ": ".join(filter(None, (by.why, why)))
    return Entry(
        at=now,
        since=now,
        who=by.who,
        action=action,
        outcome=outcome,
        why=_readable(reason),
        tenant=tenant,
        connection=connection,
        count=1,
        trace=current_trace(),
    )


def _readable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:MAX_WHY])


class Trail:
    """Gathers facts and writes them to the chain."""

    def __init__(self, store: Audit, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[_Fact, _Tally] = {}
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()
        self._head_told_s = 0.0

    def __len__(self) -> int:
        return len(self._tallies)

    def count(
        self,
        who: str,
        action: str,
        outcome: str = "ok",
        why: str = "",
        tenant: str = "",
        connection: str = "",
    ) -> None:
        """Note a fact; it is recorded with its like within half a minute."""
        fact = (who, action, outcome, why, tenant, connection)
        tally = self._tallies.get(fact)
        if tally is None:
            if len(self._tallies) >= MAX_COUNTED:
                fact = ("many", action, outcome, "too many different ones to tell apart", "", "")
            now = self._clock.now()
            tally = self._tallies.setdefault(fact, _Tally(0, now, now, current_trace()))
        tally.count += 1
        tally.at = self._clock.now()

    def key_used(self, key_id: str, place: Place, outcome: str) -> None:
        """Note that a secret was opened, or did not open (`Keyring.on_use`)."""
        about = place.owner if place.purpose in {"refresh_token", "account"} else ""
        why = f"{place.purpose} under {key_id}"
        self.count("auth", "key.used", outcome, why, place.tenant, about)

    async def append(self, fact: Entry) -> None:
        """Record a fact; durable on return. Raises StoreUnavailableError.

        Those who come while a write is under way share the next one.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((fact, done))
        async with self._writing:
            if not done.done():
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._write_for(batch)
        await done

    async def flush(self) -> None:
        """Record what was counted; StoreUnavailableError keeps it for later."""
        tallies, self._tallies = self._tallies, {}
        while tallies:
            batch = list(tallies)[:BATCH]
            try:
                async with self._writing:
                    await self._write([_entry(fact, tallies[fact]) for fact in batch])
            except BaseException:
                self._put_back(tallies)
                raise
            for fact in batch:
                del tallies[fact]

    async def run(self, stop: Stop) -> None:
        """Flush every half minute; the last time is `close`."""
        while not stop.requested:
            pause_s = FLUSH_EVERY_S
            try:
                await self.flush()
            except StoreUnavailableError:
                LATE.add()
                pause_s = RETRY_S
            await stop.sleep(pause_s)

    async def close(self) -> None:
        """Record what is left, if the database lets us."""
        try:
            await self.flush()
        except StoreUnavailableError:
            lost = sum(tally.count for tally in self._tallies.values())
            _log.error("counted facts are not recorded", action="audit_lost", facts=lost)

    def _put_back(self, tallies: dict[_Fact, _Tally]) -> None:
        for fact, tally in tallies.items():
            newer = self._tallies.setdefault(fact, tally)
            if newer is not tally:
                newer.count += tally.count
                newer.since = tally.since

    async def _write_for(self, batch: list[tuple[Entry, asyncio.Future[None]]]) -> None:
        """Write what callers wait for; each learns how it went."""
        try:
            await self._write([fact for fact, _ in batch])
        except BaseException as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(
                        error if isinstance(error, Exception) else StoreUnavailableError()
                    )
                    done.exception()  # whoever gave up waiting is no warning
            if not isinstance(error, Exception):
                raise
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    async def _write(self, entries: Sequence[Entry]) -> None:
        head = await self._store.append(entries)
        RECORDS.add(len(entries))
        now_s = self._clock.monotonic_s()
        if now_s - self._head_told_s >= HEAD_EVERY_S or not self._head_told_s:
            self._head_told_s = now_s
            # Logs go elsewhere: who cuts or rewrites the chain does not reach this.
            _log.info("the audit chain stands here", action="audit_head", head=head)


def _entry(fact: _Fact, tally: _Tally) -> Entry:
    who, action, outcome, why, tenant, connection = fact
    return Entry(
        at=tally.at,
        since=tally.since,
        who=who,
        action=action,
        outcome=outcome,
        why=_readable(why),
        tenant=tenant,
        connection=connection,
        count=tally.count,
        trace=tally.trace,
    )
