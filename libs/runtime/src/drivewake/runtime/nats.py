"""The bus over NATS JetStream: every port of `bus` on one connection."""

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, Final

import nats.micro
from nats.aio.msg import Msg
from nats.errors import Error
from nats.micro.request import Request
from nats.micro.service import Service as MicroService

from drivewake.contracts.subjects import Bucket, Consumer, Stream
from drivewake.runtime.bus import (
    MAX_BATCH,
    Delivery,
    Handler,
    Message,
    Progress,
    PublishAck,
    StoredMessage,
)
from drivewake.runtime.doorbell import Bells
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    ConflictError,
    NotFoundError,
)
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.nats_batch import (
    BATCH_COMMIT,
    BATCH_ID,
    BATCH_SEQUENCE,
    frames,
    headers_of,
    headers_of_many,
)
from drivewake.runtime.nats_dial import CONNECT_TIMEOUT_S, dial
from drivewake.runtime.nats_link import ACK_TIMEOUT_S, Link
from drivewake.runtime.nats_pull import NatsDelivery, NatsPuller, acknowledge, plain_headers
from drivewake.runtime.nats_read import NatsKeyValue, StreamView
from drivewake.runtime.settings import ServiceSettings
from drivewake.runtime.telemetry import TRACEPARENT, continue_trace, with_traceparent

MAX_OPEN_BATCHES: Final = 8
"""nats-server allows 50 open batches a stream, for all writers together."""

CLOSE_S: Final = 2.0
EXPECTED_LAST: Final = "Nats-Expected-Last-Sequence"

_log = get_logger(__name__)


