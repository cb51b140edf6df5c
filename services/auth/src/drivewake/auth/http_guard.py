"""Who gets in: a bearer token of a known caller, with the role that the path asks for."""

from http import HTTPStatus
from math import ceil
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from drivewake.auth.audit import Trail
from drivewake.auth.callers import Caller, Role
from drivewake.auth.errors import ForbiddenError, UntrustedTokenError
from drivewake.auth.limits import Buckets
from drivewake.auth.ports import Authenticator
from drivewake.runtime.clock import Clock

Connection = ASGIConnection[Any, Any, Any, Any]
ROLE: Final = "role"
"""Name of the option under which a handler says which role it asks for; `reader` without one."""

CHALLENGE: Final = 'Bearer realm="drivewake"'


class Gate:
    """Lets callers in, each at its rate."""

    def __init__(
        self, authenticator: Authenticator, buckets: Buckets, clock: Clock, trail: Trail
    ) -> None:
        self._authenticator = authenticator
        self._buckets = buckets
        self._clock = clock
        self._trail = trail

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let in who may; the caller is the request's user then."""
        caller = await self._known(connection)
        wait_s = self._buckets.take(caller.subject, self._clock.monotonic_s())
        if wait_s:
            self._trail.count(caller.name, "api.refused", "too_many")
            raise HTTPException(
                "too many requests; wait as long as Retry-After says",
                status_code=HTTPStatus.TOO_MANY_REQUESTS,
                headers={"Retry-After": str(ceil(wait_s))},
            )
        needed: Role = handler.opt.get(ROLE, "reader")
        if not caller.may(needed):
            self._trail.count(
                caller.name, "api.refused", "forbidden", handler.name or "", caller.tenant or ""
            )
            raise ForbiddenError(f"this needs the role {needed}; yours is {caller.role}")
        connection.scope["user"] = caller

    async def _known(self, connection: Connection) -> Caller:
        given = connection.headers.getall("authorization", [])
        # Of two headers, which one would a proxy have looked at? Neither is believed.
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            self._trail.count("nobody", "api.refused", "unauthorized", "no bearer token")
            raise _unauthorized("bring a bearer token of the issuer", CHALLENGE)
        try:
            return await self._authenticator.authenticate(token)
        except UntrustedTokenError as error:
            self._trail.count("nobody", "api.refused", "unauthorized", str(error))
            raise _unauthorized(str(error), f'{CHALLENGE}, error="invalid_token"') from None


def _unauthorized(detail: str, challenge: str) -> HTTPException:
    return HTTPException(
        detail, status_code=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": challenge}
    )
