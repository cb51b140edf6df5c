"""Connecting an account: a link, a trip to Google and back, a connection.

    operator ──link──▶ person ──GET /v1/connect──▶ Google ──GET /v1/callback──▶ connection

The answer must come back in the browser that left (a cookie), once, in time, with our
signature on the state, our verifier behind the code and our nonce in the id_token.
"""

import datetime as dt
import secrets
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from pydantic import SecretStr

from drivewake.auth import consent, scopes
from drivewake.auth.domain import Connection, Established, decide
from drivewake.auth.errors import (
    ClientRejectedError,
    ConnectionEndingError,
    GoogleError,
    GoogleUnavailableError,
    IdentityError,
    SignInError,
    UnknownError,
)
from drivewake.auth.keyring import Keyring, Place, fingerprint
from drivewake.auth.ports import Connections, Google, Grants, SignIns, Tenants
from drivewake.auth.records import By, Establish, Grant, Identity, Link, SignIn, Tokens
from drivewake.auth.risc import marks_of
from drivewake.contracts.ids import new_id
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.keyring import Sealed
from drivewake.runtime.logging import get_logger

LINK_LIFE: Final = dt.timedelta(minutes=15)
SIGN_IN_LIFE: Final = dt.timedelta(minutes=10)

_log = get_logger(__name__)


class Store(Tenants, Connections, Grants, SignIns, Protocol):
    """What of the store is used here."""


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """How this installation presents itself to Google."""

    authorization_url: str
    issuer: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser, and the cookie that it must bring back."""

    url: str
    cookie_name: str
    cookie: SecretStr


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser brought back; every field is the sender's word only."""

    state: str
    code: SecretStr
    error: str
    issuer: str
    cookies: dict[str, str]


