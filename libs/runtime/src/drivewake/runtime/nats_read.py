"""Reading streams and buckets of NATS without consuming them."""

import asyncio
import base64
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error

from drivewake.runtime.bus import Entry, StoredMessage
from drivewake.runtime.errors import (
    BusError,
    BusUnavailableError,
    ConflictError,
    NotFoundError,
)
from drivewake.runtime.nats_link import Link
from drivewake.runtime.nats_pull import Position, PullInbox, plain_headers

FOLLOW_BATCH: Final = 500
RETRY_S: Final = 0.2
INACTIVE_S: Final = 60
"""The broker forgets a follower's consumer after this long without a pull."""

_DELETED: Final = frozenset({"DEL", "PURGE"})
OPERATION: Final = "KV-Operation"
EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"


def parse_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a stored message (`NATS/1.0`, then `Name: value` lines)."""
    lines = block.split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines if line)
    return {
        k.strip().decode("ascii", "replace"): v.strip().decode("utf-8", "replace")
        for k, _, v in pairs
    }


def instant(text: str) -> dt.datetime:
    """Return an RFC 3339 instant of nats-server (nanoseconds) as UTC, microseconds."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}.{rest[:6]:0<6}+00:00")


def from_ns(nanoseconds: int) -> dt.datetime:
    """Return nanoseconds since 1970 as UTC, microseconds."""
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=nanoseconds // 1000)


