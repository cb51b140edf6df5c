"""What auth needs from outside: a store, Google, and who knows its callers.

Every method of the store may raise StoreUnavailableError.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from drivewake.auth.callers import Caller
from drivewake.auth.domain import Connection
from drivewake.auth.keyring import Place
from drivewake.auth.records import (
    Account,
    By,
    Decide,
    Delegate,
    Entry,
    Establish,
    Grant,
    Identity,
    Kept,
    Link,
    ServiceAccount,
    ServiceKey,
    SignIn,
    Tenant,
    Tokens,
    Transition,
)
from drivewake.contracts.audit import AuditRecord
from drivewake.runtime.keyring import Sealed


class Audit(Protocol):
    """The audit chain. Nothing in it can be changed."""

    async def append(self, entries: Sequence[Entry]) -> str:
        """Put entries at the end, durably, all or none; return the head (`NUMBER:HASH`)."""
        ...

    async def records(self, tenant: str | None, after: int, limit: int) -> Sequence[AuditRecord]:
        """Return up to `limit` records with a number above `after`, of a tenant or of all."""
        ...


class Tenants(Protocol):
    """The table of tenants. Every method of the store may raise StoreUnavailableError."""

    async def tenants(self) -> Sequence[Tenant]:
        """Return all tenants, by id."""
        ...

    async def tenant(self, tenant: str) -> Tenant | None:
        """Return one tenant, None if there is none of this id."""
        ...

    async def add_tenant(self, tenant: Tenant, by: By) -> None:
        """Add a tenant; TenantExistsError if the id is taken."""
        ...


class Connections(Protocol):
    """The table of connections. A change and its outbox row are one transaction."""

    async def connection(self, tenant: str, connection: str) -> Connection | None:
        """Return one connection of a tenant."""
        ...

    async def accounts(self, tenant: str | None, after: str, limit: int) -> Sequence[Account]:
        """Return up to `limit` connections with an id above `after`, by id."""
        ...

    async def account(self, connection: str) -> Account | None:
        """Return one connection, whoever's it is."""
        ...

    async def apply(self, connection: str, decide: Decide, now: dt.datetime, by: By) -> Connection:
        """Lock the row, let `decide` say what changes, write it; return the connection after.

        A risen revision is written to the outbox and to the audit chain in the same
        transaction. Raises UnknownError, and whatever `decide` raises, having written nothing.
        """
        ...


class Grants(Protocol):
    """Refresh tokens, sealed."""

    async def grant(self, connection: str) -> Grant | None:
        """Return the current refresh token, None if there is none (any more)."""
        ...

    async def replace_grant(self, grant: Grant, *, expected: str) -> bool:
        """Put `grant` in the place of the grant whose id is `expected`; say if it was there."""
        ...

    async def apply_to_grant(
        self, connection: str, grant: str, decide: Decide, now: dt.datetime, by: By
    ) -> Connection:
        """Do `Connections.apply` only if `grant` is still the id of the current grant."""
        ...

    async def shares_principal(self, connection: str) -> bool:
        """Return whether another living connection has the same principal at Google.

        A revocation at Google ends the grant of all of them.
        """
        ...

    async def principal_lives(self, issuer: str, subject: str) -> bool:
        """Return whether any living connection has this principal."""
        ...


class SignIns(Protocol):
    """Links, trips to Google, and the connections that come of them."""

    async def add_link(self, link: Link, now: dt.datetime, by: By) -> None:
        """Store a link."""
        ...

    async def open_link(
        self, link: str, sign_in: Callable[[Link], SignIn], now: dt.datetime
    ) -> SignIn | None:
        """Store and return the sign-in that an unspent, unexpired link leads to.

        A link can be opened a few times only.
        """
        ...

    async def take_sign_in(self, sign_in: str, browser: bytes, now: dt.datetime) -> SignIn | None:
        """Remove and return an unexpired sign-in, if this browser began it. Works once."""
        ...

    async def establish(self, request: Establish) -> Connection:
        """Make or revive the principal's connection in the tenant, with its new grant.

        One transaction: the link is spent, the connection is written by `decide`, the grant
        and the outbox row too. Raises SignInError when the link was used meanwhile, and what
        `decide` raises, having written nothing.
        """
        ...


