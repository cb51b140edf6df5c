"""Group commit: pokes become durable signals together, and are answered together.

With `sync_interval: always` a publish is an fsync. While one batch is on its way, pokes
gather, one signal a log however many pushes; the next batch takes them all. So a slow disk
makes batches larger instead of answers slower by the number of pokes.
"""

import asyncio
import datetime as dt
from typing import Final

from drivewake.contracts import subjects
from drivewake.contracts.envelope import HEADERS
from drivewake.contracts.signals import Signal, signal_message
from drivewake.runtime.bus import Message, Publisher
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusError, DrivewakeError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.webhook.metrics import BATCH_POKES, COMMIT_DURATION, SIGNALS
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
        self._waiting: dict[Subject, list[asyncio.Future[None]]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._closed = False

    async def submit(self, subject: Subject) -> None:
        """Return when a signal for the log is durable; NotCommittedError if it may not be."""
        if self._closed or self._count >= self._max_waiting:
            raise NotCommittedError("too many pokes wait for the broker")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(subject, []).append(future)
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
            for futures in self._take(len(self._waiting)).values():
                _settle(futures, NotCommittedError("the service stops"))

    async def _write(self, stop: Stop) -> None:
        while True:
            if not self._waiting:
                if stop.requested:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._commit(self._take(self._max_batch))

    def _take(self, most: int) -> dict[Subject, list[asyncio.Future[None]]]:
        if len(self._waiting) <= most:
            taken, self._waiting = self._waiting, {}
        else:
            names = [name for name, _ in zip(self._waiting, range(most), strict=False)]
            taken = {name: self._waiting.pop(name) for name in names}
        self._count -= sum(map(len, taken.values()))
        return taken

    async def _commit(self, batch: dict[Subject, list[asyncio.Future[None]]]) -> None:
        now = self._clock.now()
        began_s = self._clock.monotonic_s()
        messages = [_signal(subject, now) for subject in batch]
        futures = [future for waiting in batch.values() for future in waiting]
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
        COMMIT_DURATION.observe(self._clock.monotonic_s() - began_s)
        _settle(futures, None)


def _signal(subject: Subject, now: dt.datetime) -> Message:
    """Return the signal of one log. No message id: a repeat must not be dropped."""
    signal = Signal(log=subject.log, reason="push", requested_at=now, priority=PUSH_PRIORITY)
    return Message(
        subject=subjects.signal(subject.tenant, subject.connection, subject.log),
        data=signal_message(
            source=SOURCE, tenant=subject.tenant, connection=subject.connection, signal=signal
        ),
        headers=HEADERS,
    )


def _settle(futures: list[asyncio.Future[None]], error: NotCommittedError | None) -> None:
    for future in futures:
        if future.done():  # whoever waited is gone
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
