"""The HTTP API: people on their way to Google, and operators with a bearer token."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, get, post, put
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler, ExceptionHandlersMap
from pydantic import SecretStr

from drivewake.auth import pages
from drivewake.auth.desk import MAX_PAGE, ConnectionView, Desk
from drivewake.auth.errors import (
    InvalidInputError,
    SignInError,
    StoreUnavailableError,
    TenantExistsError,
    UnknownError,
)
from drivewake.auth.ports import Authenticator, Tenant
from drivewake.auth.signin import SIGN_IN_LIFE, Return, SignInService
from drivewake.contracts.ids import InvalidIdError
from drivewake.runtime.http import PROBLEM_JSON, Problem, problem
from drivewake.runtime.logging import get_logger

BODY_LIMIT_BYTES: Final = 64 * 1024
CONNECTED_PATH: Final = "/v1/connected"
"""Where every finished sign-in ends: nobody can choose another place."""

_log = get_logger(__name__)
_BEARER: Final = "operator"


class NewTenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to make; the id is 1 to 64 of the characters A-Z a-z 0-9 _ -."""

    id: str
    name: str


class NewConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tenant an account is to be connected to."""

    tenant: str = "default"


class ConnectLink(msgspec.Struct, frozen=True):
    """Where a person connects one Google account, within 15 minutes."""

    url: str


class WatchedFolders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ids of the folders whose activity is read."""

    folders: tuple[str, ...]


class ConnectionPage(msgspec.Struct, frozen=True):
    """Some connections by id; `next` continues after them, null at the end."""

    connections: list[ConnectionView]
    next: str | None


class TenantList(msgspec.Struct, frozen=True):
    """All tenants by id."""

    tenants: list[Tenant]


def _responses(*statuses: HTTPStatus) -> Mapping[int, ResponseSpec]:
    return {
        int(status): ResponseSpec(
            Problem, description=status.phrase, media_type=PROBLEM_JSON, generate_examples=False
        )
        for status in statuses
    }


_REFUSALS: Final = _responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE)
_WITH_404: Final = {**_REFUSALS, **_responses(HTTPStatus.NOT_FOUND)}
_WITH_400: Final = {**_WITH_404, **_responses(HTTPStatus.BAD_REQUEST)}


