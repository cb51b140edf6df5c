"""What can go wrong in the event store, as one tree.

    DrivewakeError
    └── StoreError
        ├── StoreUnavailableError   the database is away, slow or full; the outcome is unknown
        │   └── ArchiveUnavailableError     so is the place where the archive is kept
        ├── HeadMovedError          a head is not at the expected revision; nothing was written
        ├── KeysChangedError        keys were erased since the batch was sealed; nothing was written
        ├── ErasedError             the batch is of a tenant or connection that was erased
        ├── PoisonError             a value that the database can never store; nothing was written
        ├── KeyTakenError           a key is stored in another lane; nothing was written
        ├── StoreMismatchError      schema or privileges are not what this version needs
        ├── StoreBehindError        the store lacks positions that readers have already seen
        ├── ForeignMessageError     the stream's end was not written by this lane's relay
        ├── ArchivedError           events that were asked for are in the archive alone
        ├── ArchiveError            an archive cannot be written, proved or read
        └── ProjectionFailedError   a projection could not apply an event

The docstring of a class is its default message.
"""

import uuid

import msgspec

from drivewake.runtime.errors import DrivewakeError


class StoreError(DrivewakeError):
    """The event store refused or failed."""


class StoreUnavailableError(StoreError):
    """The database did not answer in time, or its answer was lost: read again, decide again."""


class ArchiveUnavailableError(StoreUnavailableError):
    """The place where the archive is kept refused or did not answer: try later."""


class MovedHead(msgspec.Struct, frozen=True, kw_only=True):
    """A head whose revision is not the expected one; `found` 0 means that there is none."""

    tenant: str
    kind: str
    id: str
    expected: int
    found: int


class HeadMovedError(StoreError):
    """Somebody else advanced a head; read the heads again and decide again."""

    def __init__(self, moved: tuple[MovedHead, ...]) -> None:
        first = moved[0]
        more = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
        super().__init__(
            f"expected revision {first.expected} of a {first.kind} head, found {first.found}{more}"
        )
        self.moved = moved


class KeysChangedError(StoreError):
    """Keys were erased since the batch was sealed: seal it again."""


class ErasedError(StoreError):
    """The data belongs to a tenant or connection that was erased: it may not come back."""

    def __init__(self, owners: frozenset[tuple[str, str]]) -> None:
        super().__init__()
        self.owners = owners
        """(tenant, connection), with "" for the tenant itself."""

    def covers(self, tenant: str, connection: str) -> bool:
        """Return whether what a connection tells is erased."""
        return (tenant, "") in self.owners or (tenant, connection) in self.owners


class PoisonError(StoreError):
    """The batch holds a value that the database can never store."""

    def __init__(self, reason: str, keys: tuple[uuid.UUID, ...] = ()) -> None:
        super().__init__(f"the database refuses a value: {reason}")
        self.reason = reason
        self.keys = keys
        """Keys of the events at fault; empty when it is a head, or cannot be told."""


class KeyTakenError(StoreError):
    """A key of the batch is stored in another lane: its tenant changed lanes."""


class StoreMismatchError(StoreError):
    """The schema or the privileges in the database are not what this version needs."""


class StoreBehindError(StoreError):
    """The store lacks what was already read from it: it was restored to older data."""


class ForeignMessageError(StoreError):
    """The last message of DRIVE_EVENT was not written by the relay of this lane."""


class ProjectionFailedError(StoreError):
    """A projection could not apply an event: the fault is in its code."""


class ArchivedError(StoreError):
    """Events that were asked for are in the archive alone: say where (DRIVEWAKE_ARCHIVE_URL)."""


class ArchiveError(StoreError):
    """A month cannot be archived, or an archive is not what was written."""
