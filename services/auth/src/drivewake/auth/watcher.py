"""Keeps the token cache true: a connection that moved, anywhere, loses its cached token."""

import asyncio
import contextlib
from typing import Final

from drivewake.auth.tokens import TokenService
from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.runtime.bus import StoredMessage, StreamReader
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

RETRY_S: Final = 1.0

_log = get_logger(__name__)


class Watcher:
    """Follows DRIVE_CONNECTION from now on: what was before is not in the cache.

    `ready` is set once that is so; nobody must be answered before.
    """

    def __init__(self, reader: StreamReader, tokens: TokenService) -> None:
        self._reader = reader
        self._tokens = tokens
        self.ready = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Follow until the stop."""
        following = asyncio.create_task(self._follow_for_ever(), name="follow-connections")
        stopping = asyncio.create_task(stop.wait(), name="follow-stop")
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        finally:
            for task in (following, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(following, stopping, return_exceptions=True)

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                await self._follow()
            except BusError as error:
                _log.warning(
                    "following connections failed, trying again",
                    action="watch_retry", error=type(error).__name__,
                )  # fmt: skip
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        """Follow from now on; whatever was missed before is made harmless first."""
        begin = await self._reader.last_sequence(subjects.CONNECTION.name) + 1
        self._tokens.forget_all()
        self.ready.set()
        async for message in self._reader.follow(subjects.CONNECTION.name, from_sequence=begin):
            if message is not None:
                self._note(message)

    def _note(self, message: StoredMessage) -> None:
        try:
            envelope = CONNECTIONS.decode(message.data)
        except InvalidMessageError:
            _log.exception(
                "a message on DRIVE_CONNECTION cannot be read",
                action="foreign_message", sequence=message.sequence,
            )  # fmt: skip
            return
        self._tokens.overtaken(envelope.tenant, envelope.connection, envelope.data.revision)
