"""Access tokens for those who may have them: one refresh for however many ask at once."""

import asyncio
from typing import Final, Protocol

import msgspec

from drivewake.auth import scopes
from drivewake.auth.audit import Trail, entry
from drivewake.auth.domain import (
    Connection,
    Fact,
    GrantDied,
    Refreshed,
    Reported,
    decide,
    may_use,
)
from drivewake.auth.errors import (
    ClientRejectedError,
    GoogleUnavailableError,
    GrantBlockedError,
    GrantDeadError,
    StoreUnavailableError,
)
from drivewake.auth.keyring import Keyring, Place
from drivewake.auth.patience import Key, Patience
from drivewake.auth.ports import Connections, Google, Grants
from drivewake.auth.records import By, Delegation, Grant, Tokens
from drivewake.auth.refusals import Code, RefusedError, refused
from drivewake.auth.risc import marks_of
from drivewake.auth.service_accounts import key_of
from drivewake.auth.token_cache import BadKeyError, CachedToken, TokenCache
from drivewake.contracts.ids import new_id
from drivewake.contracts.rpc import TokenRequest
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import SecretError
from drivewake.runtime.logging import get_logger
from drivewake.runtime.metrics import Counter

REFRESHES_AT_ONCE: Final = 64
ATTEMPTS: Final = 3
"""How often a refresh starts again because the connection or its grant changed meanwhile."""

_log = get_logger(__name__)
REFRESHES: Final = Counter(
    "auth_token_refreshes",
    meaning="Refreshes at Google, by outcome.",
    labels={"outcome": ("ok", "unavailable", "dead", "blocked", "client_rejected")},
)
ALARMS: Final = Counter(
    "auth_secret_alarms", meaning="Stored secrets that did not open: tampered, or a key is missing."
)


class Store(Connections, Grants, Protocol):
    """What of the store is used here."""


class _Flight:
    """One refresh under way; everybody who asks meanwhile waits for it."""

    __slots__ = ("overtaken", "task", "void")

    def __init__(self) -> None:
        self.overtaken = 0
        self.void = False
        self.task: asyncio.Task[CachedToken]


