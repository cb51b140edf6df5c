"""What callers do with tenants and connections: each sees its own tenant alone."""

import datetime as dt
from typing import Final, Protocol

import msgspec

from drivewake.auth.callers import Caller
from drivewake.auth.domain import (
    MAX_WATCHED_FOLDERS,
    Change,
    Connection,
    Fact,
    RevokeRequested,
    Rewatched,
    decide,
)
from drivewake.auth.errors import ForbiddenError, InvalidInputError, UnknownError
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.ports import Connections, Tenants
from drivewake.auth.records import Account, By, Tenant
from drivewake.auth.signin import SignInService
from drivewake.auth.tokens import ALARMS
from drivewake.contracts.connections import PrincipalKind, Status
from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.logging import get_logger

MAX_PAGE: Final = 500
MAX_NAME: Final = 200

_log = get_logger(__name__)


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as operators see it. `account` is its address, where Google told it."""

    id: str
    tenant: str
    status: Status
    reason: str
    since: dt.datetime
    principal_kind: PrincipalKind
    account: str | None
    scopes: tuple[str, ...]
    watched_folders: tuple[str, ...]
    revision: int
    created_at: dt.datetime


class Store(Tenants, Connections, Protocol):
    """What of the store is used here."""


class Desk:
    """Tenants and connections, for callers of the API."""

    def __init__(
        self,
        store: Store,
        sign_ins: SignInService,
        keyring: Keyring,
        clock: Clock,
        *,
        revoke_grace: dt.timedelta,
    ) -> None:
        self._store = store
        self._sign_ins = sign_ins
        self._keyring = keyring
        self._clock = clock
        self._revoke_grace = revoke_grace

    async def tenants(self, caller: Caller) -> list[Tenant]:
        """Return the tenants that the caller sees."""
        return [tenant for tenant in await self._store.tenants() if caller.sees(tenant.id)]

    async def add_tenant(self, caller: Caller, tenant_id: str, name: str) -> Tenant:
        """Add a tenant: who runs the installation may.

        Raises ForbiddenError, InvalidInputError, InvalidIdError, TenantExistsError.
        """
        if caller.tenant is not None:
            raise ForbiddenError("only who runs the installation may make tenants")
        if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
            raise InvalidInputError(f"name must have 1 to {MAX_NAME} printable characters")
        tenant = Tenant(
            id=checked(tenant_id, "tenant"), name=name.strip(), created_at=self._clock.now()
        )
        await self._store.add_tenant(tenant, By(caller.name))
        _log.info("tenant added", action="tenant_added", tenant=tenant.id)
        return tenant

    async def connections(
        self, caller: Caller, tenant: str | None, after: str, limit: int
    ) -> list[ConnectionView]:
        """Return up to `limit` connections with ids above `after`; UnknownError."""
        wanted = caller.tenant if tenant is None else await self._tenant(caller, tenant)
        if after:
            checked(after, "after")
        page = await self._store.accounts(wanted, after, min(max(limit, 1), MAX_PAGE))
        return [self._view(account) for account in page]

    async def connection(self, caller: Caller, connection: str) -> ConnectionView:
        """Return one connection; UnknownError, also for another tenant's."""
        account = await self._store.account(_possible(connection))
        if account is None or not caller.sees(account.connection.tenant):
            raise UnknownError
        return self._view(account)

    async def link(self, caller: Caller, tenant: str) -> str:
        """Return a signed link token that connects one account; UnknownError."""
        return await self._sign_ins.link(By(caller.name), await self._tenant(caller, tenant))

    async def reauthorize(self, caller: Caller, connection: str) -> str:
        """Return a signed link token for the same principal to come back.

        Raises UnknownError, InvalidInputError.
        """
        found = await self.connection(caller, connection)
        if found.principal_kind != "user":
            raise InvalidInputError("a service account's connection is renewed by connecting anew")
        return await self._sign_ins.link(By(caller.name), found.tenant, found.id)

    async def revoke(self, caller: Caller, connection: str) -> ConnectionView:
        """Begin to end a connection; doing it twice is fine. UnknownError."""
        fact = RevokeRequested("an operator ended it", self._revoke_grace)
        return await self._apply(caller, connection, fact, "revoke_requested")

    async def watch(
        self, caller: Caller, connection: str, folders: tuple[str, ...]
    ) -> ConnectionView:
        """Choose the folders whose activity is read; InvalidInputError, UnknownError."""
        if len(folders) > MAX_WATCHED_FOLDERS:
            raise InvalidInputError(f"at most {MAX_WATCHED_FOLDERS} folders")
        for folder in folders:
            checked(folder, "folder")
        return await self._apply(caller, connection, Rewatched(folders), "watch_requested")

    async def _tenant(self, caller: Caller, tenant: str) -> str:
        """Return the id of a tenant that exists for the caller; UnknownError."""
        if not caller.sees(tenant) or await self._store.tenant(_possible(tenant)) is None:
            raise UnknownError
        return tenant

    async def _apply(
        self, caller: Caller, connection: str, fact: Fact, action: str
    ) -> ConnectionView:
        now = self._clock.now()

        def changed(current: Connection) -> Change | None:
            if not caller.sees(current.tenant):
                raise UnknownError
            return decide(current, fact, now)

        by = By(caller.name, action.replace("_", " "))
        after = await self._store.apply(_possible(connection), changed, now, by)
        _log.info(
            "an operator changed a connection",
            action=action, tenant=after.tenant, connection=after.id, status=after.status,
            revision=after.revision,
        )  # fmt: skip
        return await self.connection(caller, connection)

    def _view(self, account: Account) -> ConnectionView:
        connection = account.connection
        return ConnectionView(
            id=connection.id,
            tenant=connection.tenant,
            status=connection.status,
            reason=connection.reason,
            since=connection.since,
            principal_kind=connection.principal_kind,
            account=self._address(account, connection),
            scopes=connection.scopes,
            watched_folders=connection.watched_folders,
            revision=connection.revision,
            created_at=connection.created_at,
        )

    def _address(self, account: Account, connection: Connection) -> str | None:
        if account.label is None:
            return None
        place = Place(connection.tenant, connection.id, "account")
        try:
            return self._keyring.open(account.label, place).get_secret_value()
        except SecretError as error:
            ALARMS.add()
            _log.error(
                "an account's address does not open",
                action="secret_alarm", connection=connection.id, reason=str(error),
            )  # fmt: skip
            return None


def _possible(token: str) -> str:
    """Return an id that can exist; UnknownError for one that cannot, however it is written."""
    try:
        return checked(token)
    except InvalidIdError:
        raise UnknownError from None
