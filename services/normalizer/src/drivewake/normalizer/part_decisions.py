"""Decides parts (revisions, comments, shared drives, activity) within a batch."""

from collections.abc import Iterable, Mapping

import msgspec

from drivewake.eventstore.store import ABSENT, ANY, HeadWrite, NewEvent
from drivewake.eventstore.store import Head as StoredHead
from drivewake.normalizer.domain.parts import DrivePart, Part, head_of, step
from drivewake.normalizer.domain.shared_drives import DriveLost, DriveSeen
from drivewake.normalizer.domain.told import Told
from drivewake.normalizer.errors import UndecidableError
from drivewake.normalizer.items import PartItem
from drivewake.normalizer.minting import Mint

HeadKey = tuple[str, str, str]
"""Tenant, kind, id."""


def membership_kind(connection: str) -> str:
    """Return the kind of heads that lists the shared drives a connection was ever in."""
    return f"membership.{connection}"


class PartDecisions:
    """The parts of one batch under decision, and their heads while it lasts."""

    def __init__(self, mint: Mint, heads: Mapping[HeadKey, StoredHead]) -> None:
        self._mint = mint
        self._known = heads
        self._states: dict[HeadKey, bytes] = {}
        self._drives: dict[HeadKey, None] = {}

    def add(self, item: PartItem, revoked_since: int | None) -> list[NewEvent]:
        """Return the events of an item; raises UndecidableError and leaves no trace then.

        `revoked_since` (µs) of the item's connection: what it still tells ends at once.
        """
        origin, head = item.origin, head_of(item.part)
        key = None if head is None else (origin.tenant, *head)
        state = None if key is None else self._state(key)
        told: list[Told] = []
        try:
            for part in _with_end(item.part, revoked_since):
                done = step(part, origin.tenant, origin.connection, state)
                told += done.told
                state = done.head
        except msgspec.MsgspecError as error:
            raise UndecidableError(f"the stored head is unreadable: {error}") from error
        events = [self._event(item, each) for each in told]
        if key is not None and state is not None:
            self._states[key] = state
        if isinstance(item.part, DrivePart):
            self._drives[origin.tenant, membership_kind(origin.connection), item.part.drive] = None
        return events

    def writes(self) -> Iterable[HeadWrite]:
        """Yield what changed of the heads."""
        for key, state in self._states.items():
            stored = self._known.get(key)
            if stored is None or stored.state != state:
                yield _write(key, ABSENT if stored is None else stored.revision, state)
        for key in self._drives:
            yield _write(key, ANY, b"")

    def _state(self, key: HeadKey) -> bytes | None:
        stored = self._known.get(key)
        return self._states.get(key, None if stored is None else stored.state)

    def _event(self, item: PartItem, told: Told) -> NewEvent:
        return self._mint.event(
            item.origin,
            told.data,
            subject=told.subject,
            identity_time=told.identity_at or item.origin.observed_at,
            parts=told.parts,
            occurred_at=told.occurred_at,
        )


def _with_end(part: Part, revoked_since: int | None) -> tuple[Part, ...]:
    """Let a membership that a revoked connection still tells end at once."""
    if revoked_since is None or not isinstance(part, DrivePart):
        return (part,)
    if not isinstance(part.observation, DriveSeen):
        return (part,)
    at = max(revoked_since, part.observation.at)
    return (part, DrivePart(part.drive, DriveLost(at=at, cause="connection_ended")))


def _write(key: HeadKey, expected: int, state: bytes) -> HeadWrite:
    tenant, kind, id_ = key
    return HeadWrite(tenant=tenant, kind=kind, id=id_, expected=expected, state=state)
