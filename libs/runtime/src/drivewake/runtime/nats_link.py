"""One connection to NATS: names with the installation's prefix, errors as our tree.

Nothing outside of the `nats*` modules knows the prefix: it is put on here and taken off.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    BadHeaderError,
    BadSubjectError,
    ConnectionClosedError,
    ConnectionDrainingError,
    Error,
    MaxPayloadError,
    NoRespondersError,
    UnexpectedEOF,
)
from nats.errors import TimeoutError as NatsTimeoutError

from drivewake.runtime import metrics
from drivewake.runtime.errors import (
    BusError,
    BusPermissionError,
    BusUnavailableError,
    ConflictError,
    NotFoundError,
    StreamFullError,
    TooLargeError,
)
from drivewake.runtime.logging import get_logger
from drivewake.runtime.nats_wire import LaneParser

ACK_TIMEOUT_S: Final = 2.0
"""nats-server sends nothing at all when its disk is full or failing: don't wait longer."""

API: Final = "$JS.API"
_KEPT_DENIALS: Final = 64

_log = get_logger(__name__)

CONNECTED: Final = metrics.Gauge("bus_connected", meaning="1 while connected to the broker.")
RECONNECTS: Final = metrics.Counter("bus_reconnects", meaning="Reconnections to the broker.")
DENIALS: Final = metrics.Counter("bus_denials", meaning="Operations that the broker denied.")
ERRORS: Final = metrics.Counter("bus_errors", meaning="Errors that the client library reported.")

_CONFLICTS: Final = frozenset({10070, 10071, 10164, 10201})
_FULL: Final = frozenset({10023, 10028, 10047, 10122})
_TOO_LARGE: Final = frozenset({10054, 10199})
_ABSENT: Final = frozenset({10014, 10037, 10043, 10059})
_STORE_FAILED: Final = 10077
_BATCH_INCOMPLETE: Final = 10176
_SERVER_FAULT: Final = 500


def server_error(error: Mapping[str, Any]) -> BusError:
    """Return the error of our tree for one that JetStream answered."""
    code, kind = int(error.get("code") or 0), int(error.get("err_code") or 0)
    text = f"{error.get('description', 'refused')} ({kind})"
    if kind in _CONFLICTS:
        return ConflictError(text)
    if kind in _FULL or (kind == _STORE_FAILED and "maximum" in text):
        return StreamFullError(text)
    if kind in _TOO_LARGE:
        return TooLargeError(text)
    if kind in _ABSENT:
        return NotFoundError(text)
    if kind == _BATCH_INCOMPLETE or code >= _SERVER_FAULT:
        return BusUnavailableError(text)
    return BusError(text)