async def connect(
    settings: ServiceSettings | None = None,
    *,
    name: str,
    url: str = "",
    seed: str = "",
    user: str = "",
    prefix: str = "",
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> "NatsBus":
    """Connect by settings, or by the arguments after `name`.

    Raises BusUnavailableError if the broker cannot be reached in time, BusPermissionError if
    it refuses the credentials, ConfigurationError if the seed or the address is malformed.
    """
    if settings is not None:
        url, prefix, user = settings.nats_url, settings.nats_prefix, settings.nats_user
        seed = settings.nats_seed.get_secret_value() if settings.nats_seed else ""
    link = await dial(url, name=name, seed=seed, user=user, prefix=prefix, timeout_s=timeout_s)
    return NatsBus(link)


class NatsBus:
    """Every port of `bus` over one connection; `connect` makes it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._view = StreamView(link)
        self._batches = asyncio.Semaphore(MAX_OPEN_BATCHES)
        self._bells = Bells()
        self._rung: set[str] = set()
        self._services: list[MicroService] = []
        self._answers: set[asyncio.Task[None]] = set()

    # -- Publisher --

    def _ack(self, answer: dict[str, Any]) -> PublishAck:
        stream = str(answer["stream"])
        if self.link.prefix:
            stream = stream.removeprefix(f"{self.link.prefix}_")
        return PublishAck(
            stream=stream, sequence=int(answer["seq"]), duplicate=bool(answer.get("duplicate"))
        )

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Write one message."""
        headers = headers_of(message)
        if expected_last is not None:
            headers[EXPECTED_LAST] = str(expected_last)
        subject = self.link.subject(message.subject)
        return self._ack(await self.link.ask(subject, message.data, headers=headers))

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """Write 1 to 1000 messages of one stream, all or none, next to each other."""
        if not 1 <= len(messages) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages")
        *before, last = messages
        if not before:
            return await self._publish_alone(last, expected_last)
        batch = secrets.token_hex(12)
        headers = headers_of(last) | {
            BATCH_ID: batch,
            BATCH_SEQUENCE: str(len(messages)),
            BATCH_COMMIT: "1",
        }
        pieces = frames(
            before,
            batch=batch,
            subject=self.link.subject,
            headers=headers_of_many(),
            first={} if expected_last is None else {EXPECTED_LAST: str(expected_last)},
            max_payload_bytes=self.link.max_payload_bytes,
        )
        async with self._batches:
            await self.link.ready(ACK_TIMEOUT_S)
            await self.link.write(pieces)
            subject = self.link.subject(last.subject)
            return self._ack(await self.link.ask(subject, last.data, headers=headers))

    async def _publish_alone(self, message: Message, expected_last: int | None) -> PublishAck:
        """Write a batch of one as the message that it is, with a batch's word on known ids.

        Without replicas nats-server lays down a store of files for each batch and removes it
        again: some ten times what one message costs, and most of the way of a single change.
        """
        ack = await self.publish(message, expected_last=expected_last)
        if ack.duplicate:
            raise ConflictError("the stream knows the id of the only message of the batch")
        return ack

    # -- Acknowledger --

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle many deliveries of this bus at once: their effects are durable."""
        own = [each for each in deliveries if isinstance(each, NatsDelivery)]
        if len(own) < len(deliveries):
            raise TypeError("deliveries of another bus")
        await acknowledge(self.link, own)

    # -- Scheduler --

    async def schedule(self, slot: str, target: str, at: dt.datetime, data: bytes) -> None:
        """Publish `data` on `target` at `at` (a past instant: now). A slot holds one schedule."""
        instant = at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        headers = {
            "Nats-Schedule": f"@at {instant}",
            "Nats-Schedule-Target": self.link.subject(target),
        }
        await self.link.ask(self.link.subject(slot), data, headers=headers)

    async def cancel(self, slot: str) -> None:
        """Remove what waits in the slot, if anything.

        A message that dies after a second takes the schedule's place: one message a
        subject, and no right to purge the stream is needed.
        """
        await self.link.ask(self.link.subject(slot), headers={"Nats-TTL": "1s"})

    # -- StreamReader --

    async def last(self, stream: str, subject: str = ">") -> StoredMessage | None:
        """Return the newest message on a subject (wildcards allowed), None if there is none."""
        wire = subject if subject == ">" else self.link.subject(subject)
        found = await self._view.last(self.link.name(stream), wire)
        return self._plain(found[0]) if found else None

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message ever written, 0 in a virgin stream."""
        return int((await self._view.info(self.link.name(stream)))["state"]["last_seq"])

    async def follow(
        self, stream: str, *, subject: str = ">", from_sequence: int = 1, latest: bool = False
    ) -> AsyncGenerator[StoredMessage | None, None]:
        """Yield messages from a sequence on, then new ones for ever."""
        messages = self._view.follow(
            self.link.name(stream),
            filters=[] if subject == ">" else [self.link.subject(subject)],
            start=from_sequence,
            latest=latest,
        )
        async with contextlib.aclosing(messages):
            async for message in messages:
                yield None if message is None else self._plain(message)

    def _plain(self, stored: StoredMessage) -> StoredMessage:
        return StoredMessage(
            subject=self.link.plain(stored.subject),
            data=stored.data,
            headers=plain_headers(stored.headers),
            sequence=stored.sequence,
            time=stored.time,
        )

    # -- Trimmer --

    async def progress(self, consumer: Consumer) -> Progress:
        """Return where a consumer stands; NotFoundError if it does not exist."""
        stream = self.link.name(consumer.stream)
        info = await self.link.api(f"CONSUMER.INFO.{stream}.{consumer.name}")
        return Progress(
            settled_sequence=int(info["ack_floor"]["stream_seq"]),
            unsettled=int(info["num_ack_pending"]),
            waiting=int(info["num_pending"]),
        )

    async def fullness(self, stream: Stream) -> float:
        """Return which share of its size a stream has used, 0 to 1; 0 if it has no limit."""
        info = await self._view.info(self.link.name(stream.name))
        most = int(info["config"]["max_bytes"])
        return int(info["state"]["bytes"]) / most if most > 0 else 0.0

    async def trim(self, consumer: Consumer, sequence: int) -> int:
        """Remove what matches the consumer's filters up to a sequence; return how many."""
        verb = f"STREAM.PURGE.{self.link.name(consumer.stream)}"
        purged = 0
        for subject in consumer.filters:
            request = {"filter": self.link.subject(subject), "seq": sequence + 1}
            purged += int((await self.link.api(verb, request))["purged"])
        return purged

    # -- Requester --

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """Return the answer; BusUnavailableError without one in time or without a responder."""
        try:
            answer = await self.link.request(
                self.link.subject(subject),
                data,
                headers=with_traceparent({}) or None,
                timeout_s=timeout_s,
            )
        except NotFoundError as error:
            raise BusUnavailableError(str(error)) from None
        if answer.headers and (code := answer.headers.get("Nats-Service-Error-Code")):
            raise BusError(f"the responder failed ({code})")
        return answer.data

    async def serve(self, name: str, subject: str, handler: Handler, *, concurrency: int) -> None:
        """Answer requests until the bus closes, at most `concurrency` at a time."""
        slots = asyncio.Semaphore(concurrency)

        async def answer(request: Request) -> None:
            parent = (request.headers or {}).get(TRACEPARENT)
            with continue_trace(parent, f"answer {name}"):
                try:
                    reply = await handler(self.link.plain(request.subject), request.data)
                except Exception:  # noqa: BLE001 - else its repr would go to the caller
                    _log.exception("a handler failed", action="rpc_failed", endpoint=name)
                    await _quietly(request.respond_error("500", "internal error"))
                else:
                    await _quietly(request.respond(reply))
                finally:
                    slots.release()

        async def start(request: Request) -> None:
            # The endpoint is served one by one: a full house makes the next one wait here.
            await slots.acquire()
            task = asyncio.create_task(answer(request), name=f"rpc-{name}")
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

        await self.link.ready(2.0)
        service = await nats.micro.add_service(self.link.client, name=name, version="1.0.0")
        self._services.append(service)
        await service.add_endpoint(name=name, subject=self.link.subject(subject), handler=start)
        await self._flush()

    async def _flush(self) -> None:
        try:
            await self.link.client.flush(timeout=2)
        except (Error, OSError) as error:
            raise BusUnavailableError(f"the broker is not reachable: {error}") from error

    # -- Doorbell --

    async def ring(self, subject: str) -> None:
        """Nudge whoever waits. Never raises for want of a broker."""
        if not self.link.connected:
            return
        with contextlib.suppress(Error, OSError):
            await self.link.client.publish(self.link.subject(subject), b"")

    async def wait(self, subject: str, timeout_s: float) -> bool:
        """Return True as soon as the bell rang since the last wait, False after the timeout."""
        bell = self._bells.bell(subject)
        if subject not in self._rung:

            async def ring(message: Msg) -> None:
                del message
                bell.ring()

            self._rung.add(subject)
            with contextlib.suppress(Error, OSError):
                await self.link.client.subscribe(self.link.subject(subject), cb=ring)
        return await bell.wait(timeout_s)

    # -- Bus --

    async def puller(self, consumer: Consumer) -> NatsPuller:
        """Bind to a durable consumer; NotFoundError if it was not provisioned."""
        puller = NatsPuller(self.link, self.link.name(consumer.stream), consumer.name)
        await puller.open()
        return puller

    async def key_value(self, bucket: Bucket) -> NatsKeyValue:
        """Bind to a bucket; NotFoundError if it was not provisioned."""
        view = NatsKeyValue(self.link, self._view, self.link.name(bucket.name))
        await view.open()
        return view

    async def check(self) -> None:
        """Raise BusUnavailableError unless the broker answers: a readiness check."""
        await self.link.ready(0.5)
        await self._flush()

    async def watch_connection(self, stop: Stop) -> None:
        """Run until the stop; raises if the connection is lost for good (as a service's task)."""
        closed = asyncio.create_task(self.link.wait_closed())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({closed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            stopping.cancel()
        if not stop.requested:
            raise BusUnavailableError("the broker closed the connection for good")

    async def close(self) -> None:
        """Flush and disconnect; everything bound to this bus ends."""
        self.link.closing = True
        if self._answers:
            await asyncio.wait(self._answers, timeout=CLOSE_S)
        if self.link.connected:
            for service in self._services:
                with contextlib.suppress(Error, OSError, TimeoutError):
                    await service.stop()
            with contextlib.suppress(BusUnavailableError):
                await self._flush()
        with contextlib.suppress(Error, OSError):
            await self.link.client.close()
        await self.link.on_closed()


async def _quietly(sending: Awaitable[None]) -> None:
    """Send an answer; who asked may be gone, and that is no reason to fail."""
    try:
        await sending
    except (Error, OSError, ValueError) as error:
        _log.warning("an answer was not sent", action="rpc_unsent", reason=repr(error))
