"""Keeps push channels alive: one for every active connection's log, replaced with overlap.

No leader: every replica follows the same streams, plans the same (see `plan`), and the
first to write a channel's record by compare-and-set opens it.
"""

import asyncio
import contextlib
import datetime as dt
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, get_args

import msgspec

from drivewake.contracts.records import ChannelRecord, ChannelStatus
from drivewake.contracts.subjects import CONNECTION
from drivewake.runtime.bus import KeyValueReader, StreamReader
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger
from drivewake.webhook.agenda import Agenda
from drivewake.webhook.domain import Push
from drivewake.webhook.metrics import CHANNELS, EXPIRING
from drivewake.webhook.opener import Opener
from drivewake.webhook.plan import ENDED, Action, Forget, Mark, Open, Policy, plan
from drivewake.webhook.plan import Stop as StopChannel
from drivewake.webhook.registry import Channels, Heard
from drivewake.webhook.tokens import Subject
from drivewake.webhook.world import World

AT_ONCE: Final = 8
RETRY_AFTER: Final = dt.timedelta(seconds=15)
CRASHED_AFTER: Final = dt.timedelta(minutes=5)
REVIEW_S: Final = 60.0
FLUSH_S: Final = 0.5
FLUSH_AT_ONCE: Final = 100
HEARD_EVERY: Final = dt.timedelta(seconds=60)
MAX_NOTES: Final = 100_000
MAX_ORPHANS: Final = 100
_log = get_logger(__name__)
replace = msgspec.structs.replace
Beat = Callable[[str], None]


