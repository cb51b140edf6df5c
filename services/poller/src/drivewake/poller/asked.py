"""Takes requests from DRIVE_REQUEST, one by one, never coalesced."""

import asyncio
from typing import Final

from drivewake.contracts import subjects
from drivewake.contracts.envelope import HEADERS, Envelope, InvalidMessageError
from drivewake.contracts.ids import InvalidIdError
from drivewake.contracts.requests import ANSWER_TYPE, ANSWERS, REQUESTS, Answer, Request
from drivewake.gdrive.errors import RetryError
from drivewake.poller import metrics
from drivewake.poller.answering import Answering
from drivewake.poller.connections import Connections
from drivewake.poller.outgoing import SOURCE
from drivewake.runtime.bus import Delivery, Message, Publisher, Puller
from drivewake.runtime.clock import Clock
from drivewake.runtime.dead import Graveyard, dead_delivery
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.telemetry import continue_trace

FETCH_WAIT_S: Final = 1.0
BUS_RETRY_S: Final = 1.0
UNKNOWN_RETRY_S: Final = 0.5
UNKNOWN_DELIVERIES: Final = 6
MAX_BACKOFF_S: Final = 64.0
TELL_S: Final = 2.0
"""How often the progress of a request is told."""

KEEP_S: Final = 15.0
"""How often a delivery is kept, well within the consumer's `ack_wait_s`."""

EXPIRES_S: Final = 6 * 3600.0
"""After so long a request that still cannot be answered has failed."""

_log = get_logger(__name__)


class RequestHandler:
    """Serves requests, at most `concurrency` at a time. Each ends in an answer."""

    def __init__(
        self,
        puller: Puller,
        answering: Answering,
        connections: Connections,
        publisher: Publisher,
        graveyard: Graveyard,
        clock: Clock,
        *,
        concurrency: int,
    ) -> None:
        self._puller = puller
        self._answering = answering
        self._connections = connections
        self._publisher = publisher
        self._graveyard = graveyard
        self._clock = clock
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: Stop) -> None:
        """Fetch and serve until the stop; what is then under way comes again elsewhere."""
        try:
            while not stop.requested:
                room = self._concurrency - len(self._running)
                if room <= 0:
                    await asyncio.wait(
                        self._running,
                        timeout=FETCH_WAIT_S,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    continue
                for delivery in await self._fetch(room, stop):
                    task = asyncio.create_task(self._serve(delivery), name="request")
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
        finally:
            for task in self._running:
                task.cancel()

    async def _fetch(self, room: int, stop: Stop) -> list[Delivery]:
        try:
            return list(await self._puller.fetch(room, FETCH_WAIT_S))
        except BusError as error:
            _log.warning("requests cannot be fetched", action="fetch_failed", reason=str(error))
            await stop.sleep(BUS_RETRY_S)
            return []

    async def _serve(self, delivery: Delivery) -> None:
        try:
            envelope = _checked(delivery)
        except (InvalidMessageError, InvalidIdError) as error:
            await self._bury(delivery, str(error))
            return
        with continue_trace(delivery.headers.get("traceparent"), "request"):
            try:
                await self._answer(envelope, delivery)
            except BusError as error:
                _log.warning("a request waits", action="request_bus", reason=str(error))
                await self._give_back(delivery, BUS_RETRY_S)
            except Exception:  # noqa: BLE001 - one request must not end the others
                _log.exception("a request failed by a bug", action="request_bug")
                await self._end(envelope, delivery, _failed(envelope, "a bug of ours", self._clock))

    async def _answer(self, envelope: Envelope[Request], delivery: Delivery) -> None:
        connection = envelope.connection
        if not self._connections.pollable(connection):
            heard_of = self._connections.heard_of(connection)
            if not heard_of and delivery.deliveries < UNKNOWN_DELIVERIES:
                await self._give_back(delivery, UNKNOWN_RETRY_S)
                return
            reason = "the connection is not active" if heard_of else "there is no such connection"
            await self._end(envelope, delivery, _failed(envelope, reason, self._clock))
            return
        told = _Telling(self, envelope, delivery, self._clock)
        try:
            answer = await self._answering.answer(
                envelope.tenant, connection, envelope.id, envelope.data, told.progress
            )
        except RetryError as error:
            age_s = (self._clock.now() - envelope.data.requested_at).total_seconds()
            if age_s > EXPIRES_S:
                await self._end(envelope, delivery, _failed(envelope, str(error), self._clock))
                return
            backoff_s = min(2.0 ** min(delivery.deliveries, 10), MAX_BACKOFF_S)
            await self._give_back(delivery, max(backoff_s, error.retry_after_s or 0.0))
            return
        await self._end(envelope, delivery, answer)

    async def tell(self, envelope: Envelope[Request], answer: Answer) -> None:
        """Publish how a request goes. Raises BusError."""
        subject = subjects.answer(envelope.tenant, envelope.connection, envelope.id)
        body = ANSWERS.encode(
            Envelope(
                id=f"{envelope.id}-{answer.state}",
                source=SOURCE,
                type=ANSWER_TYPE,
                time=answer.at,
                tenant=envelope.tenant,
                connection=envelope.connection,
                data=answer,
            )
        )
        await self._publisher.publish(Message(subject=subject, data=body, headers=HEADERS))

    async def _end(self, envelope: Envelope[Request], delivery: Delivery, answer: Answer) -> None:
        """Tell the answer, then settle: a crash between them answers again."""
        metrics.REQUESTS.add(kind=answer.kind, state=answer.state)
        try:
            await self.tell(envelope, answer)
            await delivery.ack()
        except BusError as error:
            _log.warning("an answer was not told", action="answer_failed", reason=str(error))

    async def _give_back(self, delivery: Delivery, delay_s: float) -> None:
        try:
            await delivery.nak(delay_s)
        except BusError as error:
            _log.warning("a request was not settled", action="settle_failed", reason=str(error))

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        _log.error("a request went to the dead letters", action="dead", reason=reason)
        letter = dead_delivery("poller", subjects.REQUEST.name, delivery, reason, self._clock.now())
        try:
            await self._graveyard.bury([letter])
            await delivery.ack()
        except BusError as error:
            _log.warning("a dead letter was not written", action="bury_failed", reason=str(error))


class _Telling:
    """Keeps one delivery while its work lasts, and tells now and then how far it is."""

    def __init__(
        self,
        handler: RequestHandler,
        envelope: Envelope[Request],
        delivery: Delivery,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._envelope = envelope
        self._delivery = delivery
        self._clock = clock
        self._told_s = self._kept_s = clock.monotonic_s()

    async def progress(self, answer: Answer) -> None:
        """Tell and keep, if it is time."""
        now_s = self._clock.monotonic_s()
        if now_s - self._kept_s >= KEEP_S:
            self._kept_s = now_s
            await self._delivery.in_progress()
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            await self._handler.tell(self._envelope, answer)


def _failed(envelope: Envelope[Request], reason: str, clock: Clock) -> Answer:
    return Answer(
        request=envelope.id,
        kind=envelope.data.kind,
        state="failed",
        at=clock.now(),
        reason=reason,
    )


def _checked(delivery: Delivery) -> Envelope[Request]:
    """Return the request in a delivery; its subject must name it."""
    envelope = REQUESTS.decode(delivery.data)
    subject = subjects.request(envelope.tenant, envelope.connection, envelope.id)
    if subject != delivery.subject:
        raise InvalidMessageError("the request names another connection or id than its subject")
    return envelope
