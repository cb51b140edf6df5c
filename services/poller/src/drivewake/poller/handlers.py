"""Takes signals from the stream and serves each log's, one at a time, fairly."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.envelope import Envelope, InvalidMessageError
from drivewake.contracts.ids import InvalidIdError
from drivewake.contracts.signals import SIGNALS, Signal
from drivewake.gdrive.quota import urgent
from drivewake.poller import metrics
from drivewake.poller.connections import Connections
from drivewake.poller.domain import GiveBack, merged
from drivewake.poller.loops import run_until
from drivewake.poller.polling import Claim, Done, Outcome, Polling
from drivewake.poller.turns import Turns
from drivewake.runtime.bus import Delivery, Puller
from drivewake.runtime.clock import Clock
from drivewake.runtime.dead import Graveyard, dead_delivery
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.telemetry import continue_trace

FETCH_WAIT_S: Final = 1.0
"""Longest wait of one fetch: how soon a stop is noticed by an idle service."""

BUS_RETRY_S: Final = 1.0
BUG_RETRY_S: Final = 30.0
UNKNOWN_RETRY_S: Final = 0.5
UNKNOWN_DELIVERIES: Final = 6
"""How often a signal may come whose connection we have not heard of yet."""

_log = get_logger(__name__)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one process does at once.

    `polls`: logs under way; `per_connection`: of one connection; `waiting`: signals fetched
    beyond that, few so that other replicas get theirs. `keep_s`: how often claims and
    deliveries under way are renewed, well under the consumer's `ack_wait_s`.
    """

    polls: int = 64
    per_connection: int = 4
    waiting: int = 64
    keep_s: float = 1.0
    progress_s: float = 10.0


class Work:
    """One log with a signal: waiting for its turn, or under way.

    `again` is a signal that came while the log was under way. The stream keeps one signal a
    log, so the newest delivery stands for all before it, and with the strongest reason that
    any of them gave: a timer must not take the place of a push.
    """

    __slots__ = (
        "again",
        "began",
        "claim",
        "connection",
        "cut_off",
        "delivery",
        "key",
        "signal",
        "since_s",
        "task",
    )

    def __init__(
        self, key: str, envelope: Envelope[Signal], delivery: Delivery, at_s: float
    ) -> None:
        self.key = key
        self.connection = envelope.connection
        self.signal = envelope.data
        self.delivery = delivery
        self.since_s = at_s
        self.again: tuple[Signal, Delivery] | None = None
        self.claim: Claim | None = None
        self.began = False
        self.cut_off = False
        self.task: asyncio.Task[None] | None = None


