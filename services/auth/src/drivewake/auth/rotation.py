"""Moves all secrets at rest under the current key, while everything goes on.

A key is retired in three steps: put a new one in front of the keyring and restart, rotate, take
the old one out. Each secret is written only if it is still what was read, so that a refresh
token that Google replaces meanwhile is never overwritten; a rotation that was cut short is
simply begun again.
"""

import asyncio
from typing import Final

import msgspec

from drivewake.auth.audit import Trail, entry
from drivewake.auth.errors import StoreUnavailableError
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.ports import Secrets
from drivewake.auth.records import By, Kept
from drivewake.auth.tokens import ALARMS
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.keyring import Sealed
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

BATCH: Final = 500
RETRY_S: Final = 2.0

_log = get_logger(__name__)


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the keys are: `secrets` lie under each key, `remaining` not under the current one.

    `unreadable` did not open in this process's last rotation: their key is not in the keyring,
    or they were tampered with.
    """

    current: str
    keyring: list[str]
    secrets: dict[str, int]
    remaining: int
    rotating: bool
    unreadable: int


class Rotator:
    """Rotates when asked to."""

    def __init__(self, secrets: Secrets, keyring: Keyring, clock: Clock, trail: Trail) -> None:
        self._secrets = secrets
        self._keyring = keyring
        self._clock = clock
        self._trail = trail
        self._wanted = asyncio.Event()
        self._unreadable = 0

    async def begin(self, by: By) -> KeyState:
        """Begin a rotation in this process, unless one is under way; StoreUnavailableError."""
        fact = entry(by, self._clock.now(), "keys.rotated", why=f"to {self._keyring.current}")
        await self._trail.append(fact)
        self._wanted.set()
        return await self.state()

    async def state(self) -> KeyState:
        """Return how far the keys are; raises StoreUnavailableError."""
        counts, current = dict(await self._secrets.key_counts()), self._keyring.current
        return KeyState(
            current=current,
            keyring=self._keyring.key_ids,
            secrets=counts,
            remaining=sum(counts.values()) - counts.get(current, 0),
            rotating=self._wanted.is_set(),
            unreadable=self._unreadable,
        )

    async def run(self, stop: Stop) -> None:
        """Wait for the wish to rotate, and rotate."""
        stopping = asyncio.create_task(stop.wait(), name="rotation-stop")
        try:
            while not stop.requested:
                wanted = asyncio.create_task(self._wanted.wait(), name="rotation-wanted")
                await asyncio.wait({wanted, stopping}, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
                if stop.requested:
                    return
                try:
                    await self._rotate(stop)
                except StoreUnavailableError:
                    await stop.sleep(RETRY_S)
                    continue
                self._wanted.clear()
        finally:
            stopping.cancel()

    async def _rotate(self, stop: Stop) -> None:
        self._unreadable = moved = 0
        after: Place | None = None
        while not stop.requested:
            page = await self._secrets.under_other_keys(self._keyring.current, after, BATCH)
            if not page:
                break
            changes = [(kept, sealed) for kept in page if (sealed := self._resealed(kept))]
            await self._secrets.reseal(changes)
            moved += len(changes)
            after = page[-1].place
        _log.info(
            "keys rotated",
            action="keys_rotated", key=self._keyring.current, moved=moved,
            unreadable=self._unreadable,
        )  # fmt: skip

    def _resealed(self, kept: Kept) -> Sealed | None:
        try:
            return self._keyring.seal(self._keyring.open(kept.sealed, kept.place), kept.place)
        except SecretError as error:
            ALARMS.add()
            self._unreadable += 1
            _log.error(
                "a secret does not open and stays as it is",
                action="secret_alarm", owner=kept.place.owner, reason=str(error),
            )  # fmt: skip
            return None
