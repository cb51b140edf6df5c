"""Group commit: pokes become durable signals together, and are answered together.

With `sync_interval: always` a publish is an fsync. While one batch is on its way, pokes
gather, one signal a log however many pushes; the next batch takes them all. So a slow disk
makes batches larger instead of answers slower by the number of pokes.
"""

import asyncio
import datetime as dt
from functools import lru_cache
from typing import Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.envelope import HEADERS
from drivewake.contracts.ids import new_id
from drivewake.contracts.signals import Signal, signal_message
from drivewake.runtime.bus import Message, Publisher
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusError, DrivewakeError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.telemetry import TRACEPARENT
from drivewake.webhook.metrics import BATCH_POKES, COMMIT_DURATION, POKE_WAIT, SIGNALS
from drivewake.webhook.tokens import Subject

SOURCE: Final = "/drivewake/webhook"
PUSH_PRIORITY: Final = 2
MAX_BATCH: Final = 500
MAX_WAITING: Final = 20_000
IN_FLIGHT: Final = 2
_log = get_logger(__name__)


class NotCommittedError(DrivewakeError):
    """The signal is not durable: the poke must be sent again."""


class GroupCommit:
    """Turns pokes into signals. `submit` returns once JetStream holds a signal made after it.

    At most `max_waiting` pokes wait; more are refused at once. Run `run` once as a task.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        clock: Clock | None = None,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._publisher = publisher
        self._clock = clock or SystemClock()
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: dict[Subject, _Poked] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._closed = False

    async def submit(self, subject: Subject, traceparent: str | None = None) -> None:
        """Return when a signal for the log is durable; NotCommittedError if it may not be.

        The signal carries the trace of the first poke that it stands for.
        """
        if self._closed or self._count >= self._max_waiting:
            raise NotCommittedError("too many pokes wait for the broker")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        poked = self._waiting.get(subject)
        if poked is None:
            poked = _Poked(traceparent, self._clock.monotonic_s(), [])
            self._waiting[subject] = poked
        poked.futures.append(future)
        self._count += 1
        self._wake.set()
        await future

    async def run(self, stop: Stop) -> None:
        """Write batches until the stop, then what still waits."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(IN_FLIGHT):
                    group.create_task(self._write(stop), name=f"commit-{number}")
                await stop.wait()
                self._wake.set()
        finally:
            self._closed = True
            for poked in self._take(len(self._waiting)).values():
                _settle(poked.futures, NotCommittedError("the service stops"))

    async def _write(self, stop: Stop) -> None:
        while True:
            if not self._waiting:
                if stop.requested:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._commit(self._take(self._max_batch))

    def _take(self, most: int) -> "dict[Subject, _Poked]":
        if len(self._waiting) <= most:
            taken, self._waiting = self._waiting, {}
        else:
            names = [name for name, _ in zip(self._waiting, range(most), strict=False)]
            taken = {name: self._waiting.pop(name) for name in names}
        self._count -= sum(len(poked.futures) for poked in taken.values())
        return taken

    async def _commit(self, batch: "dict[Subject, _Poked]") -> None:
        now = self._clock.now()
        began_s = self._clock.monotonic_s()
        name = new_id()  # one draw of randomness a write
        messages = [
            _signal(subject, now, f"{name}-{number}", poked.traceparent)
            for number, (subject, poked) in enumerate(batch.items())
        ]
        futures = [future for poked in batch.values() for future in poked.futures]
        try:
            if len(messages) == 1:
                await self._publisher.publish(messages[0])
            else:
                await self._publisher.publish_batch(messages)
        except BusError as error:
            SIGNALS.add(len(messages), outcome="failed")
            _log.warning(
                "signals were not taken",
                action="signals_failed",
                signals=len(messages),
                pokes=len(futures),
                error=str(error),
            )
            _settle(futures, NotCommittedError(str(error)))
            return
        except BaseException as error:
            _settle(futures, NotCommittedError(type(error).__name__))
            raise
        SIGNALS.add(len(messages), outcome="taken")
        BATCH_POKES.observe(len(futures))
        ended_s = self._clock.monotonic_s()
        COMMIT_DURATION.observe(ended_s - began_s)
        POKE_WAIT.observe(ended_s - next(iter(batch.values())).since_s)
        _settle(futures, None)


class _Poked(msgspec.Struct, gc=False):
    """The pokes of one log that wait: whose trace they carry, since when, who waits."""

    traceparent: str | None
    since_s: float
    futures: list[asyncio.Future[None]]


def _signal(subject: Subject, now: dt.datetime, name: str, traceparent: str | None) -> Message:
    """Return the signal of one log. No message id: a repeat must not be dropped."""
    signal = Signal(log=subject.log, reason="push", requested_at=now, priority=PUSH_PRIORITY)
    return Message(
        subject=_address(subject),
        data=signal_message(
            source=SOURCE,
            tenant=subject.tenant,
            connection=subject.connection,
            signal=signal,
            traceparent=traceparent,
            id=name,
        ),
        headers=HEADERS if traceparent is None else {**HEADERS, TRACEPARENT: traceparent},
    )


@lru_cache(maxsize=16_384)
def _address(subject: Subject) -> str:
    return subjects.signal(subject.tenant, subject.connection, subject.log)


def _settle(futures: list[asyncio.Future[None]], error: NotCommittedError | None) -> None:
    for future in futures:
        if future.done():  # whoever waited is gone
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
