"""TokenSource against a stand-in for auth that seals with real keys."""

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable

import msgspec
import nacl.public
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.rpc import (
    Refusal,
    ReportReply,
    ReportRequest,
    TokenReply,
    TokenRequest,
)
from drivewake.gdrive import errors
from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.token import AccessToken
from drivewake.runtime.memory import MemoryBus

Answer = Callable[[TokenRequest], Awaitable[object]]


class Auth:
    """Counts questions; gives a new token to each that rejects the last one."""

    def __init__(self) -> None:
        self.questions: list[TokenRequest] = []
        self.reports: list[ReportRequest] = []
        self.refusal: Refusal | None = None
        self.broken: bytes | None = None
        self.life = dt.timedelta(hours=1)
        self.number = 1
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def token(self, subject: str, body: bytes) -> bytes:
        """Answer a token request."""
        assert "drive.rpc.v1.auth.token.tester" == subject
        question = msgspec.json.decode(body, type=TokenRequest)
        self.questions.append(question)
        self.asked.set()
        await self.gate.wait()
        if self.refusal is not None:
            return msgspec.json.encode(self.refusal)
        if self.broken is not None:
            return self.broken
        if question.rejected == f"id{self.number}":
            self.number += 1
        key = nacl.public.PublicKey(base64.b64decode(question.public_key))
        sealed = nacl.public.SealedBox(key).encrypt(f"ya29.token{self.number}".encode())
        return msgspec.json.encode(
            TokenReply(
                sealed=base64.b64encode(sealed).decode(),
                token_id=f"id{self.number}",
                expires_at=dt.datetime.now(dt.UTC) + self.life,
            )
        )

    async def report(self, subject: str, body: bytes) -> bytes:
        """Answer a report."""
        del subject
        self.reports.append(msgspec.json.decode(body, type=ReportRequest))
        return msgspec.json.encode(ReportReply(status="degraded"))


@pytest.fixture
async def bus() -> MemoryBus:
    """A bus without auth."""
    return MemoryBus()


@pytest.fixture
async def auth(bus: MemoryBus) -> Auth:
    """An auth on the bus."""
    made = Auth()
    await bus.serve("token", subjects.TOKEN_RPC_ALL, made.token, concurrency=64)
    await bus.serve("report", subjects.REPORT_RPC_ALL, made.report, concurrency=64)
    return made


async def test_a_token_is_unsealed_and_kept(bus: MemoryBus, auth: Auth) -> None:
    """One question for many uses."""
    tokens = TokenSource(bus, "tester")
    got = [await tokens.token("acme", "ann") for _ in range(5)]

    assert {"ya29.token1"} == {token.reveal() for token in got}
    assert 1 == len(auth.questions)


async def test_a_thousand_callers_ask_once(bus: MemoryBus, auth: Auth) -> None:
    """Single flight, and one caller that gives up takes nothing from the others."""
    tokens = TokenSource(bus, "tester")
    auth.gate.clear()
    callers = [asyncio.create_task(tokens.token("acme", "ann")) for _ in range(1000)]
    await asyncio.sleep(0)
    callers[0].cancel()
    auth.gate.set()
    got = await asyncio.gather(*callers[1:])

    assert 1 == len({id(token) for token in got})
    assert 1 == len(auth.questions)
    with contextlib.suppress(asyncio.CancelledError):
        await callers[0]


async def test_a_token_about_to_expire_is_not_used(bus: MemoryBus, auth: Auth) -> None:
    """Shortly before its end another is asked for."""
    tokens = TokenSource(bus, "tester", margin_s=60)
    auth.life = dt.timedelta(seconds=59)
    for _ in range(3):
        await tokens.token("acme", "ann")

    assert 3 == len(auth.questions)


async def test_a_rejected_token_is_named_once(bus: MemoryBus, auth: Auth) -> None:
    """Callers that met the same 401 get the one new token."""
    tokens = TokenSource(bus, "tester")
    old = await tokens.token("acme", "ann")
    got = await asyncio.gather(*(tokens.rejected(old) for _ in range(10)))
    late = await tokens.rejected(old)

    assert {"ya29.token2"} == {token.reveal() for token in (*got, late)}
    assert ["", "id1"] == [question.rejected for question in auth.questions]


async def test_a_rejected_token_is_not_answered_by_a_question_before_it(
    bus: MemoryBus, auth: Auth
) -> None:
    """A plain question under way may bring the refused token: it is asked for another.

    Nor is what the plain question brings kept, whichever answer comes last.
    """
    tokens = TokenSource(bus, "tester")
    old = await tokens.token("acme", "ann")
    tokens.forget("acme", "ann")
    auth.gate.clear()
    plain = asyncio.create_task(tokens.token("acme", "ann"))
    auth.asked.clear()
    await auth.asked.wait()
    another = asyncio.create_task(tokens.rejected(old))
    joined = asyncio.create_task(tokens.token("acme", "ann"))
    await asyncio.sleep(0)
    auth.gate.set()

    assert ["id1", "id2", "id2"] == [(await task).id for task in (plain, another, joined)]
    assert ["", "", "id1"] == [question.rejected for question in auth.questions]
    assert "id2" == (await tokens.token("acme", "ann")).id


