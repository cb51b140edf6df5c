"""Records of who did what with connections and tokens, each sealed to the one before it.

A record's hash covers its fields and the hash of the record before, so that a changed, removed,
inserted or moved record breaks the chain at that place, for anybody who has the records: the
check needs no key. What a chain alone cannot show is that its end was cut off, or that all of it
was written anew: keep heads (`Chain.head`) elsewhere, and compare.
"""

import datetime as dt
import hashlib
from typing import Final

import msgspec

GENESIS: Final = "0" * 64
"""What the first record follows."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One fact, or `count` equal ones between `since` and `at`.

    `who`: `caller:SUBJECT` (the API), `service:NAME` (the bus), `person` (in a browser), `google`
    or `auth` itself. `action` is `noun.verb`, `outcome` `ok` or what it ended in, `why` a reason
    in words, `trace` the W3C trace id of the (first) cause. Nothing in it is secret.
    """

    number: int
    at: dt.datetime
    since: dt.datetime
    who: str
    action: str
    outcome: str
    why: str
    tenant: str
    connection: str
    count: int
    trace: str
    hash: str


def hash_of(record: AuditRecord, previous: str) -> str:
    """Return the hash (hex) that a record has behind the record whose hash is `previous`."""
    fields = (
        record.number, record.at.astimezone(dt.UTC), record.since.astimezone(dt.UTC), record.who,
        record.action, record.outcome, record.why, record.tenant, record.connection, record.count,
        record.trace,
    )  # fmt: skip
    return hashlib.sha256(previous.encode() + b"\n" + msgspec.json.encode(fields)).hexdigest()


class BrokenChainError(ValueError):
    """The records are not as they were written; `number` is the first that does not hold."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"record {number}: {why}")
        self.number = number


class Chain:
    """Checks records in their order, from the first or from a known head."""

    def __init__(self, number: int = 0, head: str = GENESIS) -> None:
        self.number = number
        self.hash = head

    @property
    def head(self) -> str:
        """The last record's number and hash, as `NUMBER:HASH`."""
        return f"{self.number}:{self.hash}"

    def add(self, record: AuditRecord) -> None:
        """Check the next record; raises BrokenChainError."""
        if record.number != self.number + 1:
            raise BrokenChainError(self.number + 1, f"is missing; the next one is {record.number}")
        if record.hash != hash_of(record, self.hash):
            raise BrokenChainError(record.number, "is not as it was written")
        self.number, self.hash = record.number, record.hash
