"""What auth keeps and hands around: records without behaviour, secrets sealed in them."""

import datetime as dt
from collections.abc import Callable

import msgspec
from pydantic import SecretStr

from drivewake.auth.domain import Change, Connection
from drivewake.auth.keyring import Place
from drivewake.runtime.keyring import Sealed


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A customer organisation."""

    id: str
    name: str
    created_at: dt.datetime


class Marks(msgspec.Struct, frozen=True):
    """How Google names a refresh token in a security event: by its beginning, or by a hash."""

    prefix: bytes
    double: bytes


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The current refresh token of a connection, sealed. Another token is another `id`."""

    id: str
    connection: str
    tenant: str
    sealed: Sealed
    marks: Marks | None = None


class Delegation(Grant, frozen=True, kw_only=True):
    """The key of the service account (sealed) that a connection is had by, and for whom.

    `id` is another with every key of the account; `subject` is the connection's sealed address.
    """

    account: str
    subject: Sealed


class ServiceKey(msgspec.Struct, frozen=True, kw_only=True):
    """What of a service account's key file is used."""

    email: str
    client_id: str
    key_id: str
    private_key: SecretStr


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A service account of a tenant. `client_id` is what the Admin console delegates to."""

    id: str
    tenant: str
    email: str
    client_id: str
    added_at: dt.datetime
    connections: int = 0


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to connect one account; spent by the connection it makes.

    With `connection`, only that connection's principal may use it (reauthorisation).
    """

    id: str
    tenant: str
    connection: str | None
    expires_at: dt.datetime


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """One trip of a browser to Google and back.

    `browser` is the fingerprint of the cookie that the browser must bring back; `sealed`
    holds the PKCE verifier and the nonce.
    """

    id: str
    link: str
    tenant: str
    connection: str | None
    browser: bytes
    sealed: Sealed
    expires_at: dt.datetime


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a connection, waiting to be published or published."""

    connection: Connection
    at: dt.datetime


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A connection and the sealed address that an operator knows the account by."""

    connection: Connection
    label: Sealed | None


class By(msgspec.Struct, frozen=True):
    """Who does something, and why: what the audit trail says of it."""

    who: str
    why: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes a record of the audit chain (drivewake.contracts.audit.AuditRecord)."""

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


Decide = Callable[[Connection], Change | None]


class Establish(msgspec.Struct, frozen=True, kw_only=True):
    """A consent that was checked. `fresh` is the connection if the principal is new here.

    `decide` judges the one that is there already; `seal_grant` and `seal_label` seal for the
    id that the connection has.
    """

    link: str
    fresh: Connection
    decide: Decide
    seal_grant: Callable[[str], Grant]
    seal_label: Callable[[str], Sealed | None]
    now: dt.datetime
    by: By


class Delegate(msgspec.Struct, frozen=True, kw_only=True):
    """A subject that a service account may act for, as Google said. See `Establish`."""

    account: str
    fresh: Connection
    decide: Decide
    seal_label: Callable[[str], Sealed]
    now: dt.datetime
    by: By


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed secret at rest, and where it belongs."""

    place: Place
    sealed: Sealed


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What Google's token endpoint gave. `lifetime_s` is the access token's, from now on."""

    access_token: SecretStr
    lifetime_s: float
    scopes: tuple[str, ...]
    refresh_token: SecretStr | None = None
    id_token: SecretStr | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed in, proved by Google's signature."""

    issuer: str
    subject: str
    email: SecretStr | None = None