class Link:
    """The connection that all parts of a NatsBus share.

    `generation` rises with each loss of the connection; `wakers` are set then, so that
    nobody waits for an answer that cannot come. `denied` holds the latest subjects that the
    broker denied, in lower case as the client library tells them, and when (monotonic).
    """

    def __init__(self, client: Client, prefix: str = "") -> None:
        self.client = client
        self.prefix = prefix
        parser = LaneParser(client)
        client._ps = parser  # noqa: SLF001 - the library offers no way to give it another
        self.lanes = parser.lanes
        """By number of a subscription: who gets its messages at once, past the library."""
        self.generation = 0
        self.wakers: set[asyncio.Event] = set()
        self.refused = asyncio.Event()
        self.closing = False
        self._up = asyncio.Event()
        self._closed = asyncio.Event()
        self.denied: dict[str, float] = {}
        self._limits: dict[str, set[asyncio.Timeout]] = {}

    # -- names --

    def subject(self, subject: str) -> str:
        """Return the subject as the broker knows it."""
        return f"{self.prefix}.{subject}" if self.prefix else subject

    def plain(self, subject: str) -> str:
        """Return the subject as everybody else knows it."""
        return subject[len(self.prefix) + 1 :] if self.prefix else subject

    def name(self, name: str) -> str:
        """Return the name of a stream or bucket as the broker knows it."""
        return f"{self.prefix}_{name}" if self.prefix else name

    # -- callbacks of the client --

    async def on_up(self) -> None:
        """Note that the connection stands (again)."""
        if self.generation:
            RECONNECTS.add()
            _log.info("connected to the broker again", action="bus_reconnected")
        CONNECTED.set(1)
        self._up.set()

    async def on_down(self) -> None:
        """Note that the connection is lost; the client tries to get it back."""
        if self._up.is_set() and not self.closing:
            _log.warning("lost the broker", action="bus_disconnected")
        CONNECTED.set(0)
        self.generation += 1
        self._up.clear()
        for waker in self.wakers:
            waker.set()

    async def on_closed(self) -> None:
        """Note that the connection is gone for good."""
        self._closed.set()
        self._up.set()

    async def on_error(self, error: Exception) -> None:
        """Count what the library reports; remember denials for those who wait in vain."""
        text = str(error)
        if "permissions violation" in text:
            DENIALS.add()
            subject = text.partition('"')[2].partition('"')[0]
            self.denied[subject] = time.monotonic()
            # The answers to these will never come.
            for limit in self._limits.get(subject, ()):
                limit.reschedule(0)
            while len(self.denied) > _KEPT_DENIALS:
                del self.denied[next(iter(self.denied))]
            for waker in self.wakers:
                waker.set()
            _log.warning("the broker denied something", action="bus_denied", reason=text)
            return
        if "authorization violation" in text.lower():
            self.refused.set()
        ERRORS.add()
        # That the connection ended is told by `on_down`.
        if self._up.is_set() and not isinstance(error, UnexpectedEOF):
            _log.warning("the bus reported an error", action="bus_error", reason=repr(error))

    # -- state --

    @property
    def closed(self) -> bool:
        """Whether this connection is gone for good."""
        return self._closed.is_set() or self.client.is_closed

    @property
    def connected(self) -> bool:
        """Whether the connection stands right now."""
        return self._up.is_set() and self.client.is_connected

    async def wait_closed(self) -> None:
        """Wait until the connection is gone for good."""
        await self._closed.wait()

    async def ready(self, timeout_s: float) -> None:
        """Wait for the connection; BusUnavailableError without it in time."""
        if not self._up.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._up.wait()
            except TimeoutError:
                raise BusUnavailableError("not connected to the broker") from None
        if self.closed:
            raise BusUnavailableError("the connection to the broker is closed")

    def check_denied(self, subject: str, since: float) -> None:
        """Raise BusPermissionError if the broker denied this subject since then."""
        if self.denied.get(subject.lower(), -1.0) >= since:
            raise BusPermissionError(f"the broker denies {self.plain_or_api(subject)}")

    def plain_or_api(self, subject: str) -> str:
        """Return a subject for an error message."""
        return subject if subject.startswith("$") else self.plain(subject)

    # -- asking --

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = ACK_TIMEOUT_S,
    ) -> Msg:
        """Ask on a subject as the broker knows it; NotFoundError without a responder."""
        since = time.monotonic()
        await self.ready(timeout_s)
        cancels = _cancels()
        try:
            async with self._limited(subject, timeout_s):
                # The limit around it comes first, unless time is frozen.
                answer = await self.client.request(
                    subject, data, timeout=2 * timeout_s, headers=headers or None
                )
                _heed(cancels)
                return answer
        except NoRespondersError:
            raise NotFoundError(f"nobody answers on {self.plain_or_api(subject)}") from None
        except MaxPayloadError:
            raise TooLargeError from None
        except (NatsTimeoutError, TimeoutError):
            self.check_denied(subject, since)
            raise BusUnavailableError from None
        except (ConnectionClosedError, ConnectionDrainingError):
            raise BusUnavailableError("the connection to the broker is closed") from None
        except (BadSubjectError, BadHeaderError) as error:
            raise BusError(f"not a subject or header: {error}") from None
        except (Error, OSError) as error:
            raise BusUnavailableError(f"the broker is not reachable: {error}") from error
        except asyncio.CancelledError:
            if self.closed and _cancels() == cancels:
                raise BusUnavailableError("the connection to the broker is closed") from None
            raise

    @contextlib.asynccontextmanager
    async def _limited(self, subject: str, timeout_s: float) -> AsyncGenerator[None, None]:
        """Bound a wait; it ends at once when the broker denies the subject."""
        async with asyncio.timeout(timeout_s) as limit:
            key = subject.lower()
            limits = self._limits.setdefault(key, set())
            limits.add(limit)
            try:
                yield
            finally:
                limits.discard(limit)
                if not limits:
                    self._limits.pop(key, None)

    async def send(
        self,
        subject: str,
        data: bytes = b"",
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Publish on a subject as the broker knows it; nobody says whether it arrived."""
        cancels = _cancels()
        try:
            await self.client.publish(subject, data, reply=reply, headers=headers)
            _heed(cancels)
        except MaxPayloadError:
            raise TooLargeError from None
        except (BadSubjectError, BadHeaderError) as error:
            raise BusError(f"not a subject or header: {error}") from None
        except (Error, OSError) as error:
            raise BusUnavailableError(f"the broker is not reachable: {error}") from error

    @property
    def max_payload_bytes(self) -> int:
        """The broker's limit for a message with its headers."""
        return self.client.max_payload

    async def write(self, commands: bytes, *, flush: bool = False) -> None:
        """Write protocol commands as they are; nobody says whether they arrived.

        They reach the socket with the next message at the latest, or now.
        """
        if self.closed:
            raise BusUnavailableError("the connection to the broker is closed")
        cancels = _cancels()
        try:
            await self.client._send_command(commands)  # noqa: SLF001 - there is no other way in
            if flush:
                await self.client._flush_pending()  # noqa: SLF001 - same
            _heed(cancels)
        except (Error, OSError) as error:
            raise BusUnavailableError(f"the broker is not reachable: {error}") from error

    async def ask(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = ACK_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Ask JetStream and return its JSON answer; its errors are raised."""
        try:
            message = await self.request(subject, data, headers=headers, timeout_s=timeout_s)
        except NotFoundError:
            if not subject.startswith("$") and not self._clustered:
                raise NotFoundError(f"no stream takes {self.plain(subject)}") from None
            raise BusUnavailableError("JetStream does not answer") from None
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        if error := answer.get("error"):
            raise server_error(error)
        return answer

    async def api(
        self, verb: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """Call JetStream's API (`STREAM.INFO.name`) and return its answer."""
        data = msgspec.json.encode(body) if body is not None else b""
        return await self.ask(f"{API}.{verb}", data, timeout_s=timeout_s)

    @property
    def _clustered(self) -> bool:
        """In a cluster a stream without a leader looks like none at all."""
        return bool(self.client._server_info.get("cluster"))  # noqa: SLF001 - not offered otherwise


def _cancels() -> int:
    """Return how often the current task was asked to cancel."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _heed(before: int) -> None:
    """Raise CancelledError if the task was cancelled since `before` was taken.

    Without this a cancelled loop may go on for ever: nats-py's `_flush_pending` swallows
    CancelledError, and so does `asyncio.wait_for` of Python 3.11 when the answer comes in
    the same moment.
    """
    if _cancels() > before:
        raise asyncio.CancelledError
