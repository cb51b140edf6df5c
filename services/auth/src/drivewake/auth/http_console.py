"""The console over HTTP: what people with a session see and do, safe from other sites' forms."""

import hmac
from collections.abc import Callable, Sequence
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any, Final

from litestar import MediaType, Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from drivewake.auth import console_pages as pages
from drivewake.auth.audit import Trail
from drivewake.auth.callers import Role
from drivewake.auth.console import LOGIN_LIFE, SESSION_LIFE, Console, Session
from drivewake.auth.desk import Desk
from drivewake.auth.errors import (
    ForbiddenError,
    IssuerUnavailableError,
    StoreUnavailableError,
    UnknownError,
    UntrustedTokenError,
)
from drivewake.auth.limits import Buckets
from drivewake.contracts.ids import InvalidIdError
from drivewake.runtime.clock import Clock

PAGE: Final = 100
MESSAGES: Final = {"revoking": "The connection is being ended."}
Ask = Request[Any, Any, Any]


class _Elsewhere(Exception):  # noqa: N818 - no error: the way to where one signs in
    """Who asks has no session."""


class Doorman:
    """Knows sessions, and what their forms must bring."""

    def __init__(
        self, console: Console, buckets: Buckets, clock: Clock, *, origin: str, secure: bool
    ) -> None:
        self._console = console
        self._buckets = buckets
        self._clock = clock
        self._origin = origin
        self._secure = secure
        self.session_cookie = "__Host-drivewake-console" if secure else "drivewake-console"
        self.login_cookie = "drivewake-console-login"

    def session(self, request: Ask, role: Role = "reader") -> Session:
        """Return who asks; ForbiddenError if that may not do this."""
        found = self._console.session(request.cookies.get(self.session_cookie, ""))
        if found is None:
            raise _Elsewhere
        wait_s = self._buckets.take(found.subject, self._clock.monotonic_s())
        if wait_s:
            raise ForbiddenError(f"too many requests; wait {ceil(wait_s)} seconds")
        if not found.caller.may(role):
            raise ForbiddenError(f"this needs the role {role}; yours is {found.role}")
        return found

    def name_of(self, request: Ask) -> str:
        """Return how records name who asks."""
        found = self._console.session(request.cookies.get(self.session_cookie, ""))
        return "nobody" if found is None else found.caller.name

    async def acting(self, request: Ask) -> tuple[Session, dict[str, str]]:
        """Return who sends a form that may change something, and its fields; ForbiddenError.

        The form must be ours: another site's brings another origin, and not the session's word.
        """
        found = self.session(request, "operator" if not _is_logout(request) else "reader")
        given = await request.form()
        fields = {str(name): value for name, value in given.items() if isinstance(value, str)}
        origin = request.headers.get("origin", self._origin)
        site = request.headers.get("sec-fetch-site", "same-origin")
        word = fields.get("form", "").encode("utf-8", "replace")
        is_ours = hmac.compare_digest(word, found.form.encode())
        if not is_ours or origin != self._origin or site not in {"same-origin", "none"}:
            raise ForbiddenError("this form was not sent from the console; go back and try again")
        return found, fields

    def cookie(self, name: str, value: str, path: str, life_s: float) -> Cookie:
        """Return a cookie; without a value the one that removes it."""
        return Cookie(
            key=name,
            value=value,
            max_age=int(life_s) if value else 0,
            path=path,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


def _is_logout(request: Ask) -> bool:
    return request.url.path == "/console/logout"


def _shown(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response[str]:
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=pages.HEADERS)


def _to(place: str, *cookies: Cookie) -> Response[None]:
    headers = {**pages.HEADERS, "Location": place}
    return Response(None, status_code=HTTPStatus.SEE_OTHER, headers=headers, cookies=[*cookies])


def _coming_and_going(console: Console, doorman: Doorman) -> Sequence[ControllerRouterHandler]:
    @get("/login")
    async def login() -> Response[None]:
        place, cookie = await console.depart()
        life_s = LOGIN_LIFE.total_seconds()
        return _to(place, doorman.cookie(doorman.login_cookie, cookie, "/console/callback", life_s))

    @get("/callback")
    async def callback(
        request: Ask,
        sign_in: Annotated[str, QueryParameter(name="state")] = "",
        code: FromQuery[str] = "",
    ) -> Response[None]:
        brought = request.cookies.get(doorman.login_cookie, "")
        session = await console.arrive(brought, sign_in, code)
        return _to(
            "/console",
            doorman.cookie(doorman.session_cookie, session, "/", SESSION_LIFE.total_seconds()),
            doorman.cookie(doorman.login_cookie, "", "/console/callback", 0),
        )

    @post("/logout")
    async def logout(request: Ask) -> Response[None]:
        await doorman.acting(request)
        return _to("/console", doorman.cookie(doorman.session_cookie, "", "/", 0))

    return [login, callback, logout]


def _at_work(desk: Desk, doorman: Doorman, public_url: str) -> Sequence[ControllerRouterHandler]:
    def linked(session: Session, token: str, what: str) -> Response[str]:
        return _shown(pages.link(session, f"{public_url}/v1/connect?link={token}", what))

    @get("/")
    async def home(
        request: Ask,
        after: Annotated[str, QueryParameter(max_length=64)] = "",
        done: FromQuery[str] = "",
    ) -> Response[str]:
        session = doorman.session(request)
        found = await desk.connections(session.caller, None, after, PAGE)
        tenants = await desk.tenants(session.caller)
        following = found[-1].id if len(found) == PAGE else None
        message = MESSAGES.get(done, "")
        return _shown(
            pages.connections(session, found, tenants, message=message, following=following)
        )

    @post("/connect", status_code=HTTPStatus.OK)
    async def connect(request: Ask) -> Response[str]:
        session, fields = await doorman.acting(request)
        token = await desk.link(session.caller, fields.get("tenant", ""))
        return linked(session, token, "Connect an account")

    @post("/connections/{connection:str}/reauthorize", status_code=HTTPStatus.OK)
    async def reauthorize(request: Ask, connection: FromPath[str]) -> Response[str]:
        session, _ = await doorman.acting(request)
        token = await desk.reauthorize(session.caller, connection)
        return linked(session, token, "Renew a connection")

    @get("/connections/{connection:str}/revoke")
    async def ask(request: Ask, connection: FromPath[str]) -> Response[str]:
        session = doorman.session(request, "operator")
        return _shown(pages.confirm(session, await desk.connection(session.caller, connection)))

    @post("/connections/{connection:str}/revoke")
    async def revoke(request: Ask, connection: FromPath[str]) -> Response[None]:
        session, _ = await doorman.acting(request)
        await desk.revoke(session.caller, connection)
        return _to("/console?done=revoking")

    return [home, connect, reauthorize, ask, revoke]


def console_handlers(
    console: Console, desk: Desk, doorman: Doorman, trail: Trail, *, public_url: str
) -> Sequence[ControllerRouterHandler]:
    """Return the console's pages, under `/console`; they are no part of the API's document."""

    def told(status: HTTPStatus) -> Callable[[Ask, Exception], Response[str]]:
        def tell(request: Ask, error: Exception) -> Response[str]:
            who = doorman.name_of(request)
            trail.count(who, "console.refused", str(int(status)), str(error))
            return _shown(pages.welcome(str(error)), status)

        return tell

    return [
        Router(
            "/console",
            route_handlers=[
                *_coming_and_going(console, doorman),
                *_at_work(desk, doorman, public_url),
            ],
            include_in_schema=False,
            exception_handlers={
                _Elsewhere: lambda _, __: _shown(pages.welcome()),
                ForbiddenError: told(HTTPStatus.FORBIDDEN),
                UntrustedTokenError: told(HTTPStatus.BAD_REQUEST),
                UnknownError: told(HTTPStatus.NOT_FOUND),
                InvalidIdError: told(HTTPStatus.BAD_REQUEST),
                IssuerUnavailableError: told(HTTPStatus.SERVICE_UNAVAILABLE),
                StoreUnavailableError: told(HTTPStatus.SERVICE_UNAVAILABLE),
            },
        )
    ]