def _guard(
    authenticator: Authenticator,
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Any]:
    """Return a guard that lets callers in whom the authenticator knows."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not await _is_operator(authenticator, connection):
            raise HTTPException(
                "bring a valid bearer token",
                status_code=HTTPStatus.UNAUTHORIZED,
                headers={"WWW-Authenticate": 'Bearer realm="drivewake"'},
            )

    return guard


async def _is_operator(
    authenticator: Authenticator, connection: ASGIConnection[Any, Any, Any, Any]
) -> bool:
    given = connection.headers.getall("authorization", [])
    # Of two headers, which one would a proxy have looked at? Neither is believed.
    if len(given) != 1:
        return False
    scheme, _, token = given[0].partition(" ")
    return scheme.lower() == "bearer" and await authenticator.authenticate(token) is not None


def _cookie(name: str, value: SecretStr | None, *, secure: bool) -> Cookie:
    """Return a sign-in's cookie, or without a value the one that removes it."""
    return Cookie(
        key=name,
        value=value.get_secret_value() if value else "",
        max_age=int(SIGN_IN_LIFE.total_seconds()) if value else 0,
        path="/v1/callback",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def public_handlers(
    sign_ins: SignInService, authenticator: Authenticator, *, secure: bool
) -> Sequence[ControllerRouterHandler]:
    """Return what browsers use. `secure` cookies travel over https only."""

    @get("/v1/connect", summary="Go to Google to connect an account", status_code=HTTPStatus.FOUND)
    async def connect(
        request: Request[Any, Any, Any], link: FromQuery[str] = "", tenant: FromQuery[str] = ""
    ) -> Response[Any]:
        """Redirect to Google's consent page: with a link, or as an operator for a tenant."""
        if not link:
            await _guard(authenticator)(request, request.route_handler)
            link = await sign_ins.link(tenant or "default")
        departure = await sign_ins.depart(link)
        cookie = _cookie(departure.cookie_name, departure.cookie, secure=secure)
        return Response(
            None,
            status_code=HTTPStatus.FOUND,
            headers={**pages.HEADERS, "Location": departure.url},
            cookies=[cookie],
        )

    @get("/v1/callback", summary="Come back from Google", status_code=HTTPStatus.SEE_OTHER)
    async def callback(
        request: Request[Any, Any, Any],
        sign_in: Annotated[str, QueryParameter(name="state")] = "",
        code: FromQuery[str] = "",
        error: FromQuery[str] = "",
        iss: FromQuery[str] = "",
    ) -> Response[Any]:
        """End a sign-in; every answer is a page for a person, or leads to one."""
        back = Return(
            state=sign_in,
            code=SecretStr(code),
            error=error,
            issuer=iss,
            cookies=request.cookies,
        )
        answer: Response[Any]
        try:
            await sign_ins.arrive(back)
            headers = {**pages.HEADERS, "Location": CONNECTED_PATH}
            answer = Response(None, status_code=HTTPStatus.SEE_OTHER, headers=headers)
        except SignInError as failure:
            answer = pages.page(failure.page, failure.detail)
        except StoreUnavailableError:
            answer = pages.page("down")
        spent = sign_ins.cookie_of(sign_in)
        if spent in request.cookies:
            answer.cookies.append(_cookie(spent, None, secure=secure))
        return answer

    @get(CONNECTED_PATH, summary="See that an account was connected", sync_to_thread=False)
    def connected() -> Response[str]:
        return pages.page("connected")

    return [connect, callback, connected]


def operator_handlers(
    desk: Desk, authenticator: Authenticator, *, public_url: str
) -> Sequence[ControllerRouterHandler]:
    """Return what operators use."""

    def link_to(token: str) -> ConnectLink:
        return ConnectLink(f"{public_url}/v1/connect?link={token}")

    @get("/tenants", responses=_REFUSALS, summary="List tenants")
    async def list_tenants() -> TenantList:
        return TenantList(await desk.tenants())

    @post(
        "/tenants",
        responses={**_WITH_400, **_responses(HTTPStatus.CONFLICT)},
        summary="Make a tenant",
    )
    async def add_tenant(data: JSONBody[NewTenant]) -> Tenant:
        return await desk.add_tenant(data.id, data.name)

    @post("/connections", responses=_WITH_400, summary="Get a link that connects an account")
    async def add_connection(data: JSONBody[NewConnection]) -> ConnectLink:
        return link_to(await desk.link(data.tenant))

    @get("/connections", responses=_WITH_400, summary="List connections")
    async def list_connections(
        tenant: FromQuery[str | None] = None,
        after: Annotated[str, QueryParameter(max_length=64)] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    ) -> ConnectionPage:
        found = await desk.connections(tenant, after, limit)
        return ConnectionPage(found, found[-1].id if len(found) == limit else None)

    @get("/connections/{connection:str}", responses=_WITH_404, summary="Show a connection")
    async def show_connection(connection: FromPath[str]) -> ConnectionView:
        return await desk.connection(connection)

    @post(
        "/connections/{connection:str}/reauthorize",
        responses=_WITH_404,
        summary="Get a link for the same principal to come back",
    )
    async def reauthorize(connection: FromPath[str]) -> ConnectLink:
        return link_to(await desk.reauthorize(connection))

    @post(
        "/connections/{connection:str}/revoke",
        responses=_WITH_404,
        summary="End a connection",
        status_code=HTTPStatus.ACCEPTED,
    )
    async def revoke(connection: FromPath[str]) -> ConnectionView:
        return await desk.revoke(connection)

    @put(
        "/connections/{connection:str}/watched-folders",
        responses=_WITH_400,
        summary="Choose the folders whose activity is read",
    )
    async def watch(connection: FromPath[str], data: JSONBody[WatchedFolders]) -> ConnectionView:
        return await desk.watch(connection, data.folders)

    return [
        Router(
            "/v1",
            route_handlers=[
                list_tenants,
                add_tenant,
                add_connection,
                list_connections,
                show_connection,
                reauthorize,
                revoke,
                watch,
            ],
            guards=[_guard(authenticator)],
            security=[{_BEARER: []}],
        )
    ]


def exception_handlers() -> ExceptionHandlersMap:
    """Return how errors become answers."""
    return {
        UnknownError: lambda _, error: problem(HTTPStatus.NOT_FOUND, str(error)),
        TenantExistsError: lambda _, error: problem(HTTPStatus.CONFLICT, str(error)),
        InvalidIdError: lambda _, error: problem(HTTPStatus.BAD_REQUEST, str(error)),
        InvalidInputError: lambda _, error: problem(HTTPStatus.BAD_REQUEST, str(error)),
        StoreUnavailableError: lambda _, error: problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error)),
        SignInError: lambda _, error: pages.page(error.page, error.detail),
    }


def openapi_config(version: str) -> OpenAPIConfig:
    """Return what the OpenAPI document says beside the handlers."""
    return OpenAPIConfig(
        title="Drivewake auth",
        version=version,
        description="Connections to Google Drive: who connected what, and in which state it is.",
        path="/v1/openapi",
        components=Components(
            security_schemes={_BEARER: SecurityScheme(type="http", scheme="bearer")}
        ),
    )
