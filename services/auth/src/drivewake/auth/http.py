"""The HTTP API: people on their way to Google and back, errors, and the document's frame."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler, ExceptionHandlersMap
from pydantic import SecretStr

from drivewake.auth import pages
from drivewake.auth.audit import Trail
from drivewake.auth.callers import Caller
from drivewake.auth.errors import (
    ForbiddenError,
    InvalidInputError,
    IssuerUnavailableError,
    SignInError,
    StoreUnavailableError,
    TenantExistsError,
    UnknownError,
)
from drivewake.auth.http_api import BEARER
from drivewake.auth.signin import SIGN_IN_LIFE, Return, SignInService
from drivewake.contracts.ids import InvalidIdError
from drivewake.runtime.http import Problem, problem

BODY_LIMIT_BYTES: Final = 64 * 1024
CONNECTED_PATH: Final = "/v1/connected"
"""Where every finished sign-in ends: nobody can choose another place."""


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
    sign_ins: SignInService, trail: Trail, *, secure: bool
) -> Sequence[ControllerRouterHandler]:
    """Return what browsers use. `secure` cookies travel over https only."""

    @get("/v1/connect", summary="Go to Google to connect an account", status_code=HTTPStatus.FOUND)
    async def connect(link: FromQuery[str] = "") -> Response[Any]:
        """Redirect to Google's consent page."""
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
            trail.count("person", "sign_in.refused", failure.page, failure.detail)
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


def exception_handlers(trail: Trail) -> ExceptionHandlersMap:
    """Return how errors become answers."""

    def unknown(request: Request[Any, Any, Any], error: UnknownError) -> Response[Problem]:
        caller = request.scope.get("user")
        if isinstance(caller, Caller):
            # Whether it is not there, or another tenant's, is told to nobody; the trail says who
            # asked for how much of it.
            trail.count(caller.name, "api.refused", "unknown", tenant=caller.tenant or "")
        return problem(HTTPStatus.NOT_FOUND, str(error))

    return {
        ForbiddenError: lambda _, error: problem(HTTPStatus.FORBIDDEN, str(error)),
        IssuerUnavailableError: lambda _, error: problem(
            HTTPStatus.SERVICE_UNAVAILABLE, str(error)
        ),
        UnknownError: unknown,
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
            security_schemes={
                BEARER: SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
            }
        ),
    )