class Keeper:
    """The loops that keep channels. Each `…_loop` is one task of the service."""

    def __init__(
        self,
        reader: StreamReader,
        logs: KeyValueReader,
        channel_entries: KeyValueReader,
        channels: Channels,
        opener: Opener,
        *,
        policy: Policy,
        clock: Clock | None = None,
    ) -> None:
        self._reader = reader
        self._logs = logs
        self._channel_entries = channel_entries
        self._channels = channels
        self._opener = opener
        self._policy = policy
        self._clock = clock or SystemClock()
        self._world = World()
        self._agenda = Agenda()
        self._busy: set[Subject] = set()
        self._again: set[Subject] = set()
        self._loaded = {
            "connections": asyncio.Event(),
            "logs": asyncio.Event(),
            "channels": channels.loaded,
        }
        self._notes: OrderedDict[str, Heard] = OrderedDict()
        self._orphans: OrderedDict[str, Push] = OrderedDict()

    @property
    def loaded(self) -> bool:
        """Whether everything that was there at the start has been read."""
        return all(event.is_set() for event in self._loaded.values())

    def knows(self, subject: Subject) -> bool | None:
        """Return whether there is such a log, None while the logs are being read."""
        if not self._loaded["logs"].is_set():
            return None
        return self._world.log(subject) is not None

    # -- What the ingress tells --

    def heard(self, channel: str, record: ChannelRecord | None, heard: Heard) -> None:
        """Remember that a channel works: its first message at once, later ones now and then."""
        if record is not None:
            known = record.synced_at is not None and record.resource
            last = record.last_message_at
            if known and last is not None and heard.at - last < HEARD_EVERY:
                return
        before = self._notes.get(channel)
        if before is not None and before.sync:
            heard = replace(heard, sync=True)
        if before is not None or len(self._notes) < MAX_NOTES:
            self._notes[channel] = heard

    def orphan(self, push: Push) -> None:
        """Stop, some time, a channel that is ours although no record knows it."""
        if len(self._orphans) < MAX_ORPHANS:
            self._orphans.setdefault(push.channel, push)

    # -- Loops --

    async def connections_loop(self, stop: Stop) -> None:
        """Follow the state of connections."""
        await until_stopped(stop, self._follow_connections)

    async def logs_loop(self, stop: Stop) -> None:
        """Follow what logs there are."""
        await until_stopped(stop, self._follow_logs)

    async def channels_loop(self, stop: Stop) -> None:
        """Follow the channels that other replicas write, and keep the registry."""
        await until_stopped(stop, self._follow_channels)

    async def tend_loop(self, stop: Stop, beat: Beat = lambda _: None) -> None:
        """Do what the plans say, a few logs at once."""
        await until_stopped(stop, self._until_loaded)
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while not stop.requested:
                beat("tend")
                subject = self._agenda.pop(self._clock.now())
                if subject is None:
                    await self._agenda.wait(self._clock.now(), 1.0)
                elif subject in self._busy:
                    self._again.add(subject)
                else:
                    self._busy.add(subject)
                    await slots.acquire()
                    task = group.create_task(self._tend(subject), name="tend")
                    task.add_done_callback(lambda _: slots.release())

    async def review_loop(self, stop: Stop) -> None:
        """Look at every log now and then: what a watcher missed is mended here."""
        await until_stopped(stop, self._until_loaded)
        while not stop.requested:
            now = self._clock.now()
            watched = set(self._world.subjects())
            watched |= {
                Subject(r.tenant, r.connection, r.log) for r in self._channels.registry.all()
            }
            spread = REVIEW_S / max(len(watched), 1)
            for number, subject in enumerate(watched):
                self._agenda.put(subject, now + dt.timedelta(seconds=number * spread))
            self._measure(now)
            await stop.sleep(REVIEW_S)

    async def notes_loop(self, stop: Stop) -> None:
        """Write down what pushes told about channels; stop orphans."""
        while not await stop.sleep(FLUSH_S):
            await self._flush()
        await self._flush()

    # -- Following --

    async def _follow_connections(self) -> None:
        messages = self._reader.follow(CONNECTION.name, latest=True)
        async for message in messages:
            if message is None:
                self._loaded["connections"].set()
            else:
                self._look_at(self._world.take_connection(message))

    async def _follow_logs(self) -> None:
        async for entry in self._logs.watch():
            if entry is None:
                self._loaded["logs"].set()
            else:
                self._look_at(self._world.take_log(entry))

    async def _follow_channels(self) -> None:
        async for entry in self._channel_entries.watch():
            if entry is None:
                self._loaded["channels"].set()
                continue
            subject = self._channels.registry.apply(entry)
            if subject is not None:
                self._look_at({subject})

    async def _until_loaded(self) -> None:
        for event in self._loaded.values():
            await event.wait()

    def _look_at(self, subjects: set[Subject]) -> None:
        now = self._clock.now()
        for subject in subjects:
            self._agenda.put(subject, now)

    # -- Tending --

    async def _tend(self, subject: Subject) -> None:
        """Bring one log's channels to the plan; on trouble look again a little later."""
        later: dt.datetime | None
        try:
            later = await self._step(subject)
        except BusError as error:
            _log.warning("the broker is away", action="tend_failed", error=str(error))
            later = self._clock.now() + RETRY_AFTER
        except Exception:  # noqa: BLE001 - whatever it is
            # One odd log must not take the channels of all others down with it.
            _log.exception(
                "a log could not be tended",
                action="tend_crashed",
                connection=subject.connection,
                log=subject.log,
            )
            later = self._clock.now() + CRASHED_AFTER
        finally:
            self._busy.discard(subject)
        if subject in self._again:
            self._again.discard(subject)
            later = self._clock.now()
        if later is not None:
            self._agenda.put(subject, later)

    async def _step(self, subject: Subject) -> dt.datetime | None:
        now = self._clock.now()
        todo = plan(
            subject,
            self._world.status(subject),
            self._world.log(subject),
            self._channels.registry.of(subject),
            now,
            self._policy,
        )
        again_at = todo.again_at
        for action in todo.actions:
            if not await self._do(subject, action):
                retry_at = now + RETRY_AFTER
                again_at = min(again_at, retry_at) if again_at else retry_at
        if todo.actions and again_at is None:
            again_at = self._clock.now()
        return again_at

    async def _do(self, subject: Subject, action: Action) -> bool:
        """Do one thing; return False if it must be tried again."""
        match action:
            case Open(channel=channel):
                log = self._world.log(subject)
                if log is not None:
                    await self._opener.open(subject, channel, log)
            case StopChannel(channel=channel, reason=reason):
                record = self._channels.registry.get(channel)
                return record is None or await self._opener.stop(record, reason)
            case Mark(channel=channel, status=status, reason=reason):
                await self._opener.mark(channel, status, reason)
            case Forget(channel=channel):
                await self._channels.forget(channel)
        return True

    # -- Notes --

    async def _flush(self) -> None:
        """Write a bounded number of notes; what fails is told by the next push again."""
        for _ in range(min(len(self._notes), FLUSH_AT_ONCE)):
            channel, heard = self._notes.popitem(last=False)
            try:
                await self._channels.update(channel, _noting(heard))
            except BusError as error:
                _log.warning("a note was not written", action="note_failed", error=str(error))
                self._notes.setdefault(channel, heard)
                return
        if self._orphans and self.loaded:
            _, push = self._orphans.popitem(last=False)
            if self._world.status(push.subject) in {"active", "degraded", "revoking"}:
                await self._opener.stop_orphan(push.subject, push.channel, push.resource)

    def _measure(self, now: dt.datetime) -> None:
        count: Counter[str] = Counter()
        near = 0
        for record in self._channels.registry.all():
            count[record.status] += 1
            soon = record.expires_at - now < dt.timedelta(hours=1)
            near += record.status not in ENDED and soon
        for status in get_args(ChannelStatus):
            CHANNELS.set(count[status], status=status)
        EXPIRING.set(near)


def _noting(heard: Heard) -> Callable[[ChannelRecord], ChannelRecord]:
    """Return the change that a push makes to its channel's record."""

    def change(old: ChannelRecord) -> ChannelRecord:
        if old.status in ENDED:
            return old
        adopted = old.status == "opening" and not old.resource
        return replace(
            old,
            # A push is proof: where the answer to `watch` was lost, it brings the resource.
            resource=old.resource or heard.resource,
            status="live" if adopted or old.status == "silent" else old.status,
            reason="" if adopted or old.status == "silent" else old.reason,
            synced_at=old.synced_at or heard.at,
            last_message_at=max(old.last_message_at or heard.at, heard.at),
        )

    return change


async def until_stopped(stop: Stop, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or the stop is requested; raise what it raises."""
    working = asyncio.ensure_future(work())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(working, stopping, return_exceptions=True)