class ServiceAccounts(Protocol):
    """Service accounts, and connections that are had by them."""

    async def service_accounts(self, tenant: str | None) -> Sequence[ServiceAccount]:
        """Return the service accounts of a tenant, or all."""
        ...

    async def service_account(self, account: str) -> tuple[ServiceAccount, Sealed] | None:
        """Return one service account and its sealed key, None if there is none."""
        ...

    async def put_service_account(
        self, account: ServiceAccount, grant: str, seal: Callable[[str], Sealed], by: By
    ) -> ServiceAccount:
        """Add an account, or give the one of this tenant and address a new key."""
        ...

    async def delegate(self, request: Delegate) -> Connection:
        """Make or revive the subject's connection, in one transaction; what `decide` raises."""
        ...


class Revocations(Protocol):
    """Connections that wait for Google to be told."""

    async def due_revocations(self, now: dt.datetime, limit: int) -> Sequence[Connection]:
        """Return connections in `revoking` whose time has come, the longest waiting first."""
        ...


class Outbox(Protocol):
    """Revisions on their way to DRIVE_CONNECTION."""

    async def publish_pending(
        self,
        publish: Callable[[Transition], Awaitable[bool]],
        limit: int,
        held: Sequence[str] = (),
    ) -> int:
        """Hand up to `limit` unpublished revisions to `publish`, oldest first.

        Returns how many were published. One process at a time does it: others return 0 at
        once. What `publish` returned True for is marked; False skips what follows of that
        connection. An exception ends the pass, and what was done before it stays marked.
        Connections in `held` are left out.
        """
        ...

    async def unpublish(self, connection: str, above: int) -> None:
        """Mark the revisions above `above` as unpublished: the stream does not hold them."""
        ...


class SecurityEvents(Protocol):
    """Google's security events, and whom they concern."""

    async def is_known(self, jti: str) -> bool:
        """Return whether an event was acted upon."""
        ...

    async def acted_upon(self, jti: str, now: dt.datetime) -> None:
        """Remember an event."""
        ...

    async def of_principal(
        self, issuer: str, subject: str, granted_by: dt.datetime
    ) -> Sequence[Connection]:
        """Return an account's connections but those that were granted after an instant."""
        ...

    async def of_token(self, mark: bytes) -> Sequence[Connection]:
        """Return the connections whose refresh token has this mark."""
        ...


class Secrets(Protocol):
    """All secrets at rest, for the rotation of keys."""

    async def key_counts(self) -> Mapping[str, int]:
        """Return how many secrets lie under each key."""
        ...

    async def under_other_keys(
        self, current: str, after: Place | None, limit: int
    ) -> Sequence[Kept]:
        """Return up to `limit` secrets that do not lie under the current key, by place."""
        ...

    async def reseal(self, changes: Sequence[tuple[Kept, Sealed]]) -> None:
        """Put secrets under other keys; those that were replaced meanwhile are left alone."""
        ...


class Housekeeping(Protocol):
    """What is over."""

    async def forget_expired(self, now: dt.datetime) -> None:
        """Delete links and sign-ins that nobody can use any more."""
        ...


class Google(Protocol):
    """Google's OAuth endpoints. Every call is bounded in time and never retried inside."""

    async def exchange(self, code: SecretStr, verifier: SecretStr) -> Tokens:
        """Turn a code into tokens. Raises the tree of GoogleError."""
        ...

    async def refresh(self, refresh_token: SecretStr) -> Tokens:
        """Return a fresh access token. Raises the tree of GoogleError."""
        ...

    async def delegated(self, key: ServiceKey, subject: SecretStr, scopes: Sequence[str]) -> Tokens:
        """Return an access token of a service account acting for a subject.

        Raises GrantDeadError (no such subject), GrantBlockedError (not delegated) and the rest
        of the tree.
        """
        ...

    async def revoke(self, token: SecretStr) -> None:
        """End the grant behind a token; one that Google does not know any more is fine.

        Raises GoogleUnavailableError.
        """
        ...

    async def identify(self, id_token: SecretStr | None, nonce: SecretStr) -> Identity:
        """Verify an id_token, which has to be there.

        Raises IdentityError, GoogleUnavailableError.
        """
        ...


class Authenticator(Protocol):
    """Knows the callers of the HTTP API."""

    async def authenticate(self, bearer: str) -> Caller:
        """Return who brings this token; raises UntrustedTokenError, IssuerUnavailableError."""
        ...
