"""The channels in memory, and their records in the bucket that all replicas share."""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from drivewake.contracts.records import ChannelRecord
from drivewake.runtime.bus import Entry, KeyValue
from drivewake.runtime.errors import BusUnavailableError, ConflictError
from drivewake.runtime.logging import get_logger
from drivewake.webhook.tokens import Subject

MAX_TRIES: Final = 8
LOOK_UPS: Final = 16
LOOK_UP_S: Final = 3.0
_decoder = msgspec.json.Decoder(ChannelRecord)
_encoder = msgspec.json.Encoder()
_log = get_logger(__name__)


class Registry:
    """What is known of channels, by id and by log. Plain memory; newest revision wins."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ChannelRecord, int]] = {}
        self._by_log: dict[Subject, set[str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, channel: str) -> ChannelRecord | None:
        """Return the record of a channel."""
        known = self._known.get(channel)
        return known[0] if known else None

    def of(self, subject: Subject) -> list[ChannelRecord]:
        """Return all records of a log."""
        return [self._known[channel][0] for channel in self._by_log.get(subject, ())]

    def all(self) -> Iterable[ChannelRecord]:
        """Return all records."""
        return (record for record, _ in self._known.values())

    def apply(self, entry: Entry) -> Subject | None:
        """Take over one entry of the bucket; return the log it is about, None if unreadable."""
        known = self._known.get(entry.key)
        if known is not None and entry.revision <= known[1]:
            return subject_of(known[0])
        if entry.value is None:
            return self._drop(entry.key)
        try:
            record = _decoder.decode(entry.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.error(
                "a channel record is unreadable",
                action="channel_unreadable",
                channel=entry.key,
                error=str(error),
            )
            return None
        subject = subject_of(record)
        self._known[entry.key] = (record, entry.revision)
        self._by_log.setdefault(subject, set()).add(entry.key)
        return subject

    def _drop(self, channel: str) -> Subject | None:
        known = self._known.pop(channel, None)
        if known is None:
            return None
        subject = subject_of(known[0])
        siblings = self._by_log.get(subject, set())
        siblings.discard(channel)
        if not siblings:
            self._by_log.pop(subject, None)
        return subject


def subject_of(record: ChannelRecord) -> Subject:
    """Return what a channel watches."""
    return Subject(record.tenant, record.connection, record.log)


class Channels:
    """The registry with its bucket behind it. Every write is by compare-and-set.

    All methods may raise BusUnavailableError.
    """

    def __init__(self, bucket: KeyValue, registry: Registry) -> None:
        self.registry = registry
        self._bucket = bucket
        self.loaded = asyncio.Event()
        self._look_ups = asyncio.Semaphore(LOOK_UPS)

    async def look_up(self, channel: str) -> ChannelRecord | None:
        """Read one record from the bucket itself; a watcher can be blind for seconds.

        While the registry is being read at the start, that is waited for instead.
        """
        try:
            async with asyncio.timeout(LOOK_UP_S):
                await self.loaded.wait()
                known = self.registry.get(channel)
                if known is not None:
                    return known
                async with self._look_ups:
                    return await self._read(channel)
        except TimeoutError:
            raise BusUnavailableError("no look-up in time") from None

    async def create(self, record: ChannelRecord) -> bool:
        """Write the record of a new channel; return False if another replica did."""
        value = _encoder.encode(record)
        try:
            revision = await self._bucket.put(record.channel, value, revision=0)
        except ConflictError:
            await self._read(record.channel)
            return False
        self.registry.apply(Entry(key=record.channel, value=value, revision=revision))
        return True

    async def update(
        self, channel: str, change: Callable[[ChannelRecord], ChannelRecord]
    ) -> ChannelRecord | None:
        """Change a record, again on top of what others wrote; None if it does not exist.

        Raises ConflictError after several lost races.
        """
        for _ in range(MAX_TRIES):
            entry = await self._bucket.get(channel)
            if entry is None or entry.value is None:
                return None
            try:
                before = _decoder.decode(entry.value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.registry.apply(entry)  # says so
                return None
            after = change(before)
            if after == before:
                self.registry.apply(entry)
                return before
            value = _encoder.encode(after)
            try:
                revision = await self._bucket.put(channel, value, revision=entry.revision)
            except ConflictError:
                continue
            self.registry.apply(Entry(key=channel, value=value, revision=revision))
            return after
        raise ConflictError(f"channel {channel}: others kept writing")

    async def forget(self, channel: str) -> None:
        """Delete a record; a race with another replica is no matter."""
        entry = await self._bucket.get(channel)
        if entry is None or entry.value is None:
            return
        try:
            await self._bucket.delete(channel, revision=entry.revision)
        except ConflictError:
            return
        self.registry.apply(Entry(key=channel, value=None, revision=entry.revision + 1))

    async def _read(self, channel: str) -> ChannelRecord | None:
        entry = await self._bucket.get(channel)
        if entry is not None:
            self.registry.apply(entry)
        return self.registry.get(channel)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a genuine push told about its channel."""

    resource: str
    at: dt.datetime
    sync: bool
