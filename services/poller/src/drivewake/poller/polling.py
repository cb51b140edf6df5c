"""One turn of one log: claim, read and publish step by step, release, set the next timer."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from drivewake.contracts.records import LogKind, LogRecord
from drivewake.contracts.signals import Signal
from drivewake.gdrive import quota
from drivewake.gdrive.errors import (
    ConnectionUnusableError,
    GrantError,
    RetryError,
)
from drivewake.poller import domain, listing, metrics, rhythm
from drivewake.poller.domain import GiveBack, Rules, Skip
from drivewake.poller.ports import Held, Logs, Memberships, Outside, Source, Step
from drivewake.poller.pressure import Pressure
from drivewake.poller.rhythm import Rhythm
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    ConflictError,
    DrivewakeError,
    StreamFullError,
)
from drivewake.runtime.logging import get_logger

FULL_RETRY_S: Final = 2.0
"""How soon a log is looked at again whose raws found DRIVE_RAW full."""

YIELD_PRIORITY: Final = 7
_log = get_logger(__name__)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The signal is served: acknowledge it."""

    outcome: str


Outcome = Done | GiveBack


class Claim:
    """A log record that this process holds; saves follow one another, renewals included."""

    def __init__(self, logs: Logs, rules: Rules, clock: Clock, me: str, held: Held) -> None:
        self._logs = logs
        self._rules = rules
        self._clock = clock
        self._me = me
        self._held = held
        self._lock = asyncio.Lock()
        self._open = False

    @property
    def record(self) -> LogRecord:
        """The record as it was last saved."""
        return self._held.record

    async def take(self) -> None:
        """Claim; ConflictError if the record is not what we think."""
        await self.save(self.record)
        self._open = True

    async def save(self, record: LogRecord) -> None:
        """Replace the record and renew the claim; ConflictError if we lost it."""
        async with self._lock:
            claimed = domain.claimed(self._rules, record, self._me, self._clock.now())
            self._held = await self._logs.save(self._held, claimed)

    async def release(self, record: LogRecord) -> None:
        """Replace the record by one that nobody holds."""
        async with self._lock:
            self._open = False
            self._held = await self._logs.save(self._held, record)

    async def renew(self) -> None:
        """Keep a claim that is half over. Losing it shows at the next save."""
        left_s = domain.seconds_until(self.record.claimed_until, self._clock.now())
        if not self._open or self._lock.locked() or left_s > self._rules.lease_s / 2:
            return
        try:
            await self.save(self.record)
        except BusError as error:
            _log.warning("a claim was not renewed", action="renew_failed", reason=str(error))


