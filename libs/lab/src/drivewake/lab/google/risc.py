"""Cross-account protection (RISC): security event tokens, signed and sent to receivers.

A token is a JWT of type `secevent+jwt`, signed with the key that signs id tokens, without
`exp`; a receiver answers 202. What Google does when it does not is not documented: here it
tries a few times more. Delivery happens in the loop that serves the simulator.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, Literal

import aiohttp
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from drivewake.lab.google.ids import Ids
from drivewake.lab.google.ledger import Ledger, SecurityFact

KEY_ID = "simulated-google-1"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"
EVENTS = {
    "sessions-revoked": _RISC,
    "tokens-revoked": _OAUTH,
    "token-revoked": _OAUTH,
    "account-disabled": _RISC,
    "account-enabled": _RISC,
    "account-credential-change-required": _RISC,
    "verification": _RISC,
}
_ACCEPTED = 202
_ATTEMPTS = 4
_RETRY_BASE_S = 0.2
_TIMEOUT_S = 10.0
_MAX_WAITING = 1_000


class Receiver(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where tokens for these clients go."""

    url: str
    client_ids: tuple[str, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A security event: about an account (`email`), a refresh token, or none (verification).

    `alg` says how the token is named: its first 16 characters, or SHA-512 of SHA-512 in
    base64. `jti` repeats a token that was sent before, as Google may.
    """

    type: str
    email: str | None = None
    reason: str | None = None
    refresh_token: str | None = None
    alg: Literal["prefix", "hash_base64_sha512_sha512"] = "prefix"
    state: str | None = None
    jti: str | None = None


class SecurityEvents:
    """Receivers, and the tokens on their way to them."""

    def __init__(
        self,
        seed: int,
        issuer: str,
        key: Callable[[], rsa.RSAPrivateKey],
        ledger: Ledger,
        now_ns: Callable[[], int],
    ) -> None:
        self._ids = Ids(seed, "risc")
        self._issuer = issuer.rstrip("/") + "/"
        self._key = key
        self._ledger = ledger
        self._now_ns = now_ns
        self._sending: set[asyncio.Task[None]] = set()
        self.receivers: dict[str, Receiver] = {}

    def configuration(self, base_url: str) -> dict[str, Any]:
        """Return `/.well-known/risc-configuration`, with this host's endpoints."""
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{base_url}/oauth2/v3/certs",
            "delivery_methods_supported": [
                "https://schemas.openid.net/secevent/risc/delivery-method/push"
            ],
        }

    def token(self, event: Event, audience: tuple[str, ...], user_id: str | None) -> str:
        """Return a signed token. Raises ValueError for an event that cannot be."""
        if event.type not in EVENTS:
            raise ValueError(f"No such event: {event.type}")
        said: dict[str, Any] = {} if event.reason is None else {"reason": event.reason}
        if event.type == "verification":
            said["state"] = event.state or ""
        else:
            said["subject"] = self._subject(event, user_id)
        claims = {
            "iss": self._issuer,
            "aud": list(audience),
            "iat": self._now_ns() // 1_000_000_000,
            "jti": event.jti or self._ids.secret("", 32),
            "events": {EVENTS[event.type] + event.type: said},
        }
        headers = {"kid": KEY_ID, "typ": "secevent+jwt"}
        return jwt.encode(claims, self._key(), "RS256", headers=headers)

    def _subject(self, event: Event, user_id: str | None) -> dict[str, str]:
        if event.type == "token-revoked":
            if event.refresh_token is None:
                raise ValueError("token-revoked needs refreshToken")
            return {
                "subject_type": "oauth_token",
                "token_type": "refresh_token",
                "token_identifier_alg": event.alg,
                "token": _named(event.refresh_token, event.alg),
            }
        if user_id is None:
            raise ValueError(f"{event.type} needs email")
        return {"subject_type": "iss-sub", "iss": self._issuer, "sub": user_id}

    def send(self, event: Event, user_id: str | None) -> list[str]:
        """Send an event to every receiver; return the `jti` of each token.

        Raises ValueError for an event that cannot be, or when too many wait.
        """
        if len(self._sending) + len(self.receivers) > _MAX_WAITING:
            raise ValueError("Too many security events are waiting.")
        sent: list[str] = []
        for receiver in self.receivers.values():
            token = self.token(event, receiver.client_ids, user_id)
            jti: str = jwt.decode(token, options={"verify_signature": False})["jti"]
            subject = event.email or event.type
            task = asyncio.create_task(
                self._deliver(receiver.url, token, jti, event.type, subject), name=f"risc {jti}"
            )
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            sent.append(jti)
        return sent

    async def close(self) -> None:
        """Stop what is on its way."""
        tasks = list(self._sending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, url: str, token: str, jti: str, event: str, subject: str) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        headers = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for attempt in range(1, _ATTEMPTS + 1):
                status = 0
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    async with session.post(url, data=token, headers=headers) as answer:
                        status = answer.status
                number = self._ledger.next_n
                fact = SecurityFact(number, self._now_ns(), jti, event, subject, attempt, status)
                self._ledger.add(fact, f"security_{status}")
                if status == _ACCEPTED or 400 <= status < 500:
                    return
                await asyncio.sleep(_RETRY_BASE_S * 2**attempt)


def _named(token: str, alg: str) -> str:
    if alg == "prefix":
        return token[:16]
    once = hashlib.sha512(token.encode()).digest()
    return base64.b64encode(hashlib.sha512(once).digest()).decode()
