"""Ends grants at Google, and then the tokens: restartable at any instant.

`revoking` is in the database before anything is done; telling Google twice is harmless; the
tokens go in the transaction that makes the connection `revoked`.
"""

from collections.abc import Callable
from typing import Final, Protocol

from drivewake.auth.domain import Connection, RevokeFinished, RevokePostponed, decide, given_up
from drivewake.auth.errors import GoogleUnavailableError, StoreUnavailableError
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.ports import Connections, Google, Grants, Housekeeping, Revocations
from drivewake.auth.records import By, Delegation
from drivewake.auth.tokens import ALARMS
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

LOOK_EVERY_S: Final = 0.5
RETRY_S: Final = 2.0
BATCH: Final = 50
FORGET_EVERY_S: Final = 300.0

_log = get_logger(__name__)


class Store(Connections, Grants, Revocations, Protocol):
    """What of the store is used here."""


class Revoker:
    """Finishes what is `revoking`, when its time has come. `beat` says that it lives."""

    def __init__(
        self,
        store: Store,
        google: Google,
        keyring: Keyring,
        clock: Clock,
        beat: Callable[[], object] = bool,
    ) -> None:
        self._beat = beat
        self._store = store
        self._google = google
        self._keyring = keyring
        self._clock = clock

    async def run(self, stop: Stop) -> None:
        """Look for due revocations, for ever."""
        while not stop.requested:
            self._beat()
            try:
                await self.finish_due()
            except StoreUnavailableError:
                await stop.sleep(RETRY_S)
                continue
            await stop.sleep(LOOK_EVERY_S)

    async def finish_due(self) -> int:
        """Finish a batch of due revocations; return how many were due."""
        due = await self._store.due_revocations(self._clock.now(), BATCH)
        for connection in due:
            await self._finish(connection)
            self._beat()
        return len(due)

    async def _finish(self, connection: Connection) -> None:
        now = self._clock.now()
        fact: RevokeFinished | RevokePostponed
        try:
            fact = RevokeFinished(await self._told(connection) or connection.reason)
        except GoogleUnavailableError as error:
            fact = RevokePostponed()
            if given_up(connection, now):
                fact = RevokeFinished(
                    "Google did not answer for a day; remove the application's access in the"
                    " Google account"
                )
            _log.warning(
                "Google could not be told of a revocation",
                action="revoke_retry", connection=connection.id, reason=str(error),
                attempts=connection.revoke_attempts, given_up=given_up(connection, now),
            )  # fmt: skip
        after = await self._store.apply(
            connection.id, lambda current: decide(current, fact, now), now, By("auth")
        )
        if after.status == "revoked":
            _log.info(
                "connection revoked",
                action="connection_revoked", connection=after.id, tenant=after.tenant,
                revision=after.revision,
            )  # fmt: skip

    async def _told(self, connection: Connection) -> str:
        """Tell Google, where there is something to tell; return what is remarkable about it."""
        grant = await self._store.grant(connection.id)
        if grant is None or isinstance(grant, Delegation):
            # Of a delegation Google knows no grant: an administrator ends it for all.
            return ""
        if await self._store.shares_principal(connection.id):
            return "another connection of the same account lives on: Google was not told"
        place = Place(grant.tenant, grant.connection, "refresh_token")
        try:
            token = self._keyring.open(grant.sealed, place)
        except SecretError as error:
            ALARMS.add()
            _log.error(
                "a refresh token does not open",
                action="secret_alarm", connection=connection.id, reason=str(error),
            )  # fmt: skip
            return "the stored grant did not open: remove the access in the Google account"
        await self._google.revoke(token)
        return ""


class Housekeeper:
    """Deletes what is over."""

    def __init__(self, store: Housekeeping, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, stop: Stop) -> None:
        """Delete expired links and sign-ins every few minutes."""
        while not stop.requested:
            try:
                await self._store.forget_expired(self._clock.now())
            except StoreUnavailableError:
                await stop.sleep(RETRY_S)
                continue
            await stop.sleep(FORGET_EVERY_S)