class Polling:
    """Polls logs. `draw` returns uniform numbers in [0, 1) for jitter."""

    def __init__(
        self,
        outside: Outside,
        sources: Sequence[Source],
        memberships: Memberships,
        *,
        me: str,
        rules: Rules,
        rhythm: Rhythm,
        pressure: Pressure,
        draw: Callable[[], float],
    ) -> None:
        self._outside = outside
        self._clock = outside.clock
        self._sources: Mapping[LogKind, Source] = {
            kind: source for source in sources for kind in source.kinds
        }
        self._me = me
        self._rules = rules
        self._rhythm = rhythm
        self._draw = draw
        self._memberships = memberships
        self._pressure = pressure

    async def poll(
        self,
        key: str,
        signal: Signal,
        *,
        deliveries: int = 1,
        on_claim: Callable[[Claim], None] = lambda _: None,
    ) -> Outcome:
        """Serve one signal. Raises BusError if the bus fails: the signal must come again.

        `on_claim` gets the claim, to be renewed while the turn lasts.
        """
        held = self._outside.logs.cached(key) or await self._outside.logs.read(key)
        for _ in range(2):
            if held is None:
                return Done(outcome="unknown_log")
            verdict = domain.admit(
                self._rules,
                held.record,
                signal=signal,
                deliveries=deliveries,
                me=self._me,
                now=self._clock.now(),
            )
            if isinstance(verdict, GiveBack):
                return verdict
            if isinstance(verdict, Skip):
                if verdict.at is not None:
                    await self._outside.signals.schedule(held.record, verdict.at)
                return Done(outcome=verdict.reason)
            if verdict.wait_s:
                await self._clock.sleep(verdict.wait_s)
            claim = Claim(self._outside.logs, self._rules, self._clock, self._me, held)
            try:
                await claim.take()
            except ConflictError:
                # The cached record was stale, or somebody else was faster: look again.
                held = await self._outside.logs.read(key)
                continue
            on_claim(claim)
            return await self._turn(claim)
        return GiveBack(delay_s=self._rules.loser_s, reason="claim_lost")

    async def _turn(self, claim: Claim) -> Outcome:
        """Read until there is nothing more, others get their turn, or something fails."""
        began_s = self._clock.monotonic_s()
        try:
            return await self._attempt(claim)
        except ConflictError:
            # Stopped, or taken over after our lease: what we published does no harm.
            return GiveBack(delay_s=self._rules.loser_s, reason="fenced")
        finally:
            metrics.TURN.observe(self._clock.monotonic_s() - began_s)

    async def _attempt(self, claim: Claim) -> Done:
        try:
            return await self._pages(claim)
        except (ConflictError, BusUnavailableError):
            raise
        except StreamFullError as error:
            return await self._wait_for_room(claim, str(error))
        except (GrantError, ConnectionUnusableError) as error:
            # Auth knows; it will say that the connection stops. Until then hardly ever.
            # A 401 is not among them: it may pass, and auth only calls it degraded.
            return await self._fail(claim, str(error), wait_s=self._rhythm.degraded_s)
        except RetryError as error:
            return await self._fail(claim, str(error), retry_after_s=error.retry_after_s)
        except DrivewakeError as error:
            return await self._fail(claim, str(error))
        except Exception as error:  # noqa: BLE001 - a bug must neither spin nor stop the others
            _log.exception("a poll failed by a bug", action="poll_bug", **_names(claim.record))
            return await self._fail(claim, type(error).__name__)

    async def _pages(self, claim: Claim) -> Done:
        source = self._sources[claim.record.kind]
        set_back = False
        for _ in range(self._rules.turn_pages):
            with quota.metered() as meter:
                step = await source.step(claim.record)
            raws = await self._publish(claim.record, step)
            record = await self._beside(step)
            metrics.UNITS.add(meter.units)
            record = domain.charged(record, raws, meter.calls, meter.units)
            if step.setback:
                set_back = True
                record = domain.failed(record, step.setback)
                _log.warning(
                    "a log was set back",
                    action="setback",
                    reason=step.setback,
                    **_names(record),
                )
                if record.failures > 1 or not step.more:
                    return await self._postpone(claim, record, self._backoff_s(record, None))
            elif step.pages and not set_back:
                record = domain.progressed(record)
            if not step.more:
                return await self._settle(claim, record)
            await claim.save(record)
        await claim.release(domain.yielded(claim.record, self._clock.now()))
        await self._outside.signals.send(claim.record, "snapshot", priority=YIELD_PRIORITY)
        return Done(outcome="yielded")

    async def _beside(self, step: Step) -> LogRecord:
        """Do what a step means to other logs; return the record that is to be saved."""
        if step.doubted:
            await self._memberships.doubt(step.record)
        if step.drives is not None and await self._memberships.follow(step.record, step.drives):
            # What was seen of a drive in the user's own log too is settled by a listing.
            return listing.relisting(step.record, self._clock.now())
        return step.record

    async def _publish(self, record: LogRecord, step: Step) -> int:
        """Make durable what the step found, before the cursor moves; return how many raws."""
        count = await self._outside.raws.publish(record, step, self._clock.now())
        metrics.RAWS.add(count)
        for page in step.pages:
            metrics.PAGES.add(source=page.source)
        for fact in (*step.before, *step.after):
            if fact.fact == "gap_opened":
                metrics.GAPS.add()
            _log.info(fact.fact.replace("_", " "), action=fact.fact, **_names(record), gap=fact.gap)
        return sum(len(page.items) for page in step.pages)

    async def _settle(self, claim: Claim, record: LogRecord) -> Done:
        """Release with the cursor at the end of what Google had, and set the timer."""
        now = self._clock.now()
        if record.stopped:
            await claim.release(domain.postponed(record, now))
            return Done(outcome="stopped")
        pushed = self._outside.channels.alive(record.log, now)
        wished = rhythm.interval(self._rhythm, record, now, pushed=pushed)
        stretched = rhythm.interval(
            self._rhythm, record, now, pushed=pushed, stretch=self._pressure.stretch
        )
        wait_s = rhythm.jittered(self._rhythm, stretched.seconds, self._draw())
        at = now + dt.timedelta(seconds=wait_s)
        await claim.release(domain.settled(record, now, interval_s=wished.seconds, at=at))
        await self._outside.signals.schedule(record, at)
        return Done(outcome="done")

    async def _fail(
        self,
        claim: Claim,
        text: str,
        *,
        retry_after_s: float | None = None,
        wait_s: float | None = None,
    ) -> Done:
        """Count a failure and back off; the cursor stands where it stood."""
        record = domain.failed(claim.record, text)
        if wait_s is None:
            wait_s = self._backoff_s(record, retry_after_s)
        _log.warning(
            "a poll failed",
            action="poll_failed",
            reason=text,
            failures=record.failures,
            retry_s=round(wait_s, 1),
            **_names(record),
        )
        return await self._postpone(claim, record, wait_s)

    async def _wait_for_room(self, claim: Claim, text: str) -> Done:
        """Look again soon: DRIVE_RAW is full, which is no failure of this log."""
        _log.warning(
            "a poll waits for room", action="stream_full", reason=text, **_names(claim.record)
        )
        return await self._postpone(claim, domain.hindered(claim.record, text), FULL_RETRY_S)

    def _backoff_s(self, record: LogRecord, retry_after_s: float | None) -> float:
        return rhythm.backoff_s(self._rhythm, record.failures, retry_after_s, self._draw())

    async def _postpone(self, claim: Claim, record: LogRecord, wait_s: float) -> Done:
        """Release and look again after `wait_s`."""
        at = self._clock.now() + dt.timedelta(seconds=wait_s)
        await claim.release(domain.postponed(record, at))
        await self._outside.signals.schedule(claim.record, at)
        return Done(outcome="failed")


def _names(record: LogRecord) -> dict[str, str]:
    return {"tenant": record.tenant, "connection": record.connection, "log": record.log}
