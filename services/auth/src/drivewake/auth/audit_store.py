"""The audit chain in Postgres: one writer at a time, so that every record has one predecessor."""

from collections.abc import Sequence

import msgspec

from drivewake.auth.database import QUERIES, Database, Session
from drivewake.auth.records import Entry
from drivewake.contracts.audit import GENESIS, AuditRecord, hash_of


async def append_audit(session: Session, entries: Sequence[Entry]) -> str:
    """Put entries at the end of the chain, in this transaction; return the head after them.

    Comes last in a transaction: until its end nobody else can append.
    """
    await session.execute(QUERIES["hold_audit"])
    row = await session.fetchrow(QUERIES["audit_head"])
    number, head = (0, GENESIS) if row is None else (row["number"], row["hash"])
    values = []
    for entry in entries:
        number += 1
        record = AuditRecord(number=number, hash="", **msgspec.structs.asdict(entry))
        head = hash_of(record, head)
        values.append(
            (
                record.number,
                record.at,
                record.since,
                record.who,
                record.action,
                record.outcome,
                record.why,
                record.tenant,
                record.connection,
                record.count,
                record.trace,
                head,
            )
        )
    await session.executemany(QUERIES["add_audit"], values)
    return f"{number}:{head}"


class AuditStore:
    """Implements the port Audit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[Entry]) -> str:
        """Put entries at the end of the chain; return the head after them."""
        async with self._database.transaction() as session:
            return await append_audit(session, entries)

    async def records(self, tenant: str | None, after: int, limit: int) -> Sequence[AuditRecord]:
        """Return up to `limit` records with a number above `after`, of a tenant or of all."""
        found = await self._database.rows("audit", after, tenant, limit)
        return [AuditRecord(**row) for row in found]
