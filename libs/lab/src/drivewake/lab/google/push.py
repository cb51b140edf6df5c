"""Push delivery: channels, their message numbers, one bounded queue each, retries.

A notification is a POST without body whose headers say which channel saw what. Google
counts 200, 201, 202, 204 and 102 as success, retries 500, 502, 503 and 504 with exponential
backoff and gives up on anything else. A receiver that cannot be reached at all is not
retried either; Google does not document that case, and a client must survive both ways.
"""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import NamedTuple

import aiohttp

from drivewake.lab.google.faults import Faults
from drivewake.lab.google.ids import Ids
from drivewake.lab.google.ledger import Ledger, PushFact
from drivewake.lab.google.profiles import Profile
from drivewake.lab.google.robots import AGENT, Robots

_SUCCESS = frozenset({102, 200, 201, 202, 204})
_RETRIED = frozenset({500, 502, 503, 504})
_USER_AGENT = f"{AGENT}; (+https://developers.google.com/webmasters/APIs-Google.html)"


class Message(NamedTuple):
    """One notification, due at a monotonic time; compared by that time, then by number."""

    due_s: float
    number: int
    attempt: int
    state: str
    changes: int
    changed: str | None = None


@dataclass(slots=True, eq=False)
class Channel:
    """A live channel. `user_email` and `client_id` are who may stop it."""

    id: str
    resource_id: str
    resource_uri: str
    address: str
    token: str | None
    expires_ms: int
    log: str
    user_email: str
    client_id: str
    number: int = 0
    gathering: bool = False
    gathered: int = 0
    queue: list[Message] = field(default_factory=list)
    held: Message | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    worker: "asyncio.Task[None] | None" = None