class TokenService:
    """Hands out access tokens. `required` are the scopes that every connection must have."""

    def __init__(
        self,
        store: Store,
        google: Google,
        keyring: Keyring,
        clock: Clock,
        trail: Trail,
        *,
        required: frozenset[str],
        cache_size: int,
    ) -> None:
        self._store = store
        self._google = google
        self._keyring = keyring
        self._clock = clock
        self._trail = trail
        self._required = required
        self._cache = TokenCache(cache_size)
        self._flights: dict[Key, _Flight] = {}
        self._patience = Patience()
        self._slots = asyncio.Semaphore(REFRESHES_AT_ONCE)

    async def reply(self, caller: str, request: TokenRequest) -> bytes:
        """Return the encoded TokenReply for this caller; raises RefusedError."""
        key = (request.tenant, request.connection)
        token = self._cache.get(key, self._clock.monotonic_s())
        if token is not None and request.rejected == token.token_id:
            self._renew(key, request.rejected)
            token = None
        if token is None:
            token = await self._shared(key, By(f"service:{caller}", "asked for a token"))
        if not may_use(token.connection, caller, self._clock.now()):
            raise _not_active(token.connection)
        lacking = sorted(set(scopes.parsed(" ".join(request.scopes))) - token.scopes)
        if lacking:
            raise refused("scope_missing", f"not granted: {' '.join(lacking)[:500]}", retry=False)
        try:
            return token.reply_to(request.public_key)
        except BadKeyError as error:
            raise refused("invalid_request", str(error), retry=False) from None

    def overtaken(self, tenant: str, connection: str, revision: int) -> None:
        """Forget what is known of a connection from before a revision."""
        key = (tenant, connection)
        self._cache.overtaken(key, revision)
        self._patience.forget(key)
        flight = self._flights.get(key)
        if flight is not None:
            flight.overtaken = max(flight.overtaken, revision)

    def forget_all(self) -> None:
        """Forget all tokens: changes of connections may have been missed."""
        self._cache.clear()
        for flight in self._flights.values():
            flight.void = True

    async def verify(self, caller: str, tenant: str, connection: str) -> None:
        """Ask Google whether the grant still lives, and believe the answer.

        Raises RefusedError; bounded like renewals on a caller's word.
        """
        key = (tenant, connection)
        token = self._cache.get(key, self._clock.monotonic_s())
        if token is not None:
            self._renew(key, token.token_id)
        await self._shared(key, By(f"service:{caller}", "reported a dead grant"))

    async def close(self) -> None:
        """End the refreshes under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _renew(self, key: Key, token_id: str) -> None:
        """Drop a token that Google refused, unless that happens too often."""
        if not self._patience.may_renew(key, self._clock.monotonic_s()):
            raise refused("google_unavailable", "tokens are refused too often", retry=True)
        self._cache.reject(key, token_id)

    async def _shared(self, key: Key, by: By) -> CachedToken:
        """Return the fresh token that one refresh brings to all who wait for it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, by), name="token-refresh")
            flight.task.add_done_callback(_retrieved)
        # Who gives up waiting must not end the refresh for the others.
        return await asyncio.shield(flight.task)

    async def _fly(self, key: Key, flight: _Flight, by: By) -> CachedToken:
        try:
            for _ in range(ATTEMPTS):
                flight.void = False
                token = await self._refresh(key, by)
                if token is None or flight.void:
                    continue
                if token.connection.revision >= flight.overtaken:
                    self._cache.put(token)
                    return token
            raise refused("google_unavailable", "the connection is changing", retry=True)
        except StoreUnavailableError:
            raise refused("internal", "the database did not answer", retry=True) from None
        finally:
            del self._flights[key]

    async def _refresh(self, key: Key, by: By) -> CachedToken | None:
        """Return a fresh token, None if the grant was replaced meanwhile; RefusedError."""
        known = await self._store.connection(*key)
        if known is None:
            raise refused("unknown_connection", "there is no such connection", retry=False)
        if not may_use(known, "webhook", self._clock.now()):
            raise _not_active(known)
        if not self._patience.may_ask(key, self._clock.monotonic_s()):
            raise refused("google_unavailable", "Google failed just now", retry=True)
        grant = await self._store.grant(known.id)
        if grant is None:
            raise _not_active(known)
        async with self._slots:
            tokens = await self._asked(known, grant, by)
        if tokens is None:
            return None
        self._patience.succeeded(key)
        after = await self._learned(known, grant, tokens, by)
        # Nobody gets the new token before the chain says that there is one.
        fact = entry(
            by, self._clock.now(), "token.refreshed", tenant=known.tenant, connection=known.id
        )
        await self._trail.append(fact)
        if not may_use(after, "webhook", self._clock.now()):
            raise _not_active(after)
        return CachedToken(
            tokens.access_token,
            token_id=new_id(),
            connection=after,
            scopes=scopes.covered(after.scopes),
            lifetime_s=tokens.lifetime_s,
            now=self._clock.now(),
            monotonic_s=self._clock.monotonic_s(),
        )

    async def _asked(self, known: Connection, grant: Grant, by: By) -> Tokens | None:
        """Ask Google; a refusal changes the connection. None if the grant was not current."""
        try:
            tokens = await self._had(grant)
        except SecretError as error:
            ALARMS.add()
            _log.error(
                "a refresh token does not open",
                action="secret_alarm", connection=known.id, reason=str(error),
            )  # fmt: skip
            raise refused("internal", "the stored grant cannot be used", retry=False) from None
        except GrantDeadError as error:
            REFRESHES.add(outcome="dead")
            reason = f"Google ended the grant ({error.code})"
            await self._concluded(known, grant, GrantDied(reason), "grant_dead", by)
            return None
        except GrantBlockedError as error:
            REFRESHES.add(outcome="blocked")
            reason = f"an administrator at Google blocks it ({error.code})"
            await self._concluded(known, grant, Reported("blocked", reason), "not_active", by)
            return None
        except (GoogleUnavailableError, ClientRejectedError) as error:
            raise self._failed(known, error, by) from None
        REFRESHES.add(outcome="ok")
        return tokens

    async def _had(self, grant: Grant) -> Tokens:
        """Ask Google by the refresh token, or as the service account; SecretError, GoogleError."""
        if not isinstance(grant, Delegation):
            place = Place(grant.tenant, grant.connection, "refresh_token")
            return await self._google.refresh(self._keyring.open(grant.sealed, place))
        place = Place(grant.tenant, grant.account, "service_account")
        key = key_of(
            msgspec.json.decode(self._keyring.open(grant.sealed, place).get_secret_value())
        )
        whom = Place(grant.tenant, grant.connection, "account")
        subject = self._keyring.open(grant.subject, whom)
        return await self._google.delegated(key, subject, sorted(self._required))

    async def _concluded(
        self, known: Connection, grant: Grant, fact: Fact, code: Code, by: By
    ) -> None:
        """Let a refusal change the connection and refuse; return if the grant is an old one."""
        now = self._clock.now()
        after = await self._store.apply_to_grant(
            known.id, grant.id, lambda current: decide(current, fact, now), now, by
        )
        _log.warning(
            "Google refused a refresh",
            action="refresh_refused", connection=known.id, status=after.status, reason=after.reason,
        )  # fmt: skip
        if not may_use(after, "webhook", now) or after.status == "revoking":
            raise refused(code, f"the connection is {after.status}", retry=False)

    def _failed(self, known: Connection, error: Exception, by: By) -> RefusedError:
        """Note a failure that is not the connection's fault; return the refusal."""
        outcome = "unavailable" if isinstance(error, GoogleUnavailableError) else "client_rejected"
        REFRESHES.add(outcome=outcome)
        self._patience.failed((known.tenant, known.id), self._clock.monotonic_s())
        self._trail.count(by.who, "token.refreshed", outcome, by.why, known.tenant, known.id)
        level = "warning" if outcome == "unavailable" else "error"
        getattr(_log, level)(
            "a refresh failed", action="refresh_failed", connection=known.id, reason=str(error)
        )
        return refused("google_unavailable", str(error), retry=True)

    async def _learned(self, known: Connection, grant: Grant, tokens: Tokens, by: By) -> Connection:
        """Write what a refresh taught: another refresh token, other scopes, a recovery."""
        current = await self._rewrapped(grant, tokens)
        fact, now = Refreshed(tokens.scopes, self._required), self._clock.now()
        if decide(known, fact, now) is None:
            return known
        return await self._store.apply_to_grant(
            known.id, current, lambda connection: decide(connection, fact, now), now, by
        )

    async def _rewrapped(self, grant: Grant, tokens: Tokens) -> str:
        """Store a refresh token that Google replaced, or that lies under a retired key.

        Returns the id of the grant after that: another token is another grant, so that a
        refusal of the old one which is still under way concludes nothing.
        """
        is_fine = tokens.refresh_token is None and self._keyring.is_current(grant.sealed)
        if is_fine or isinstance(grant, Delegation):
            return grant.id
        place = Place(grant.tenant, grant.connection, "refresh_token")
        if tokens.refresh_token is None:
            secret, grant_id = self._keyring.open(grant.sealed, place), grant.id
        else:
            secret, grant_id = tokens.refresh_token, new_id()
        replaced = msgspec.structs.replace(
            grant,
            id=grant_id,
            sealed=self._keyring.seal(secret, place),
            marks=marks_of(secret),
        )
        await self._store.replace_grant(replaced, expected=grant.id)
        return grant_id


def _not_active(connection: Connection) -> RefusedError:
    return refused("not_active", f"the connection is {connection.status}", retry=False)


def _retrieved(task: asyncio.Task[CachedToken]) -> None:
    """Look at the outcome, so that a refresh which nobody waits for any more is no warning."""
    if not task.cancelled():
        task.exception()