async def test_a_token_that_comes_after_forgetting_is_not_kept(bus: MemoryBus, auth: Auth) -> None:
    """Who asked gets it; the next one asks again."""
    tokens = TokenSource(bus, "tester")
    auth.gate.clear()
    caller = asyncio.create_task(tokens.token("acme", "ann"))
    await auth.asked.wait()
    tokens.forget("acme", "ann")
    auth.gate.set()
    await caller
    await tokens.token("acme", "ann")

    assert 2 == len(auth.questions)
    assert {} == tokens._asking


async def test_what_is_kept_is_bounded(bus: MemoryBus, auth: Auth) -> None:
    """The least recently used token goes."""
    tokens = TokenSource(bus, "tester", capacity=2)
    for connection in ("a", "b", "a", "c", "a", "b"):
        await tokens.token("acme", connection)

    assert ["a", "b", "c", "b"] == [question.connection for question in auth.questions]


@pytest.mark.parametrize(
    ("code", "retry", "kind"),
    [
        ("unknown_connection", False, errors.ConnectionUnusableError),
        ("not_active", False, errors.ConnectionUnusableError),
        ("not_allowed", False, errors.ConnectionUnusableError),
        ("not_active", True, errors.AuthUnavailableError),
        ("scope_missing", False, errors.ScopeMissingError),
        ("google_unavailable", True, errors.AuthUnavailableError),
        ("internal", False, errors.AuthUnavailableError),
        ("grant_dead", False, errors.GrantDeadError),
        ("invalid_request", False, errors.BadRequestError),
    ],
)
async def test_refusals_of_auth_have_their_class(
    bus: MemoryBus, auth: Auth, code: str, retry: bool, kind: type[errors.GoogleError]
) -> None:
    """What auth says is told as what it means."""
    auth.refusal = msgspec.convert(
        {"type": "refusal", "code": code, "reason": "x", "retry": retry}, Refusal
    )
    with pytest.raises(errors.GoogleError) as raised:
        await TokenSource(bus, "tester").token("acme", "ann")

    assert kind is type(raised.value)


async def test_no_auth_at_all_is_a_matter_of_time(bus: MemoryBus) -> None:
    """Without an answer the caller may come again."""
    with pytest.raises(errors.AuthUnavailableError):
        await TokenSource(bus, "tester", timeout_s=0.05).token("acme", "ann")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"type":"token","sealed":"x","token_id":"i","expires_at":"2026-11-22T00:00:00Z"}',
        b'{"type":"token","sealed":"eHg=","token_id":"i","expires_at":"2026-11-22T00:00:00Z"}',
    ],
)
async def test_broken_answers_of_auth_are_no_crash(
    bus: MemoryBus, auth: Auth, broken: bytes
) -> None:
    """Not JSON, another shape, not sealed to us."""
    auth.broken = broken
    with pytest.raises(errors.AuthUnavailableError):
        await TokenSource(bus, "tester").token("acme", "ann")


async def test_another_process_cannot_open_the_answer(bus: MemoryBus, auth: Auth) -> None:
    """Tokens are sealed to the key of the process that asked."""
    first = TokenSource(bus, "tester")
    await first.token("acme", "ann")
    second = TokenSource(bus, "tester")
    await second.token("acme", "ann")

    assert 2 == len({question.public_key for question in auth.questions})


async def test_a_call_meets_one_401_and_goes_on(bus: MemoryBus, auth: Auth) -> None:
    """The refreshed token serves; nothing is reported."""
    tokens = TokenSource(bus, "tester")

    async def once(token: AccessToken) -> str:
        if token.id == "id1":
            raise errors.UnauthorizedError(method="drive.about.get")
        return token.id

    assert "id2" == await tokens.call("acme", "ann", once)
    assert [] == auth.reports


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (errors.UnauthorizedError("no", method="m"), "unauthorized"),
        (errors.BlockedError("no", method="m"), "blocked"),
        (errors.ScopeMissingError("no", method="m"), "scope_missing"),
        (errors.GrantDeadError("no", method="m"), "grant_dead"),
    ],
)
async def test_what_google_says_of_a_grant_is_reported(
    bus: MemoryBus, auth: Auth, error: errors.GoogleError, finding: str
) -> None:
    """Auth learns it at once; the caller gets the error."""
    tokens = TokenSource(bus, "tester")

    async def once(token: AccessToken) -> None:
        del token
        raise error

    with pytest.raises(type(error)):
        await tokens.call("acme", "ann", once)

    assert [("ann", finding)] == [(r.connection, r.finding) for r in auth.reports]


async def test_what_auth_said_itself_is_not_reported_back(bus: MemoryBus, auth: Auth) -> None:
    """A refusal of auth is known to auth."""
    auth.refusal = Refusal(code="grant_dead", reason="x", retry=False)
    tokens = TokenSource(bus, "tester")

    async def once(token: AccessToken) -> None:
        del token

    with pytest.raises(errors.GrantDeadError):
        await tokens.call("acme", "ann", once)

    assert [] == auth.reports