class StreamView:
    """Reads of one connection; stream names are as the broker knows them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def last(self, stream: str, subject: str) -> tuple[StoredMessage, dict[str, str]] | None:
        """Return the newest message on a subject with all its headers, from the leader."""
        try:
            answer = await self._link.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except NotFoundError as error:
            if "10037" in str(error):
                return None
            raise
        message = answer["message"]
        headers = parse_headers(base64.b64decode(message.get("hdrs", "")))
        stored = StoredMessage(
            subject=message["subject"],
            data=base64.b64decode(message.get("data", "")),
            headers=plain_headers(headers),
            sequence=message["seq"],
            time=instant(message["time"]),
        )
        return stored, headers

    async def info(self, stream: str) -> dict[str, Any]:
        """Return configuration and state of a stream."""
        return await self._link.api(f"STREAM.INFO.{stream}")

    async def follow(
        self, stream: str, *, filters: list[str], start: int, latest: bool
    ) -> AsyncGenerator[StoredMessage | None, None]:
        """Follow a stream through its subjects as the broker knows them."""
        follower = _Follower(self._link, self, stream, filters, start, latest=latest)
        try:
            async for message in follower.messages():
                yield message
        finally:
            await follower.close()


class _Follower:
    """An ordered consumer: ephemeral, without acks, made anew wherever it breaks."""

    def __init__(
        self,
        link: Link,
        view: StreamView,
        stream: str,
        filters: list[str],
        start: int,
        *,
        latest: bool,
    ) -> None:
        self._link = link
        self._view = view
        self._stream = stream
        self._filters = filters
        self._start = start
        self._latest = latest
        self._seen = 0
        self._awaited = 0
        self._caught_up = False
        self._name = ""
        self._inbox: PullInbox | None = None
        self._expected = 1

    async def messages(self) -> AsyncIterator[StoredMessage | None]:
        """Yield for ever; None once, when what was there at the start has been yielded."""
        await self._create()
        while True:
            if not self._caught_up and self._awaited <= self._seen:
                self._caught_up = True
                yield None
            try:
                batch = await self._pull()
            except (BusUnavailableError, NotFoundError):
                await self._recover()
                continue
            for message in batch:
                position = Position(message.reply)
                if position.consumer_sequence != self._expected:
                    await self._recover()
                    break
                self._expected += 1
                if position.stream_sequence <= self._seen:
                    continue
                self._seen = position.stream_sequence
                yield StoredMessage(
                    subject=message.subject,
                    data=message.data,
                    headers=dict(message.headers or {}),
                    sequence=position.stream_sequence,
                    time=from_ns(position.time_ns),
                )
                if not self._caught_up and self._awaited <= self._seen:
                    self._caught_up = True
                    yield None

    async def _pull(self) -> list[Any]:
        if self._inbox is None:
            raise BusUnavailableError
        batch = await self._inbox.pull(FOLLOW_BATCH, 5.0 if self._caught_up else 0.0)
        if not batch and not self._caught_up and not await self._pending():
            # What was there is gone meanwhile (age, size, consumed): nothing to wait for.
            self._awaited = 0
        return batch

    async def _pending(self) -> int:
        """Return how many messages wait: a pull that a busy broker let expire says nothing."""
        info = await self._link.api(f"CONSUMER.INFO.{self._stream}.{self._name}")
        return int(info["num_pending"])

    async def _recover(self) -> None:
        """Make the consumer anew after the last message seen, as often as it takes."""
        while True:
            if self._link.closed:
                raise BusUnavailableError("the connection to the broker is closed")
            with contextlib.suppress(BusUnavailableError):
                await self._link.ready(5.0)
                await self.close()
                await self._create()
                return
            await asyncio.sleep(RETRY_S)

    async def _create(self) -> None:
        info = await self._view.info(self._stream)
        if info["config"]["retention"] == "workqueue":
            raise BusError(f"{self._stream} is a work queue: only its consumers read it")
        last = int(info["state"]["last_seq"])
        if last < self._seen:
            raise BusError(f"{self._stream} ends at {last}, before {self._seen} that was read")
        if not self._seen and not self._caught_up:
            self._awaited = last
        config: dict[str, Any] = {
            "name": f"follow-{secrets.token_hex(8)}",
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * 1_000_000_000,
        }
        if self._latest and not self._caught_up:
            config["deliver_policy"] = "last_per_subject"
        else:
            config["deliver_policy"] = "by_start_sequence"
            config["opt_start_seq"] = max(self._start, self._seen + 1)
        filters = self._filters or (list(info["config"]["subjects"]) if self._latest else [])
        verb = f"CONSUMER.CREATE.{self._stream}.{config['name']}"
        if len(filters) == 1:
            config["filter_subject"] = filters[0]
            verb = f"{verb}.{filters[0]}"
        elif filters:
            config["filter_subjects"] = filters
        answer = await self._link.api(verb, {"stream_name": self._stream, "config": config})
        if not self._caught_up and not int(answer["num_pending"]):
            self._awaited = 0
        self._name = config["name"]
        self._expected = 1
        self._inbox = PullInbox(self._link, self._stream, self._name)
        await self._inbox.open()

    async def close(self) -> None:
        """Forget the consumer; the broker would too, a little later."""
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        await inbox.close()
        if self._link.connected:
            with contextlib.suppress(Error, OSError):
                client: Client = self._link.client
                await client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")


class NatsKeyValue:
    """One bucket, as ADR-8 lays it out, by compare-and-set."""

    def __init__(self, link: Link, view: StreamView, bucket: str) -> None:
        self._link = link
        self._view = view
        self._stream = f"KV_{bucket}"
        self._base = f"$KV.{bucket}."

    async def open(self) -> None:
        """Bind; NotFoundError if the bucket was not provisioned."""
        await self._view.info(self._stream)

    async def _current(self, key: str) -> Entry | None:
        """Return the newest entry of a key, deleted ones too."""
        found = await self._view.last(self._stream, self._base + key)
        if found is None:
            return None
        stored, headers = found
        return self._entry(stored, deleted=headers.get(OPERATION) in _DELETED)

    def _entry(self, stored: StoredMessage, *, deleted: bool) -> Entry:
        return Entry(
            key=stored.subject.removeprefix(self._base),
            value=None if deleted else stored.data,
            revision=stored.sequence,
        )

    async def get(self, key: str) -> Entry | None:
        """Return the current value from the leader, None if the key is absent or deleted."""
        entry = await self._current(key)
        return entry if entry is not None and entry.value is not None else None

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """Write if the key's revision is `revision` (0: absent or deleted)."""
        try:
            return await self._write(key, value, revision, {})
        except ConflictError:
            if revision != 0:
                raise
            entry = await self._current(key)
            if entry is None or entry.value is not None:
                raise
            return await self._write(key, value, entry.revision, {})

    async def delete(self, key: str, *, revision: int) -> None:
        """Delete if the key's revision is `revision`, else ConflictError."""
        if revision == 0:
            if await self.get(key) is not None:
                raise ConflictError
            return
        await self._write(key, b"", revision, {OPERATION: "DEL"})

    async def _write(self, key: str, value: bytes, revision: int, more: dict[str, str]) -> int:
        headers = {EXPECTED_SUBJECT: str(revision), **more}
        answer = await self._link.ask(self._base + key, value, headers=headers)
        return int(answer["seq"])

    async def watch(self, pattern: str = ">") -> AsyncIterator[Entry | None]:
        """Yield the current entries, then None once, then every change for ever."""
        current = True
        messages = self._view.follow(
            self._stream, filters=[self._base + pattern], start=1, latest=True
        )
        async with contextlib.aclosing(messages):
            async for stored in messages:
                if stored is None:
                    current = False
                    yield None
                    continue
                deleted = stored.headers.get(OPERATION) in _DELETED
                if not (deleted and current):
                    yield self._entry(stored, deleted=deleted)
