"""Access tokens from the auth service: sealed on the wire, kept in memory, shown to nobody."""

import asyncio
import base64
import binascii
import datetime as dt
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

import msgspec
import nacl.exceptions
import nacl.public

from drivewake.contracts import subjects
from drivewake.contracts.rpc import (
    Refusal,
    ReportAnswer,
    ReportReply,
    ReportRequest,
    TokenAnswer,
    TokenReply,
    TokenRequest,
)
from drivewake.gdrive.errors import (
    AuthUnavailableError,
    BadRequestError,
    ConnectionUnusableError,
    GoogleError,
    GrantDeadError,
    GrantError,
    ScopeMissingError,
    UnauthorizedError,
)
from drivewake.gdrive.token import AccessToken
from drivewake.runtime.bus import Requester
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusError

Finding = Literal["unauthorized", "blocked", "scope_missing", "grant_dead"]
T = TypeVar("T")

RETRY_AFTER_S: Final = 5.0
MAX_REASON_CHARS: Final = 300
_token_answer: msgspec.json.Decoder[TokenReply | Refusal] = msgspec.json.Decoder(TokenAnswer)
_report_answer: msgspec.json.Decoder[ReportReply | Refusal] = msgspec.json.Decoder(ReportAnswer)
_encoder = msgspec.json.Encoder()