class SignalHandler:
    """Serves signals. A second signal for a log under way makes it run once more."""

    def __init__(
        self,
        puller: Puller,
        polling: Polling,
        connections: Connections,
        graveyard: Graveyard,
        clock: Clock,
        bounds: Bounds,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._puller = puller
        self._polling = polling
        self._connections = connections
        self._graveyard = graveyard
        self._clock = clock
        self._bounds = bounds
        self._beat = beat
        self._works: dict[str, Work] = {}
        self._turns: Turns[Work] = Turns(bounds.per_connection)
        self._running: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._stopping = False
        connections.on_stop(self._stop_connection)

    # -- tasks --

    async def run(self, stop: Stop) -> None:
        """Fetch and serve until the stop; then finish what is under way."""
        await run_until(stop, self._connections.wait_known())
        try:
            await self._fetch(stop)
            self._stopping = True
            while self._running:
                await asyncio.wait(self._running)
        finally:
            self._stopping = True
            for task in self._running:
                task.cancel()

    async def _fetch(self, stop: Stop) -> None:
        while not stop.requested:
            self._beat()
            room = self._bounds.polls + self._bounds.waiting - len(self._works)
            if room <= 0:
                await self._wait_for_room()
                continue
            try:
                deliveries = await self._puller.fetch(room, FETCH_WAIT_S)
            except BusError as error:
                _log.warning("signals cannot be fetched", action="fetch_failed", reason=str(error))
                await stop.sleep(BUS_RETRY_S)
                continue
            for delivery in deliveries:
                await self._accept(delivery)
            self._dispatch()

    async def keep(self, stop: Stop) -> None:
        """Renew claims and deliveries of what takes long, until the stop and beyond it."""
        while not stop.requested or self._running:
            await self._clock.sleep(self._bounds.keep_s)
            await asyncio.gather(*map(self._renew, list(self._works.values())))

    async def _renew(self, work: Work) -> None:
        if work.claim is not None:
            await work.claim.renew()
        now_s = self._clock.monotonic_s()
        if now_s - work.since_s >= self._bounds.progress_s:
            work.since_s = now_s
            await self._progress(work)

    async def _wait_for_room(self) -> None:
        self._freed.clear()
        try:
            async with asyncio.timeout(FETCH_WAIT_S):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _progress(self, work: Work) -> None:
        newest = work.delivery if work.again is None else work.again[1]
        try:
            await newest.in_progress()
        except BusError as error:
            _log.warning("a signal was not renewed", action="renew_failed", reason=str(error))

    # -- intake --

    async def _accept(self, delivery: Delivery) -> None:
        """Give a signal its place: a new entry, or the newest word on one that is there."""
        try:
            envelope = _checked(delivery)
        except (InvalidMessageError, InvalidIdError) as error:
            await self._bury(delivery, str(error))
            return
        signal = envelope.data
        key = subjects.log_key(envelope.connection, signal.log)
        work = self._works.get(key)
        if work is None:
            work = Work(key, envelope, delivery, self._clock.monotonic_s())
            self._works[key] = work
            self._turns.add(work.connection, signal.priority, work)
        elif work.task is None:
            replaced = work.delivery
            work.signal, work.delivery = merged(work.signal, signal), delivery
            await self._supersede(replaced, delivery)
        elif work.again is None:
            work.again = (signal, delivery)
        else:
            waiting, replaced = work.again
            work.again = (merged(waiting, signal), delivery)
            await self._supersede(replaced, delivery)

    async def _supersede(self, old: Delivery, new: Delivery) -> None:
        """Settle a delivery whose message the stream has replaced: it only holds a place."""
        if old.stream_sequence < new.stream_sequence:
            await self._settle(old, Done(outcome="superseded"))

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        _log.error("a signal went to the dead letters", action="dead", reason=reason)
        letter = dead_delivery("poller", subjects.SIGNAL.name, delivery, reason, self._clock.now())
        try:
            await self._graveyard.bury([letter])
        except BusError as error:
            _log.warning("a dead letter was not written", action="bury_failed", reason=str(error))
            return  # it comes again
        await self._settle(delivery, Done(outcome="dead"))

    # -- serving --

    def under_way(self, key: str) -> bool:
        """Say whether a log has a signal in this process."""
        return key in self._works

    def _dispatch(self) -> None:
        """Start whatever may start."""
        while not self._stopping and len(self._running) < self._bounds.polls:
            work = self._turns.next()
            if work is None:
                break
            work.task = asyncio.create_task(self._serve(work), name=f"poll-{work.key}")
            self._running.add(work.task)
            work.task.add_done_callback(self._running.discard)
        metrics.IN_FLIGHT.set(len(self._running))
        metrics.WAITING.set(len(self._turns))

    async def _serve(self, work: Work) -> None:
        """Serve one signal; then make room, or queue again if another came meanwhile."""
        work.began = True
        try:
            outcome = await self._poll(work)
            if work.again is None:
                await self._settle(work.delivery, outcome)
            else:
                await self._supersede(work.delivery, work.again[1])
                if isinstance(outcome, GiveBack):
                    work.again = (merged(work.signal, work.again[0]), work.again[1])
        finally:
            work.claim = None
            work.task = None
            work.began = work.cut_off = False
            self._turns.done(work.connection)
            if work.again is None:
                del self._works[work.key]
            else:
                work.signal, work.delivery = work.again
                work.again = None
                self._turns.add(work.connection, work.signal.priority, work)
            self._freed.set()
            asyncio.get_running_loop().call_soon(self._dispatch)

    async def _poll(self, work: Work) -> Outcome:
        """Poll once; every error ends as an outcome."""
        delivery = work.delivery
        if not self._connections.pollable(work.connection):
            heard_of = self._connections.heard_of(work.connection)
            if heard_of or delivery.deliveries >= UNKNOWN_DELIVERIES:
                return Done(outcome="not_active")
            return GiveBack(delay_s=UNKNOWN_RETRY_S, reason="unknown_connection")

        def on_claim(claim: Claim) -> None:
            work.claim = claim

        with continue_trace(delivery.headers.get("traceparent"), "poll"):
            try:
                urgent.set(work.signal.reason in {"push", "operator"})
                return await self._polling.poll(
                    work.key,
                    work.signal,
                    deliveries=delivery.deliveries,
                    on_claim=on_claim,
                )
            except BusError as error:
                _log.warning("a poll lost the bus", action="poll_bus", reason=str(error))
                return GiveBack(delay_s=BUS_RETRY_S, reason="bus")
            except Exception:  # noqa: BLE001 - one bad signal must not end the others
                _log.exception("a signal failed by a bug", action="signal_bug", key=work.key)
                return GiveBack(delay_s=BUG_RETRY_S, reason="bug")
            except asyncio.CancelledError:
                if not work.cut_off or work.task is None:
                    raise
                work.task.uncancel()
                return Done(outcome="stopped")

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Tell the broker; if it does not hear, the signal comes again and does no harm."""
        try:
            if isinstance(outcome, GiveBack):
                metrics.POLLS.add(outcome="given_back")
                await delivery.nak(outcome.delay_s)
            else:
                metrics.POLLS.add(outcome=outcome.outcome)
                await delivery.ack()
        except BusError as error:
            _log.warning("a signal was not settled", action="settle_failed", reason=str(error))

    def cut_off(self, key: str) -> None:
        """End the turn of one log at once; its record must say why it may not go on."""
        work = self._works.get(key)
        # One that has not begun will find by itself that it may not.
        if work is not None and work.task is not None and work.began:
            work.cut_off = True
            work.task.cancel()

    def _stop_connection(self, connection: str) -> None:
        """Stop at once what is under way for a connection that may no longer be read."""
        for work in list(self._works.values()):
            if work.connection == connection:
                self.cut_off(work.key)


def _checked(delivery: Delivery) -> Envelope[Signal]:
    """Return the signal in a delivery; it must be about the log that its subject names."""
    envelope = SIGNALS.decode(delivery.data)
    subject = subjects.signal(envelope.tenant, envelope.connection, envelope.data.log)
    if subject != delivery.subject:
        raise InvalidMessageError("the signal names another log than its subject")
    return envelope
