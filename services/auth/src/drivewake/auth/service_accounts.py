"""Service accounts that act for people of a Workspace: domain-wide delegation.

Source: https://developers.google.com/identity/protocols/oauth2/service-account. One connection a
subject, made only when Google has given a token for it. A subject is an address, for Google takes
nothing else; what identifies its connection is the address's hash, the address itself is sealed.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from drivewake.auth import scopes
from drivewake.auth.audit import Trail
from drivewake.auth.callers import Caller
from drivewake.auth.domain import Connection, Established, decide
from drivewake.auth.errors import (
    AuthError,
    ConnectionEndingError,
    GoogleError,
    InvalidInputError,
    UnknownError,
)
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.ports import Google, ServiceAccounts, Tenants
from drivewake.auth.records import By, Delegate, ServiceAccount, ServiceKey
from drivewake.contracts.ids import InvalidIdError, checked, new_id
from drivewake.runtime.clock import Clock
from drivewake.runtime.keyring import Sealed

MAX_SUBJECTS: Final = 200
AT_ONCE: Final = 8
MIN_KEY_BITS: Final = 2048
MAX_TEXT: Final = 10_000
_ADDRESS: Final = re.compile(r"[^@\s<>\"',;:\\]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,63}")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one subject: its connection, or why there is none."""

    subject: str
    connection: str | None
    reason: str


class Store(Tenants, ServiceAccounts, Protocol):
    """What of the store is used here."""


class ServiceAccountDesk:
    """Service accounts and the connections that are had by them, for callers of the API."""

    def __init__(
        self,
        store: Store,
        google: Google,
        keyring: Keyring,
        clock: Clock,
        trail: Trail,
        *,
        required: Sequence[str],
    ) -> None:
        self._store = store
        self._google = google
        self._keyring = keyring
        self._clock = clock
        self._trail = trail
        self._required = scopes.parsed(" ".join(required))

    async def accounts(self, caller: Caller) -> Sequence[ServiceAccount]:
        """Return the service accounts that the caller sees."""
        return await self._store.service_accounts(caller.tenant)

    async def add(self, caller: Caller, tenant: str, key: dict[str, Any]) -> ServiceAccount:
        """Add a service account by its key file, or give a known one a new key.

        Raises InvalidInputError, UnknownError.
        """
        if not caller.sees(tenant) or await self._store.tenant(_possible(tenant)) is None:
            raise UnknownError
        read, now, fresh = key_of(key), self._clock.now(), new_id()
        check_key(read)
        account = ServiceAccount(
            id=fresh, tenant=tenant, email=read.email, client_id=read.client_id, added_at=now
        )

        def seal(account_id: str) -> Sealed:
            place = Place(tenant, account_id, "service_account")
            return self._keyring.seal(SecretStr(msgspec.json.encode(key).decode()), place)

        return await self._store.put_service_account(account, new_id(), seal, By(caller.name))

    async def connect(
        self, caller: Caller, account_id: str, subjects: Sequence[str]
    ) -> Sequence[Outcome]:
        """Connect subjects; each is told what became of it. InvalidInputError, UnknownError."""
        if not 0 < len(subjects) <= MAX_SUBJECTS:
            raise InvalidInputError(f"1 to {MAX_SUBJECTS} subjects at a time")
        found = await self._store.service_account(_possible(account_id))
        if found is None or not caller.sees(found[0].tenant):
            raise UnknownError
        account, sealed = found
        place = Place(account.tenant, account.id, "service_account")
        key = key_of(msgspec.json.decode(self._keyring.open(sealed, place).get_secret_value()))
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(subject: str) -> Outcome:
            async with slots:
                return await self._one(caller, account, key, subject)

        wanted = dict.fromkeys(subject.strip().lower() for subject in subjects)
        return await asyncio.gather(*(one(subject) for subject in wanted))

    async def _one(
        self, caller: Caller, account: ServiceAccount, key: ServiceKey, subject: str
    ) -> Outcome:
        if _ADDRESS.fullmatch(subject) is None:
            return Outcome(subject=subject[:320], connection=None, reason="is no address")
        try:
            await self._google.delegated(key, SecretStr(subject), self._required)
            connection = await self._established(caller, account, subject)
        except (GoogleError, ConnectionEndingError) as error:
            said = error.code if isinstance(error, GoogleError) else ""
            outcome = said or "refused"
            self._trail.count(caller.name, "delegation.refused", outcome, tenant=account.tenant)
            return Outcome(subject=subject, connection=None, reason=_reason(error, said))
        return Outcome(subject=subject, connection=connection.id, reason="")

    async def _established(
        self, caller: Caller, account: ServiceAccount, subject: str
    ) -> Connection:
        now = self._clock.now()
        fresh = Connection(
            id=new_id(),
            tenant=account.tenant,
            principal_kind="service_account",
            issuer=f"service-account:{account.email}",
            subject=hashlib.sha256(subject.encode()).hexdigest(),
            status="active",
            reason="",
            since=now,
            scopes=self._required,
            revision=1,
            created_at=now,
        )
        return await self._store.delegate(
            Delegate(
                account=account.id,
                fresh=fresh,
                decide=lambda before: decide(before, Established(self._required), now),
                seal_label=lambda connection: self._keyring.seal(
                    SecretStr(subject), Place(account.tenant, connection, "account")
                ),
                now=now,
                by=By(caller.name, "domain-wide delegation"),
            )
        )


def key_of(key: dict[str, Any]) -> ServiceKey:
    """Return what of a key file is used; raises InvalidInputError, which repeats nothing of it.

    The file's own addresses are not: whoever hands us a file does not choose whom we ask.
    """
    texts = [key.get(n) for n in ("client_email", "client_id", "private_key_id", "private_key")]
    if key.get("type") != "service_account" or not all(
        isinstance(text, str) and 0 < len(text) <= MAX_TEXT for text in texts
    ):
        raise InvalidInputError("this is no key file of a service account")
    email, client_id, key_id, private_key = map(str, texts)
    return ServiceKey(
        email=email.lower(),
        client_id=client_id,
        key_id=key_id,
        private_key=SecretStr(private_key),
    )


def check_key(key: ServiceKey) -> None:
    """Raise InvalidInputError for a key that cannot sign, or an account that cannot be."""
    if _ADDRESS.fullmatch(key.email) is None:
        raise InvalidInputError("the key file names no service account")
    try:
        private = load_pem_private_key(key.private_key.get_secret_value().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInputError("the key file's private_key is no key") from None
    if not isinstance(private, RSAPrivateKey) or private.key_size < MIN_KEY_BITS:
        raise InvalidInputError(f"the private_key must be RSA of at least {MIN_KEY_BITS} bits")


def _reason(error: AuthError, code: str) -> str:
    match code:
        case "unauthorized_client":
            return "the delegation of these scopes is missing in the Admin console"
        case "invalid_grant":
            return "there is no such account in the domain, or it is suspended"
    return str(error)


def _possible(token: str) -> str:
    try:
        return checked(token)
    except InvalidIdError:
        raise UnknownError from None