class TokenSource:
    """Access tokens of any connection, for one process. Share it between its tasks.

    The process has its own Curve25519 key: auth seals each token to it. Tokens are kept
    until `margin_s` before they expire, at most `capacity` of them; concurrent callers of
    one connection cause one question. Needs a NATS user that may ask as `caller`.
    """

    def __init__(
        self,
        requester: Requester,
        caller: str,
        *,
        clock: Clock | None = None,
        timeout_s: float = 10.0,
        margin_s: float = 60.0,
        capacity: int = 10_000,
    ) -> None:
        self._requester = requester
        self._token_subject = subjects.token_rpc(caller)
        self._report_subject = subjects.report_rpc(caller)
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._margin = dt.timedelta(seconds=margin_s)
        self._capacity = capacity
        self._key = nacl.public.PrivateKey.generate()
        self._public_key = base64.b64encode(bytes(self._key.public_key)).decode()
        self._kept: OrderedDict[tuple[str, str], AccessToken] = OrderedDict()
        self._asking: dict[tuple[str, str], dict[str, asyncio.Task[AccessToken]]] = {}

    async def token(self, tenant: str, connection: str) -> AccessToken:
        """Return a token that lives at least `margin_s` more, unless auth gave a shorter one.

        Raises ConnectionUnusableError, GrantError, AuthUnavailableError (retry later) or
        BadRequestError.
        """
        kept = self._kept.get((tenant, connection))
        if kept is not None and kept.expires_at - self._margin > self._clock.now():
            self._kept.move_to_end((tenant, connection))
            return kept
        return await self._ask_once(tenant, connection, rejected="")

    async def rejected(self, token: AccessToken) -> AccessToken:
        """Return another token than this one, which Google answered 401 to."""
        key = (token.tenant, token.connection)
        kept = self._kept.get(key)
        if kept is not None and kept.id != token.id:
            return kept
        self._kept.pop(key, None)
        return await self._ask_once(*key, rejected=token.id)

    def forget(self, tenant: str, connection: str) -> None:
        """Drop what is kept of a connection, and what auth was asked before this moment."""
        self._kept.pop((tenant, connection), None)
        self._asking.pop((tenant, connection), None)

    async def report(self, tenant: str, connection: str, finding: Finding, reason: str) -> str:
        """Tell auth what Google said of a grant; return the connection's state after it."""
        self.forget(tenant, connection)
        question = ReportRequest(
            tenant=tenant,
            connection=connection,
            finding=finding,
            reason=reason[:MAX_REASON_CHARS],
        )
        body = await self._request(self._report_subject, _encoder.encode(question))
        try:
            answer = _report_answer.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AuthUnavailableError("auth answered a report with something else") from error
        if isinstance(answer, Refusal):
            raise _refused(answer)
        return answer.status

    async def call(
        self, tenant: str, connection: str, once: Callable[[AccessToken], Awaitable[T]]
    ) -> T:
        """Run one call with a token: refreshed once on 401, findings reported to auth.

        Raises what the call or the token raises; a report that fails is left out, since the
        next call will find the same.
        """
        token = await self.token(tenant, connection)
        try:
            try:
                return await once(token)
            except UnauthorizedError:
                return await once(await self.rejected(token))
        except (UnauthorizedError, GrantError) as error:
            if error.method:  # Google said it; what auth said it knows
                finding: Finding = (
                    error.finding if isinstance(error, GrantError) else "unauthorized"
                )
                await self._report_quietly(tenant, connection, finding, str(error))
            raise

    async def _report_quietly(
        self, tenant: str, connection: str, finding: Finding, reason: str
    ) -> None:
        try:
            await self.report(tenant, connection, finding, reason)
        except GoogleError:
            return

    async def _ask_once(self, tenant: str, connection: str, *, rejected: str) -> AccessToken:
        """Join the question under way that answers this one too, or ask.

        Without a rejected token any question will do. With one only its own: another may be
        answered by the very token that Google refused, so a plain one is not kept either.
        """
        key = (tenant, connection)
        running = self._asking.setdefault(key, {})
        task = running.get(rejected)
        if task is None and not rejected:
            task = next(iter(running.values()), None)
        if task is None:
            running.pop("", None)
            task = asyncio.create_task(
                self._ask(tenant, connection, rejected), name=f"token-{connection}"
            )
            running[rejected] = task
            task.add_done_callback(lambda done: self._asked(key, rejected, done))
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _asked(self, key: tuple[str, str], rejected: str, task: asyncio.Task[AccessToken]) -> None:
        """Keep the answer, unless the question was dropped meanwhile."""
        running = self._asking.get(key, {})
        current = running.get(rejected) is task
        if current:
            del running[rejected]
            if not running:
                del self._asking[key]
        if task.cancelled() or task.exception() is not None or not current:
            return
        self._kept[key] = task.result()
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    async def _ask(self, tenant: str, connection: str, rejected: str) -> AccessToken:
        question = TokenRequest(
            tenant=tenant, connection=connection, public_key=self._public_key, rejected=rejected
        )
        body = await self._request(self._token_subject, _encoder.encode(question))
        try:
            answer = _token_answer.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AuthUnavailableError("auth answered with something else") from error
        if isinstance(answer, Refusal):
            raise _refused(answer)
        try:
            sealed = base64.b64decode(answer.sealed, validate=True)
            value = nacl.public.SealedBox(self._key).decrypt(sealed).decode("ascii")
            return AccessToken(
                value,
                tenant=tenant,
                connection=connection,
                id=answer.token_id,
                expires_at=answer.expires_at,
            )
        except (nacl.exceptions.CryptoError, binascii.Error, ValueError):
            # No chained cause: its text could hold bytes of the token.
            raise AuthUnavailableError("auth's sealed token does not open") from None

    async def _request(self, subject: str, data: bytes) -> bytes:
        try:
            return await self._requester.request(subject, data, timeout_s=self._timeout_s)
        except BusError as error:
            raise AuthUnavailableError(
                f"auth did not answer: {error}", retry_after_s=RETRY_AFTER_S
            ) from error


def _refused(refusal: Refusal) -> GoogleError:
    """Return what a refusal of auth means to a caller."""
    text = f"auth: {refusal.code}: {refusal.reason[:MAX_REASON_CHARS]}"
    if refusal.retry or refusal.code in {"google_unavailable", "internal"}:
        return AuthUnavailableError(text, reason=refusal.code, retry_after_s=RETRY_AFTER_S)
    if refusal.code == "scope_missing":
        return ScopeMissingError(text, reason=refusal.code)
    if refusal.code == "grant_dead":
        return GrantDeadError(text, reason=refusal.code)
    if refusal.code == "invalid_request":
        return BadRequestError(text, reason=refusal.code)
    return ConnectionUnusableError(text, reason=refusal.code)
