"""Opens and stops channels at Google; the record is always written first."""

import datetime as dt
from collections.abc import Callable

import msgspec

from drivewake.contracts.records import ChannelRecord, ChannelStatus, LogRecord
from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.errors import (
    ConnectionUnusableError,
    GoogleError,
    GrantError,
    ItemNotFoundError,
    RetryError,
    UnauthorizedError,
    UnavailableError,
)
from drivewake.gdrive.pages import WatchAnswer
from drivewake.gdrive.port import GoogleDrive
from drivewake.gdrive.token import AccessToken
from drivewake.runtime.clock import Clock
from drivewake.runtime.logging import get_logger
from drivewake.webhook.metrics import CALLS
from drivewake.webhook.plan import ENDED, Policy
from drivewake.webhook.registry import Channels
from drivewake.webhook.tokens import Keyring, Subject

MAX_REASON_CHARS = 200
_log = get_logger(__name__)
replace = msgspec.structs.replace


class Opener:
    """Talks to Google about channels. All methods may raise BusError."""

    def __init__(
        self,
        channels: Channels,
        google: GoogleDrive,
        tokens: TokenSource,
        keys: Keyring,
        *,
        address: str,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._channels = channels
        self._google = google
        self._tokens = tokens
        self._keys = keys
        self._address = address
        self._policy = policy
        self._clock = clock

    async def open(self, subject: Subject, channel: str, log: LogRecord) -> None:
        """Open a channel, unless another replica does. Refusals end up in its record."""
        now = self._clock.now()
        expires_at = now + dt.timedelta(seconds=self._policy.lifetime_s)
        record = ChannelRecord(
            channel=channel,
            tenant=subject.tenant,
            connection=subject.connection,
            log=subject.log,
            created_at=now,
            expires_at=expires_at,
            key_id=self._keys.current,
        )
        if not await self._channels.create(record):
            return
        path = f"{subject.tenant}/{subject.connection}/{subject.log}"

        async def watch(token: AccessToken) -> WatchAnswer:
            return await self._google.watch_changes(
                token,
                log.cursor,
                channel,
                f"{self._address}/{path}",
                self._keys.token(subject, channel, expires_at),
                expires_at,
                drive=log.resource or None,
            )

        try:
            answer = await self._tokens.call(subject.tenant, subject.connection, watch)
        except UnavailableError as error:
            if error.method:
                # Sent, not answered: it may live. Its first push would tell us.
                await self._note_unknown(channel, error)
            else:
                await self._note_refused(channel, error)
        except GoogleError as error:
            await self._note_refused(channel, error)
        else:
            await self._note_open(channel, answer)

    async def stop(self, record: ChannelRecord, reason: str) -> bool:
        """Stop a channel at Google; return False if that must be tried again later."""
        try:
            done = await self._stop_at_google(record.tenant, record.connection, record)
        except RetryError as error:
            _log.warning(
                "a channel could not be stopped yet",
                action="channel_stop_failed",
                channel=record.channel,
                error=str(error),
            )
            CALLS.add(call="stop", outcome="failed")
            await self.mark(record.channel, "stopping", reason)
            return False
        CALLS.add(call="stop", outcome=done)
        await self.mark(record.channel, "stopped", reason)
        _log.info(
            "a channel was stopped", action="channel_stopped", channel=record.channel, reason=reason
        )
        return True

    async def mark(self, channel: str, status: ChannelStatus, reason: str) -> None:
        """Remember another status; what has ended stays ended."""
        await self._channels.update(
            channel,
            lambda old: old if old.status in ENDED else replace(old, status=status, reason=reason),
        )

    async def _stop_at_google(self, tenant: str, connection: str, record: ChannelRecord) -> str:
        """Return how it went: done, gone, or refused for good. Raises RetryError."""
        if not record.resource:
            return "gone"
        try:
            await self._tokens.call(
                tenant,
                connection,
                lambda token: self._google.stop_channel(token, record.channel, record.resource),
            )
        except ItemNotFoundError:
            return "gone"
        except RetryError:
            raise
        except GoogleError as error:
            _log.warning(
                "Google refuses to stop a channel",
                action="channel_stop_refused",
                channel=record.channel,
                error=str(error),
            )
            return "refused"
        return "done"

    async def _note_open(self, channel: str, answer: WatchAnswer) -> None:
        def opened(old: ChannelRecord) -> ChannelRecord:
            status = "live" if old.status == "opening" else old.status
            return replace(
                old,
                status=status,
                resource=answer.resource_id,
                expires_at=min(old.expires_at, answer.expires_at),
                reason="",
            )

        record = await self._channels.update(channel, opened)
        CALLS.add(call="watch", outcome="done")
        if record is None or record.status in ENDED:
            # Ended while Google opened it: nobody else knows its resource id.
            if record is not None:
                await self._stop_quietly(record)
            return
        _log.info(
            "a channel is open",
            action="channel_open",
            channel=channel,
            connection=record.connection,
            log=record.log,
            expires_at=record.expires_at.isoformat(),
        )

    async def _stop_quietly(self, record: ChannelRecord) -> None:
        try:
            await self._stop_at_google(record.tenant, record.connection, record)
        except RetryError:
            return  # it expires by itself; its pushes are answered 404

    async def _note_unknown(self, channel: str, error: GoogleError) -> None:
        CALLS.add(call="watch", outcome="unknown")
        reason = _reason(error)
        await self._channels.update(channel, _with_reason(reason))
        _log.warning(
            "Google did not answer a watch", action="watch_unknown", channel=channel, error=reason
        )

    async def _note_refused(self, channel: str, error: GoogleError) -> None:
        CALLS.add(call="watch", outcome="refused")
        await self.mark(channel, "refused", _reason(error))
        expected = isinstance(
            error, RetryError | GrantError | ConnectionUnusableError | UnauthorizedError
        )
        tell = _log.info if expected else _log.warning
        tell("no channel for a log", action="watch_refused", channel=channel, error=_reason(error))

    async def stop_orphan(self, subject: Subject, channel: str, resource: str) -> None:
        """Stop a channel that is ours by its token, but that no record knows."""
        now = self._clock.now()
        record = ChannelRecord(
            channel=channel,
            tenant=subject.tenant,
            connection=subject.connection,
            log=subject.log,
            created_at=now,
            expires_at=now,
            resource=resource,
        )
        await self._stop_quietly(record)
        _log.warning("an orphaned channel was stopped", action="channel_orphan", channel=channel)


def _reason(error: GoogleError) -> str:
    return (error.reason or str(error))[:MAX_REASON_CHARS]


def _with_reason(reason: str) -> Callable[[ChannelRecord], ChannelRecord]:
    return lambda old: replace(old, reason=reason)