class Push:
    """All channels of the simulated Google and the tasks that deliver to them."""

    def __init__(
        self,
        profile: Profile,
        ledger: Ledger,
        now_ns: Callable[[], int],
        seed: int,
        faults: Faults,
    ) -> None:
        self._faults = faults
        self._profile = profile
        self._ledger = ledger
        self._now_ns = now_ns
        self._ids = Ids(seed, "push")
        self._session: aiohttp.ClientSession | None = None
        self._robots: Robots | None = None
        self.channels: dict[str, Channel] = {}
        self.used_ids: set[str] = set()
        self._by_log: dict[str, dict[str, Channel]] = {}
        self.watched_files = False

    async def start(self) -> None:
        """Open the client that delivers; before it nothing is sent."""
        timeout = aiohttp.ClientTimeout(total=self._profile.push_timeout_ms / 1000)
        connector = aiohttp.TCPConnector(limit=64, limit_per_host=64)
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        if self._profile.obeys_robots:
            self._robots = Robots(self._session)
        for channel in self.channels.values():
            self._employ(channel)

    async def close(self) -> None:
        """Stop all deliveries; the channels and what waits in them stay."""
        workers = [c.worker for c in self.channels.values() if c.worker is not None]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def open(self, channel: Channel) -> None:
        """Take a channel into service; its first message is `sync`, number 1."""
        self.used_ids.add(channel.id)
        self.watched_files = self.watched_files or channel.log.startswith("file:")
        self._enlist(channel)
        if self._session is not None:
            self._employ(channel)
        channel.number = 1
        self._post(channel, Message(time.monotonic(), 1, 1, "sync", 0))

    def adopt(self, channel: Channel) -> None:
        """Take over a channel of an earlier process, before the start."""
        self._enlist(channel)
        if channel.gathered:
            self._release(channel)

    def _enlist(self, channel: Channel) -> None:
        self.channels[channel.id] = channel
        self._by_log.setdefault(channel.log, {})[channel.id] = channel

    def _employ(self, channel: Channel) -> None:
        channel.worker = asyncio.create_task(self._deliver(channel), name=f"push {channel.id}")

    def stop(self, channel: Channel) -> None:
        """End a channel; what was waiting is not sent. Its id can never be used again."""
        self.channels.pop(channel.id, None)
        self._by_log.get(channel.log, {}).pop(channel.id, None)
        if channel.worker is not None:
            channel.worker.cancel()

    def notify(self, log: str) -> None:
        """Tell the channels of a log that something changed."""
        for channel in list(self._by_log.get(log, {}).values()):
            if channel.expires_ms <= self._now_ns() // 1_000_000:
                self._expire(channel)
                continue
            self._gather(channel)

    def notify_file(
        self, file_id: str, state: str, changed: str | None, sees: Callable[[str], bool]
    ) -> None:
        """Tell the channels of one file; whose user sees it no longer hears `remove`."""
        for channel in list(self._by_log.get(f"file:{file_id}", {}).values()):
            if channel.expires_ms <= self._now_ns() // 1_000_000:
                self._expire(channel)
                continue
            gone = state != "remove" and not sees(channel.user_email)
            channel.number += self._ids.between(1, 3)
            due_s = time.monotonic() + self._profile.push_delay_ms / 1000
            told = ("remove", 1, None) if gone else (state, 1, changed)
            self._post(channel, Message(due_s, channel.number, 1, *told))

    def _gather(self, channel: Channel) -> None:
        window_ms = self._profile.push_coalesce_ms
        channel.gathered += 1
        if channel.gathering:
            return
        if window_ms and self._session is not None:
            channel.gathering = True
            asyncio.get_running_loop().call_later(window_ms / 1000, self._release, channel)
        else:
            self._release(channel)

    def _release(self, channel: Channel) -> None:
        channel.gathering = False
        channel.number += self._ids.between(1, 3)
        due_s = time.monotonic() + self._profile.push_delay_ms / 1000
        self._post(channel, Message(due_s, channel.number, 1, "change", channel.gathered))
        channel.gathered = 0

    def _post(self, channel: Channel, message: Message) -> None:
        """Put a new notification on its way, past the faults that were commanded."""
        copies, held = 1, channel.held
        rules = self._faults.meet_push(channel.user_email, channel.log, self._now_ns())
        for rule in rules:
            if rule.effect == "push_silence":
                self._note(channel, message, 0, "silenced")
                return
            if rule.effect == "push_duplicate":
                copies += rule.copies
            if rule.effect == "push_spelling":
                message = _respelled(message)
            if rule.effect in {"push_delay", "push_reorder"}:
                message = message._replace(due_s=message.due_s + rule.seconds)
        channel.held = None
        if held is not None and held in channel.queue:
            channel.queue.remove(held)
            heapq.heapify(channel.queue)
            self._enqueue(channel, held._replace(due_s=message.due_s + 0.001))
        elif any(rule.effect == "push_reorder" for rule in rules):
            channel.held = message
        for _ in range(copies):
            self._enqueue(channel, message)

    def _enqueue(self, channel: Channel, message: Message) -> None:
        if len(channel.queue) >= self._profile.push_queue:
            oldest = heapq.heappop(channel.queue)
            self._note(channel, oldest, 0, "dropped")
        heapq.heappush(channel.queue, message)
        channel.wake.set()

    async def _deliver(self, channel: Channel) -> None:
        while True:
            while not channel.queue:
                channel.wake.clear()
                await channel.wake.wait()
            wait_s = channel.queue[0].due_s - time.monotonic()
            if wait_s > 0:
                channel.wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(channel.wake.wait(), wait_s)
                continue
            message = heapq.heappop(channel.queue)
            if channel.expires_ms <= self._now_ns() // 1_000_000:
                self._note(channel, message, 0, "expired")
                self._expire(channel)
                return
            try:
                await self._send(channel, message)
            except asyncio.CancelledError:
                heapq.heappush(channel.queue, message)  # nobody knows whether it arrived
                raise

    async def _send(self, channel: Channel, message: Message) -> None:
        assert self._session is not None
        if self._robots is not None and not await self._robots.allow(channel.address):
            self._note(channel, message, 0, "disallowed")
            return
        headers = self._headers(channel, message)
        try:
            async with self._session.post(
                channel.address, headers=headers, data=b"", allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            self._note(channel, message, 0, "unreachable")
            return
        if status in _SUCCESS:
            self._note(channel, message, status, "delivered")
        elif status in _RETRIED and message.attempt < self._profile.push_attempts:
            self._note(channel, message, status, "retrying")
            backoff_s = self._profile.push_retry_base_ms / 1000 * 2 ** (message.attempt - 1)
            jitter_s = backoff_s * self._ids.between(0, 1000) / 4000
            due_s = time.monotonic() + backoff_s + jitter_s
            self._enqueue(channel, message._replace(due_s=due_s, attempt=message.attempt + 1))
        else:
            self._note(channel, message, status, "failed")

    def _headers(self, channel: Channel, message: Message) -> dict[str, str]:
        headers = {
            "User-Agent": _USER_AGENT,
            "Accept": "*/*",
            "Content-Type": "application/json; utf-8",
            "X-Goog-Channel-ID": channel.id,
            "X-Goog-Channel-Expiration": formatdate(channel.expires_ms / 1000, usegmt=True),
            "X-Goog-Resource-State": message.state,
            "X-Goog-Message-Number": str(message.number),
            "X-Goog-Resource-ID": channel.resource_id,
            "X-Goog-Resource-URI": channel.resource_uri,
        }
        if message.changed is not None:
            headers["X-Goog-Changed"] = message.changed
        if channel.token is not None:
            headers["X-Goog-Channel-Token"] = channel.token
        return headers

    def _expire(self, channel: Channel) -> None:
        self._ledger.counts.update(("channels_expired",))
        self.channels.pop(channel.id, None)
        self._by_log.get(channel.log, {}).pop(channel.id, None)
        channel.queue.clear()
        if channel.worker is not None and channel.worker is not asyncio.current_task():
            channel.worker.cancel()

    def _note(self, channel: Channel, message: Message, status: int, outcome: str) -> None:
        fact = PushFact(
            self._ledger.next_n,
            self._now_ns(),
            channel.id,
            channel.log,
            message.number,
            message.state,
            message.attempt,
            status,
            outcome,
            message.changes,
        )
        self._ledger.add(fact, f"push_{outcome}")


def _respelled(message: Message) -> Message:
    """Return a notification as the other half of Google's examples spells it."""
    state = "changed" if message.state == "change" else message.state
    changed = None if message.changed is None else message.changed.replace(",", ", ")
    return message._replace(state=state, changed=changed)
