"""Security events and the secrets that a rotation moves, in Postgres."""

import datetime as dt
from collections.abc import Mapping, Sequence

from drivewake.auth import rows
from drivewake.auth.database import QUERIES, Database
from drivewake.auth.domain import Connection
from drivewake.auth.keyring import Place
from drivewake.auth.records import Kept
from drivewake.runtime.keyring import Sealed

_RESEAL = {
    "account": "reseal_account",
    "refresh_token": "reseal_refresh_token",
    "service_account": "reseal_service_account",
}


class SecurityEventStore:
    """Implements the port SecurityEvents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_known(self, jti: str) -> bool:
        """Return whether an event was acted upon."""
        return await self._database.row("security_event", jti) is not None

    async def acted_upon(self, jti: str, now: dt.datetime) -> None:
        """Remember an event."""
        await self._database.row("add_security_event", jti, now)

    async def of_principal(
        self, issuer: str, subject: str, granted_by: dt.datetime
    ) -> Sequence[Connection]:
        """Return an account's connections but those that were granted after an instant."""
        found = await self._database.rows("of_principal", issuer, subject, granted_by)
        return [rows.connection_of(row) for row in found]

    async def of_token(self, mark: bytes) -> Sequence[Connection]:
        """Return the connections whose refresh token has this mark."""
        return [rows.connection_of(row) for row in await self._database.rows("of_token", mark)]


class SecretStore:
    """Implements the port Secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key_counts(self) -> Mapping[str, int]:
        """Return how many secrets lie under each key."""
        found = await self._database.rows("key_counts")
        return {row["key_id"]: row["secrets"] for row in found}

    async def under_other_keys(
        self, current: str, after: Place | None, limit: int
    ) -> Sequence[Kept]:
        """Return up to `limit` secrets that do not lie under the current key, by place."""
        place = (after.purpose, after.owner) if after else ("", "")
        found = await self._database.rows("under_other_keys", current, *place, limit)
        return [
            Kept(
                place=Place(row["tenant"], row["owner"], row["purpose"]),
                sealed=Sealed(row["key_id"], row["sealed"]),
            )
            for row in found
        ]

    async def reseal(self, changes: Sequence[tuple[Kept, Sealed]]) -> None:
        """Put secrets under other keys; those that were replaced meanwhile are left alone."""
        async with self._database.transaction() as session:
            for purpose, query in _RESEAL.items():
                values = [
                    (kept.place.owner, kept.sealed.data, sealed.key_id, sealed.data)
                    for kept, sealed in changes
                    if kept.place.purpose == purpose
                ]
                await session.executemany(QUERIES[query], values)
