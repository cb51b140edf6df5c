"""What the poller knows, kept from buckets: the log records and the push channels."""

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence

import msgspec

from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.poller.loops import run_until
from drivewake.poller.metrics import LOGS
from drivewake.poller.ports import Held, key_of
from drivewake.runtime.bus import Entry, KeyValue, KeyValueReader
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

_log = get_logger(__name__)
_encoder = msgspec.json.Encoder()
_log_records = msgspec.json.Decoder(LogRecord)
_channel_records = msgspec.json.Decoder(ChannelRecord)


class BusLogs:
    """Log records in the bucket `logs`; a watch keeps all of them at hand.

    Kept encoded, at less than a kilobyte each: 100,000 idle logs are no burden.
    """

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._kept: dict[str, tuple[int, bytes]] = {}
        self._of: dict[str, tuple[str, ...]] = {}
        self.loaded = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Follow the bucket until the stop."""
        await run_until(stop, self._follow())

    async def wait_loaded(self, stop: Stop) -> None:
        """Wait until the records that existed at the start are at hand, or for the stop."""
        await run_until(stop, _wait(self.loaded))

    async def _follow(self) -> None:
        async for entry in self._bucket.watch():
            if entry is None:
                self.loaded.set()
            else:
                self._take(entry)
                LOGS.set(len(self._kept))

    def _take(self, entry: Entry) -> None:
        """Keep what is newer than what we have: our own writes come back late."""
        revision, _ = self._kept.get(entry.key, (0, b""))
        if entry.revision <= revision:
            return
        connection = entry.key.partition(".")[0]
        others = tuple(key for key in self._of.get(connection, ()) if key != entry.key)
        if entry.value is None:
            self._kept.pop(entry.key, None)
        else:
            self._kept[entry.key] = (entry.revision, entry.value)
            others = (*others, entry.key)
        if others:
            self._of[connection] = others
        else:
            self._of.pop(connection, None)

    def cached(self, key: str) -> Held | None:
        """Return what this process last saw of a record."""
        found = self._kept.get(key)
        return None if found is None else _held(key, *found)

    def of_connection(self, connection: str) -> Sequence[Held]:
        """Return the cached records of one connection."""
        held = (self.cached(key) for key in self._of.get(connection, ()))
        return [one for one in held if one is not None]

    def all(self) -> Iterable[tuple[str, Held]]:
        """Iterate over a copy of all cached records by key."""
        for key, (revision, value) in list(self._kept.items()):
            held = _held(key, revision, value)
            if held is not None:
                yield key, held

    async def read(self, key: str) -> Held | None:
        """Return the current record."""
        entry = await self._bucket.get(key)
        if entry is None or entry.value is None:
            return None
        self._take(entry)
        return _held(key, entry.revision, entry.value)

    async def save(self, held: Held, record: LogRecord) -> Held:
        """Replace `held` by `record`."""
        key = key_of(record)
        value = _encoder.encode(record)
        revision = await self._bucket.put(key, value, revision=held.revision)
        self._take(Entry(key=key, value=value, revision=revision))
        return Held(record=record, revision=revision)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _held(key: str, revision: int, value: bytes) -> Held | None:
    try:
        return Held(record=_log_records.decode(value), revision=revision)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # Only pollers write here: a newer one may know shapes that we do not.
        _log.error("a log record cannot be read", action="bad_record", key=key, reason=str(error))
        return None


class BusChannels:
    """Push channels in the bucket `channels`, as webhook writes them."""

    def __init__(self, bucket: KeyValueReader) -> None:
        self._bucket = bucket
        self._log_of: dict[str, str] = {}
        self._live: dict[str, dict[str, dt.datetime]] = {}

    async def run(self, stop: Stop) -> None:
        """Follow the bucket until the stop."""
        await run_until(stop, self._follow())

    async def _follow(self) -> None:
        async for entry in self._bucket.watch():
            if entry is not None:
                self._take(entry)

    def _take(self, entry: Entry) -> None:
        log = self._log_of.pop(entry.key, "")
        channels = self._live.get(log, {})
        channels.pop(entry.key, None)
        if not channels:
            self._live.pop(log, None)
        if entry.value is None:
            return
        try:
            channel = _channel_records.decode(entry.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.error("a channel cannot be read", action="bad_record", reason=str(error))
            return
        if channel.status == "live":
            self._log_of[entry.key] = channel.log
            self._live.setdefault(channel.log, {})[entry.key] = channel.expires_at

    def alive(self, log: str, now: dt.datetime) -> bool:
        """Say whether a push channel of this log is live and not expired."""
        return any(expires_at > now for expires_at in self._live.get(log, {}).values())
