"""Signing in to the console: a trip to the OIDC issuer and back, then a sealed cookie.

Nothing is stored: who is on the way carries the sealed verifier and nonce in one cookie, who is
in carries the sealed session in another. A session ends after an hour, whatever the issuer says
meanwhile; a key taken out of the keyring ends those sealed under it.
"""

import datetime as dt
import hmac
import secrets
from typing import Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import SecretStr

from drivewake.auth import consent
from drivewake.auth.audit import Trail, entry
from drivewake.auth.callers import Caller, OidcCallers, Role
from drivewake.auth.errors import IssuerUnavailableError, UntrustedTokenError
from drivewake.auth.issuer import IssuerHttp
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.records import By
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.keyring import Sealed

SESSION_LIFE: Final = dt.timedelta(hours=1)
LOGIN_LIFE: Final = dt.timedelta(minutes=10)
MAX_COOKIE: Final = 3000
_SESSION: Final = Place("", "console", "session")
_LOGIN: Final = Place("", "console", "sign_in")


class Session(msgspec.Struct, frozen=True):
    """Who is in, until when; `form` is what every form that changes something must bring."""

    subject: str
    role: Role
    tenant: str | None
    form: str
    until: dt.datetime

    def __repr__(self) -> str:
        return f"Session({self.subject}, {self.role})"

    @property
    def caller(self) -> Caller:
        """The caller that this session stands for."""
        return Caller(subject=self.subject, role=self.role, tenant=self.tenant)


class _Login(msgspec.Struct, frozen=True):
    """Who is on the way to the issuer."""

    state: str
    verifier: str
    nonce: str
    until: dt.datetime

    def __repr__(self) -> str:
        return "_Login()"


_T = TypeVar("_T", Session, _Login)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How the console presents itself to the issuer."""

    client_id: str
    secret: SecretStr
    redirect_uri: str


class Console:
    """Lets people in. `callers` verifies id_tokens made for the console's client."""

    def __init__(
        self,
        issuer: IssuerHttp,
        callers: OidcCallers,
        client: Client,
        keyring: Keyring,
        clock: Clock,
        trail: Trail,
    ) -> None:
        self._issuer = issuer
        self._callers = callers
        self._client = client
        self._keyring = keyring
        self._clock = clock
        self._trail = trail

    async def depart(self) -> tuple[str, str]:
        """Return where the issuer lets people in, and the cookie to bring back.

        Raises IssuerUnavailableError.
        """
        endpoint = (await self._issuer.discovery()).authorization_endpoint
        if not endpoint or not self._client.client_id:
            raise IssuerUnavailableError(
                "the console is not set up: DRIVEWAKE_OIDC_CLIENT_ID and …_SECRET name its client"
            )
        proof, state = consent.Proof.fresh(), secrets.token_urlsafe(24)
        query = {
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "response_type": "code",
            "scope": "openid",
            "state": state,
            "nonce": proof.nonce.get_secret_value(),
            "code_challenge": consent.challenge(proof.verifier),
            "code_challenge_method": "S256",
        }
        login = _Login(
            state,
            proof.verifier.get_secret_value(),
            proof.nonce.get_secret_value(),
            self._clock.now() + LOGIN_LIFE,
        )
        separator = "&" if urlsplit(endpoint).query else "?"
        return f"{endpoint}{separator}{urlencode(query)}", self._sealed(login, _LOGIN)

    async def arrive(self, cookie: str, state: str, code: str) -> str:
        """Return the session cookie of who came back; UntrustedTokenError, or the issuer's."""
        login = self._opened(cookie, _LOGIN, _Login)
        if login is None or login.until < self._clock.now():
            raise UntrustedTokenError("this sign-in was begun elsewhere, or too long ago")
        if not hmac.compare_digest(login.state.encode(), state.encode()):
            raise UntrustedTokenError("this answer belongs to another sign-in")
        id_token = await self._issuer.exchange(
            SecretStr(code),
            SecretStr(login.verifier),
            (self._client.client_id, self._client.secret),
            self._client.redirect_uri,
        )
        caller = await self._callers.authenticate(id_token.get_secret_value(), nonce=login.nonce)
        now = self._clock.now()
        session = Session(
            caller.subject,
            caller.role,
            caller.tenant,
            secrets.token_urlsafe(24),
            now + SESSION_LIFE,
        )
        fact = entry(By(caller.name), now, "console.signed_in", tenant=caller.tenant or "")
        await self._trail.append(fact)
        return self._sealed(session, _SESSION)

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie, None without a living one."""
        found = self._opened(cookie, _SESSION, Session)
        return found if found is not None and self._clock.now() < found.until else None

    def _sealed(self, value: Session | _Login, place: Place) -> str:
        text = SecretStr(msgspec.json.encode(value).decode())
        sealed = self._keyring.seal(text, place)
        return f"{sealed.key_id}.{sealed.data.hex()}"

    def _opened(self, cookie: str, place: Place, kind: type[_T]) -> _T | None:
        key_id, _, data = cookie[:MAX_COOKIE].partition(".")
        try:
            text = self._keyring.open(Sealed(key_id, bytes.fromhex(data)), place)
            return msgspec.json.decode(text.get_secret_value(), type=kind)
        except (SecretError, ValueError, msgspec.MsgspecError):
            return None
