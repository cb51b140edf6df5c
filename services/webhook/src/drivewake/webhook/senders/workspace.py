"""Workspace Events: CloudEvents that a Pub/Sub subscription pushes, each with a signed token.

Google signs a JWT for the service account that the subscription names, for the audience that
it names: by default the address pushed to, which here names the log, so that a token for one
log is worth nothing for another. The event says what happened to which file; none of that is
used, because a poke is only a hint. Pub/Sub sends again what is not answered by 2xx.

Sources: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions,
https://cloud.google.com/pubsub/docs/push,
https://developers.google.com/workspace/events/guides/events-lifecycle.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, Literal

import jwt
import msgspec

from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.jwks import KnownKeys, RefusedTokenError
from drivewake.webhook.domain import (
    NO_CONTENT,
    NOT_FOUND,
    UNAUTHORIZED,
    UNAVAILABLE,
    InvalidPushError,
    read_subject,
)
from drivewake.webhook.ingress import Ingress
from drivewake.webhook.metrics import PUSHES
from drivewake.webhook.senders import Headers
from drivewake.webhook.tokens import Subject

ALGORITHM: Final = "RS256"
ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
LEEWAY: Final = dt.timedelta(seconds=60)
MAX_TOKEN_CHARS: Final = 4096
MAX_ATTRIBUTE_CHARS: Final = 1024
LIFECYCLE: Final = "google.workspace.events.subscription."

Trust = Literal["genuine", "forged", "expired", "no_keys"]


class PushTokens:
    """Judges the tokens of one service account, by keys that are had beside this path.

    `wanted` is told the id of a key that is not known yet, and must not wait.
    """

    def __init__(self, keys: KnownKeys, account: str, wanted: Callable[[str], None]) -> None:
        self._keys = keys
        self._account = account
        self._wanted = wanted

    def judge(self, token: str, audience: str, now: dt.datetime) -> Trust:
        """Return what a token is worth for an address."""
        try:
            signature = self._keys.signature(token)
            key = self._keys.key_of(signature) if self._keys.usable else None
        except RefusedTokenError:
            return "forged"
        if key is None:
            self._wanted(signature.key_id)
            return "no_keys"
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUERS,
                options={
                    "require": ["iss", "aud", "exp", "email"],
                    "strict_aud": True,
                    # Time is judged below, by the clock that everything here goes by.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError:
            return "forged"
        # The key signs for every account at Google: whose it is decides.
        if claims["email"] != self._account or claims.get("email_verified") is not True:
            return "forged"
        expires_s = claims["exp"]
        if type(expires_s) is not int:
            return "forged"
        return "expired" if expires_s + LEEWAY.total_seconds() <= now.timestamp() else "genuine"


class _Message(msgspec.Struct, frozen=True):
    attributes: dict[str, str]
    message_id: str = msgspec.field(name="messageId")
    data: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    """A wrapped push of Pub/Sub; the CloudEvent's attributes stand in the message's."""

    message: _Message
    subscription: str = ""


_decoder = msgspec.json.Decoder(_Envelope)


def read_event_type(body: bytes) -> str:
    """Return the type of the CloudEvent in a push; raises InvalidPushError."""
    try:
        attributes = _decoder.decode(body).message.attributes
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidPushError("the body is no wrapped push of Pub/Sub") from None
    found = [attributes.get(f"ce-{name}", "") for name in ("type", "source", "id")]
    if attributes.get("ce-specversion") != "1.0" or not all(found):
        raise InvalidPushError("the message is no CloudEvent 1.0")
    if any(len(value) > MAX_ATTRIBUTE_CHARS or not value.isprintable() for value in found):
        raise InvalidPushError("an attribute is too long or holds control characters")
    return found[0]


def read_token(headers: Headers) -> str:
    """Return the bearer token, empty if there is not exactly one that could be genuine."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1 or len(found[0]) > MAX_TOKEN_CHARS or not found[0].isascii():
        return ""
    scheme, _, token = found[0].decode("ascii").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class WorkspaceSender:
    """Judges by the token; a log that is not known gets no signal.

    `address` is ours as Google sees it; `knows` says whether there is such a log, None while
    the logs are being read.
    """

    kind = "workspace"
    max_body_bytes = 65_536

    def __init__(
        self,
        ingress: Ingress,
        tokens: PushTokens,
        *,
        address: str,
        knows: Callable[[Subject], bool | None],
        clock: Clock | None = None,
    ) -> None:
        self._ingress = ingress
        self._tokens = tokens
        self._address = address
        self._knows = knows
        self._clock = clock or SystemClock()

    async def answer(
        self, path: str, headers: Headers, body: bytes, source: Callable[[], str]
    ) -> int:
        """Answer as `Sender` says: 204 for an event, whatever it tells."""
        subject = read_subject(path)
        names = "/".join(msgspec.structs.astuple(subject))
        trust = self._tokens.judge(
            read_token(headers), f"{self._address}/{names}", self._clock.now()
        )
        if trust == "no_keys":
            PUSHES.add(verdict="no_keys")
            return UNAVAILABLE
        if trust != "genuine":
            PUSHES.add(verdict=trust)
            self._ingress.tell(self.kind, trust, subject, source())
            return UNAUTHORIZED
        event = read_event_type(body)
        known = self._knows(subject)
        if known is None:
            PUSHES.add(verdict="overload")
            return UNAVAILABLE
        if not known:
            PUSHES.add(verdict="unknown")
            self._ingress.tell(self.kind, "unknown", subject, source())
            return NOT_FOUND
        if event.startswith(LIFECYCLE):
            self._ingress.tell(self.kind, "lifecycle", subject, source(), event_type=event)
        taken = await self._ingress.poke(subject)
        return NO_CONTENT if taken else UNAVAILABLE
