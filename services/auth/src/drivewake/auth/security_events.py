"""Receives Google's security events and lets them take effect at once.

Effects can be repeated, so they come first and the event's id is remembered last: killed in
between, the event that Google sends again finds what is left to do.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

import jwt
import msgspec
from litestar import Request, Response, post
from litestar.types import ControllerRouterHandler

from drivewake.auth import risc
from drivewake.auth.audit import Trail, entry
from drivewake.auth.domain import Connection, decide
from drivewake.auth.errors import (
    GoogleUnavailableError,
    IssuerUnavailableError,
    StoreUnavailableError,
    UntrustedTokenError,
)
from drivewake.auth.jwks import KeySet
from drivewake.auth.ports import Connections, SecurityEvents
from drivewake.auth.records import By
from drivewake.runtime.clock import Clock
from drivewake.runtime.http import problem
from drivewake.runtime.logging import get_logger
from drivewake.runtime.metrics import Counter

ALGORITHMS: Final = frozenset({"RS256"})
MAX_BODY_BYTES: Final = 32 * 1024

_log = get_logger(__name__)
RECEIVED: Final = Counter(
    "auth_security_events",
    meaning="Security event tokens from Google, by outcome.",
    labels={"outcome": ("done", "repeated", "refused")},
)


class Store(Connections, SecurityEvents, Protocol):
    """What of the store is used here."""


class Receiver:
    """Verifies security event tokens of one issuer for one client, and acts upon them.

    `overtaken` (tenant, connection, revision) forgets cached tokens.
    """

    def __init__(
        self,
        store: Store,
        keys: KeySet,
        clock: Clock,
        trail: Trail,
        overtaken: Callable[[str, str, int], None],
        *,
        issuer: str,
        client_id: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._trail = trail
        self._overtaken = overtaken
        self._issuer = issuer
        self._client_id = client_id

    async def receive(self, token: str) -> None:
        """Act upon a token.

        Raises UntrustedTokenError, StoreUnavailableError and, for want of keys,
        GoogleUnavailableError or IssuerUnavailableError.
        """
        found = risc.token_of(await self._verified(token))
        if await self._store.is_known(found.jti):
            RECEIVED.add(outcome="repeated")
            return
        for event in found.events:
            changed = await self._act(event, found)
            fact = entry(
                By("google", found.jti), self._clock.now(), "security_event.received",
                outcome=event.kind, why=f"{event.reason} {changed} connections".strip(),
            )  # fmt: skip
            await self._trail.append(fact)
            _log.warning(
                "a security event of Google",
                action="security_event", kind=event.kind, reason=event.reason, changed=changed,
            )  # fmt: skip
        await self._store.acted_upon(found.jti, self._clock.now())
        RECEIVED.add(outcome="done")

    async def _verified(self, token: str) -> dict[str, Any]:
        key = await self._keys.key_of(token)
        try:
            # Such a token has no expiry, and its time is when the thing happened.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._client_id,
                issuer=[self._issuer, f"{self._issuer}/"],
                options={
                    "require": ["iss", "aud", "iat", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError as error:
            raise UntrustedTokenError(f"the token is refused: {type(error).__name__}") from None
        return claims

    async def _act(self, event: risc.SecurityEvent, found: risc.SecurityEventToken) -> int:
        """Let an event change the connections that it concerns; return how many it changed."""
        fact, now = risc.fact_of(event), self._clock.now()
        if fact is None:
            return 0
        changed = 0
        for connection in await self._concerned(event, found):
            after = await self._store.apply(
                connection.id,
                lambda current: decide(current, fact, now),
                now,
                By("google", f"security event {event.kind}"),
            )
            changed += after.revision > connection.revision
            self._overtaken(after.tenant, after.id, after.revision)
        return changed

    async def _concerned(
        self, event: risc.SecurityEvent, found: risc.SecurityEventToken
    ) -> Sequence[Connection]:
        if event.subject.mark:
            return await self._store.of_token(event.subject.mark)
        if not event.subject.account:
            return []
        granted_by = found.issued_at + risc.GRANTED_LATER
        return await self._store.of_principal(self._issuer, event.subject.account, granted_by)


class Refused(msgspec.Struct, frozen=True):
    """Why a security event token is not taken (RFC 8935, section 2.4)."""

    err: str
    description: str


def receiver_handlers(receiver: Receiver) -> Sequence[ControllerRouterHandler]:
    """Return where Google delivers security events."""

    @post("/v1/risc", summary="Receive a security event of Google", status_code=HTTPStatus.ACCEPTED)
    async def receive(request: Request[Any, Any, Any]) -> Response[Any]:
        """Take a security event token (RFC 8935); 202 says that it took effect."""
        body = await request.body()
        # What is too long or no ASCII is no token; the verification says so of nothing.
        token = body.decode() if len(body) <= MAX_BODY_BYTES and body.isascii() else ""
        try:
            await receiver.receive(token.strip())
        except UntrustedTokenError as error:
            RECEIVED.add(outcome="refused")
            refused = Refused("authentication_failed", str(error))
            return Response(refused, status_code=HTTPStatus.BAD_REQUEST)
        except (GoogleUnavailableError, IssuerUnavailableError, StoreUnavailableError) as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return Response(None, status_code=HTTPStatus.ACCEPTED)

    return [receive]