class SignInService:
    """Leads people to Google and makes connections of their consent."""

    def __init__(
        self, store: Store, google: Google, keyring: Keyring, consent: Consent, clock: Clock
    ) -> None:
        self._store = store
        self._google = google
        self._keyring = keyring
        self._consent = consent
        self._clock = clock

    async def link(self, by: By, tenant: str, connection: str | None = None) -> str:
        """Return a signed link token that connects one account; UnknownError."""
        if await self._store.tenant(tenant) is None:
            raise UnknownError
        if connection is not None and await self._store.connection(tenant, connection) is None:
            raise UnknownError
        now = self._clock.now()
        link = Link(id=new_id(), tenant=tenant, connection=connection, expires_at=now + LINK_LIFE)
        await self._store.add_link(link, now, by)
        return self._keyring.sign(consent.LINK, link.id)

    async def depart(self, link_token: str) -> Departure:
        """Begin a trip to Google. Raises SignInError."""
        link_id = self._verified(consent.LINK, link_token)
        if link_id is None:
            raise SignInError("again")
        proof, cookie, now = consent.Proof.fresh(), secrets.token_urlsafe(32), self._clock.now()

        def sign_in(link: Link) -> SignIn:
            made = new_id()
            return SignIn(
                id=made,
                link=link.id,
                tenant=link.tenant,
                connection=link.connection,
                browser=fingerprint(cookie),
                sealed=self._keyring.seal(proof.dump(), Place(link.tenant, made, "sign_in")),
                expires_at=now + SIGN_IN_LIFE,
            )

        made = await self._store.open_link(link_id, sign_in, now)
        if made is None:
            raise SignInError("again")
        url = consent.consent_url(
            self._consent.authorization_url,
            client_id=self._consent.client_id,
            redirect_uri=self._consent.redirect_uri,
            wanted=self._consent.scopes,
            state=self._keyring.sign(consent.STATE, made.id),
            proof=proof,
            login_hint=await self._hint(made),
        )
        return Departure(
            url=url, cookie_name=consent.cookie_name(made.id), cookie=SecretStr(cookie)
        )

    async def _hint(self, sign_in: SignIn) -> str:
        """Return whom Google should offer: the principal who is asked to come back."""
        if sign_in.connection is None:
            return ""
        connection = await self._store.connection(sign_in.tenant, sign_in.connection)
        return connection.subject if connection is not None else ""

    async def arrive(self, back: Return) -> Connection:
        """End a trip: make or revive the connection. Raises SignInError, StoreUnavailableError.

        Nothing of `back` is believed before the state's signature and the cookie agree.
        """
        sign_in = await self._taken(back)
        if back.error:
            code = consent.safe_code(back.error)
            _log.info("Google sent the person back", action="sign_in_refused", reason=code)
            raise SignInError(consent.page_of(back.error), detail=code)
        if back.issuer and back.issuer != self._consent.issuer:
            raise SignInError("again")
        if not back.code.get_secret_value():
            raise SignInError("again")
        tokens, identity = await self._proved(sign_in, back.code)
        await self._accept(sign_in, tokens, identity)
        return await self._establish(sign_in, tokens, identity)

    def cookie_of(self, state: str) -> str:
        """Return the name of the cookie that belongs to a state, nothing for a foreign one."""
        sign_in = self._verified(consent.STATE, state)
        return "" if sign_in is None else consent.cookie_name(sign_in)

    def _verified(self, kind: str, signed: str) -> str | None:
        return self._keyring.verify(kind, signed) if consent.is_signed_text(signed) else None

    async def _taken(self, back: Return) -> SignIn:
        """Return the sign-in that the state names, if this browser began it; only once."""
        name = self.cookie_of(back.state)
        cookie = back.cookies.get(name, "") if name else ""
        if not cookie:
            raise SignInError("again")
        sign_in = self._verified(consent.STATE, back.state)
        taken = await self._store.take_sign_in(
            sign_in or "", fingerprint(cookie), self._clock.now()
        )
        if taken is None:
            raise SignInError("again")
        return taken

    async def _proved(self, sign_in: SignIn, code: SecretStr) -> tuple[Tokens, Identity]:
        """Exchange the code and verify who it is."""
        place = Place(sign_in.tenant, sign_in.id, "sign_in")
        try:
            proof = consent.Proof.parse(self._keyring.open(sign_in.sealed, place))
            tokens = await self._google.exchange(code, proof.verifier)
            return tokens, await self._google.identify(tokens.id_token, proof.nonce)
        except GoogleUnavailableError as error:
            _log.warning("Google did not answer", action="sign_in_failed", reason=str(error))
            raise SignInError("unavailable") from error
        except ClientRejectedError as error:
            _log.error("this application is refused", action="client_rejected", reason=error.code)
            raise SignInError("misconfigured", detail=error.code) from error
        except (GoogleError, IdentityError, SecretError) as error:
            _log.warning("a sign-in is refused", action="sign_in_failed", reason=str(error))
            raise SignInError("again") from error

    async def _accept(self, sign_in: SignIn, tokens: Tokens, identity: Identity) -> None:
        """Refuse a consent that is not what was asked for; its grant is ended at Google."""
        lacking = scopes.missing(tokens.scopes, self._consent.scopes)
        if lacking:
            await self._undo(tokens, identity)
            raise SignInError("scopes", detail=" ".join(lacking))
        if sign_in.connection is not None:
            expected = await self._store.connection(sign_in.tenant, sign_in.connection)
            if expected is None or (expected.issuer, expected.subject) != (
                identity.issuer,
                identity.subject,
            ):
                await self._undo(tokens, identity)
                raise SignInError("other_account")
        if tokens.refresh_token is None:
            # Nothing to undo: ending the grant is what the person must do, or we would loop.
            raise SignInError("not_offline")

    async def _undo(self, tokens: Tokens, identity: Identity) -> None:
        """End a grant that nobody asked for, unless a connection lives by it.

        Google ends all grants of a principal to this application at once.
        """
        if await self._store.principal_lives(identity.issuer, identity.subject):
            return
        try:
            await self._google.revoke(tokens.refresh_token or tokens.access_token)
        except GoogleUnavailableError as error:
            _log.warning(
                "an unwanted grant could not be ended", action="undo_failed", reason=str(error)
            )

    async def _establish(self, sign_in: SignIn, tokens: Tokens, identity: Identity) -> Connection:
        refresh_token, now = tokens.refresh_token, self._clock.now()
        if refresh_token is None:
            raise SignInError("not_offline")

        def seal_grant(connection: str) -> Grant:
            place = Place(sign_in.tenant, connection, "refresh_token")
            return Grant(
                id=new_id(),
                connection=connection,
                tenant=sign_in.tenant,
                sealed=self._keyring.seal(refresh_token, place),
                marks=marks_of(refresh_token),
            )

        def seal_label(connection: str) -> Sealed | None:
            if identity.email is None:
                return None
            return self._keyring.seal(identity.email, Place(sign_in.tenant, connection, "account"))

        request = Establish(
            link=sign_in.link,
            fresh=_fresh(sign_in.tenant, identity, tokens.scopes, now),
            decide=lambda before: decide(before, Established(tokens.scopes), now),
            seal_grant=seal_grant,
            seal_label=seal_label,
            now=now,
            by=By("person", "consented at Google"),
        )
        try:
            connection = await self._store.establish(request)
        except ConnectionEndingError as error:
            raise SignInError("ending") from error
        _log.info(
            "connection established",
            action="connection_established",
            tenant=connection.tenant,
            connection=connection.id,
            revision=connection.revision,
        )
        return connection


def _fresh(tenant: str, identity: Identity, granted: Sequence[str], now: dt.datetime) -> Connection:
    return Connection(
        id=new_id(),
        tenant=tenant,
        principal_kind="user",
        issuer=identity.issuer,
        subject=identity.subject,
        status="active",
        reason="",
        since=now,
        scopes=tuple(granted),
        revision=1,
        created_at=now,
    )
