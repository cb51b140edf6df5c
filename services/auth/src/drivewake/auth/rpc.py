"""The answers that auth gives over NATS request/reply.

The caller is the last token of the subject: permissions of the broker make it true. Every
failure becomes a Refusal; nothing of an exception reaches a caller.
"""

from typing import Final, Protocol

import msgspec

from drivewake.auth.audit import Trail
from drivewake.auth.domain import Reported, decide
from drivewake.auth.errors import StoreUnavailableError, UnknownError
from drivewake.auth.ports import Connections
from drivewake.auth.records import By
from drivewake.auth.refusals import RefusedError
from drivewake.auth.tokens import TokenService
from drivewake.contracts import subjects
from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.contracts.rpc import Refusal, ReportReply, ReportRequest, TokenRequest
from drivewake.runtime.bus import Requester
from drivewake.runtime.clock import Clock
from drivewake.runtime.logging import get_logger
from drivewake.runtime.metrics import Counter

CALLERS: Final = frozenset({"poller", "webhook"})
MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_CALLER: Final = 64
_TOKEN_PREFIX: Final = subjects.TOKEN_RPC_ALL.removesuffix("*")
CONCURRENCY: Final = 4096
"""Waiters of slow refreshes must not keep others from cached tokens."""

_log = get_logger(__name__)
_TOKEN_REQUEST: Final = msgspec.json.Decoder(TokenRequest)
_REPORT_REQUEST: Final = msgspec.json.Decoder(ReportRequest)
_ENCODER: Final = msgspec.json.Encoder()

ANSWERS: Final = Counter(
    "auth_token_answers",
    meaning="Answers to token requests, by outcome.",
    labels={
        "outcome": (
            "token", "unknown_connection", "not_active", "not_allowed", "scope_missing",
            "google_unavailable", "grant_dead", "invalid_request", "internal",
        )
    },
)  # fmt: skip


_GIVEN: Final = ANSWERS.adder(outcome="token")


class Desk(Protocol):
    """What answers a decoded question of a known caller."""

    async def __call__(self, caller: str, body: bytes) -> bytes:
        """Return the encoded answer; RefusedError, StoreUnavailableError, UnknownError."""
        ...


class Rpc:
    """Answers token requests and reports."""

    def __init__(
        self, tokens: TokenService, connections: Connections, clock: Clock, trail: Trail
    ) -> None:
        self._tokens = tokens
        self._connections = connections
        self._clock = clock
        self._trail = trail

    async def serve(self, bus: Requester) -> None:
        """Begin to answer."""
        await bus.serve("auth-token", subjects.TOKEN_RPC_ALL, self.token, concurrency=CONCURRENCY)
        await bus.serve("auth-report", subjects.REPORT_RPC_ALL, self.report, concurrency=64)

    async def token(self, subject: str, body: bytes) -> bytes:
        """Answer a TokenRequest with a TokenReply or a Refusal."""
        return await self._answer(subject, body, self._token)

    async def report(self, subject: str, body: bytes) -> bytes:
        """Answer a ReportRequest with a ReportReply or a Refusal."""
        return await self._answer(subject, body, self._report)

    async def _answer(self, subject: str, body: bytes, desk: Desk) -> bytes:
        caller = subject.rpartition(".")[2]
        refusal = _refused_unheard(caller, body)
        if refusal is None:
            try:
                return await desk(caller, body)
            except Exception as error:  # noqa: BLE001 - whatever fails, the caller learns its kind
                refusal = _refusal_of(error, caller)
        ANSWERS.add(outcome=refusal.code)
        verb = "token" if subject.startswith(_TOKEN_PREFIX) else "report"
        tenant, connection = _about(body)
        who = f"service:{caller[:MAX_CALLER]}"
        self._trail.count(who, f"{verb}.refused", refusal.code, "", tenant, connection)
        _log.info(
            "refused",
            action="rpc_refused",
            caller=caller,
            refusal=refusal.code,
            reason=refusal.reason,
        )
        return _ENCODER.encode(refusal)

    async def _token(self, caller: str, body: bytes) -> bytes:
        request = _TOKEN_REQUEST.decode(body)
        checked(request.tenant)
        checked(request.connection)
        reply = await self._tokens.reply(caller, request)
        _GIVEN()
        who = f"service:{caller}"
        self._trail.count(who, "token.issued", tenant=request.tenant, connection=request.connection)
        return reply

    async def _report(self, caller: str, body: bytes) -> bytes:
        report = _REPORT_REQUEST.decode(body)
        checked(report.tenant)
        checked(report.connection)
        known = await self._connections.connection(report.tenant, report.connection)
        if known is None:
            raise UnknownError
        if report.finding == "grant_dead":
            await self._verified(caller, report)
            known = await self._connections.connection(report.tenant, report.connection)
        else:
            fact, now = Reported(report.finding, report.reason), self._clock.now()
            known = await self._connections.apply(
                report.connection,
                lambda current: decide(current, fact, now),
                now,
                By(f"service:{caller}", f"reported {report.finding}"),
            )
        if known is None:
            raise UnknownError
        _log.info(
            "a caller reported what Google said",
            action="reported", caller=caller, connection=known.id, finding=report.finding,
            status=known.status,
        )  # fmt: skip
        return _ENCODER.encode(ReportReply(status=known.status))

    async def _verified(self, caller: str, report: ReportRequest) -> None:
        """Ask Google before believing that a grant is dead; its answer changes the state."""
        try:
            await self._tokens.verify(caller, report.tenant, report.connection)
        except RefusedError as error:
            if error.refusal.retry:
                raise


class _About(msgspec.Struct, frozen=True):
    """Whom a question is about, whatever else is in it."""

    tenant: str
    connection: str


def _about(body: bytes) -> tuple[str, str]:
    """Return tenant and connection of a refused question, as far as they can be read."""
    if len(body) > MAX_REQUEST_BYTES:
        return "", ""
    try:
        about = msgspec.json.decode(body, type=_About)
        return checked(about.tenant), checked(about.connection)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidIdError):
        return "", ""


def _refused_unheard(caller: str, body: bytes) -> Refusal | None:
    """Return why a request is not even read, None if it is."""
    if caller not in CALLERS:
        reason = "only services that read Drive may ask"
        return Refusal(code="not_allowed", reason=reason, retry=False)
    if len(body) > MAX_REQUEST_BYTES:
        return Refusal(code="invalid_request", reason="the request is too large", retry=False)
    return None


def _refusal_of(error: Exception, caller: str) -> Refusal:
    """Return what a caller is told of a failure: its kind, never its text."""
    match error:
        case RefusedError():
            return error.refusal
        case msgspec.MsgspecError() | UnicodeDecodeError() | RecursionError() | InvalidIdError():
            reason = "the request is not of its type"
            return Refusal(code="invalid_request", reason=reason, retry=False)
        case UnknownError():
            reason = "there is no such connection"
            return Refusal(code="unknown_connection", reason=reason, retry=False)
        case StoreUnavailableError():
            return Refusal(code="internal", reason="the database did not answer", retry=True)
    _log.error("answering failed", action="rpc_failed", caller=caller, exc_info=error)
    return Refusal(code="internal", reason="auth failed", retry=True)
