"""What callers with a token do: tenants and connections."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, get, post, put
from litestar.handlers import BaseRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from drivewake.auth.audit import Trail
from drivewake.auth.callers import Caller
from drivewake.auth.desk import MAX_PAGE, ConnectionView, Desk
from drivewake.auth.errors import ForbiddenError, UnknownError
from drivewake.auth.http_guard import Connection, Gate
from drivewake.auth.ports import Audit
from drivewake.auth.records import By, ServiceAccount, Tenant
from drivewake.auth.rotation import KeyState, Rotator
from drivewake.auth.service_accounts import Outcome, ServiceAccountDesk
from drivewake.contracts.audit import AuditRecord
from drivewake.runtime.http import PROBLEM_JSON, Problem

BEARER: Final = "oidc"
MAX_RECORDS: Final = 1000
MAX_BIGINT: Final = 2**63 - 1
Ask = Request[Caller, Any, Any]


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


class ServiceAccountList(msgspec.Struct, frozen=True):
    """All service accounts that the caller sees."""

    service_accounts: list[ServiceAccount]


class NewServiceAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's service account: `key` is the content of its key file (JSON)."""

    key: dict[str, Any]
    tenant: str = "default"

    def __repr__(self) -> str:
        return f"NewServiceAccount(tenant={self.tenant!r})"


class Subjects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses of people to connect, at most 200."""

    subjects: tuple[str, ...]


class Outcomes(msgspec.Struct, frozen=True):
    """What became of each subject."""

    outcomes: list[Outcome]


class AuditPage(msgspec.Struct, frozen=True):
    """Some records in the order of the chain; `next` continues after them, null at the end."""

    records: list[AuditRecord]
    next: int | None


def _responses(*statuses: HTTPStatus) -> Mapping[int, ResponseSpec]:
    return {
        int(status): ResponseSpec(
            Problem, description=status.phrase, media_type=PROBLEM_JSON, generate_examples=False
        )
        for status in statuses
    }


_REFUSALS: Final = _responses(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_404: Final = {**_REFUSALS, **_responses(HTTPStatus.NOT_FOUND)}
_WITH_400: Final = {**_WITH_404, **_responses(HTTPStatus.BAD_REQUEST)}


def tenant_handlers(desk: Desk) -> Sequence[ControllerRouterHandler]:
    """Return what is done with tenants."""

    @get("/tenants", responses=_REFUSALS, summary="List tenants")
    async def list_tenants(request: Ask) -> TenantList:
        return TenantList(await desk.tenants(request.user))

    @post(
        "/tenants",
        role="admin",
        responses={**_WITH_400, **_responses(HTTPStatus.CONFLICT)},
        summary="Make a tenant",
    )
    async def add_tenant(request: Ask, data: JSONBody[NewTenant]) -> Tenant:
        return await desk.add_tenant(request.user, data.id, data.name)

    return [list_tenants, add_tenant]


def connection_handlers(desk: Desk, *, public_url: str) -> Sequence[ControllerRouterHandler]:
    """Return what is done with connections."""

    def link_to(token: str) -> ConnectLink:
        return ConnectLink(f"{public_url}/v1/connect?link={token}")

    @post(
        "/connections",
        role="operator",
        responses=_WITH_400,
        summary="Get a link that connects an account",
    )
    async def add_connection(request: Ask, data: JSONBody[NewConnection]) -> ConnectLink:
        return link_to(await desk.link(request.user, data.tenant))

    @get("/connections", responses=_WITH_400, summary="List connections")
    async def list_connections(
        request: Ask,
        tenant: FromQuery[str | None] = None,
        after: Annotated[str, QueryParameter(max_length=64)] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    ) -> ConnectionPage:
        found = await desk.connections(request.user, tenant, after, limit)
        return ConnectionPage(found, found[-1].id if len(found) == limit else None)

    @get("/connections/{connection:str}", responses=_WITH_404, summary="Show a connection")
    async def show_connection(request: Ask, connection: FromPath[str]) -> ConnectionView:
        return await desk.connection(request.user, connection)

    @post(
        "/connections/{connection:str}/reauthorize",
        role="operator",
        responses=_WITH_400,
        summary="Get a link for the same principal to come back",
    )
    async def reauthorize(request: Ask, connection: FromPath[str]) -> ConnectLink:
        return link_to(await desk.reauthorize(request.user, connection))

    @post(
        "/connections/{connection:str}/revoke",
        role="operator",
        responses=_WITH_404,
        summary="End a connection",
        status_code=HTTPStatus.ACCEPTED,
    )
    async def revoke(request: Ask, connection: FromPath[str]) -> ConnectionView:
        return await desk.revoke(request.user, connection)

    @put(
        "/connections/{connection:str}/watched-folders",
        role="operator",
        responses=_WITH_400,
        summary="Choose the folders whose activity is read",
    )
    async def watch(
        request: Ask, connection: FromPath[str], data: JSONBody[WatchedFolders]
    ) -> ConnectionView:
        return await desk.watch(request.user, connection, data.folders)

    return [add_connection, list_connections, show_connection, reauthorize, revoke, watch]


def service_account_handlers(desk: ServiceAccountDesk) -> Sequence[ControllerRouterHandler]:
    """Return what is done with service accounts that act for people of a Workspace."""

    @get("/service-accounts", responses=_REFUSALS, summary="List service accounts")
    async def list_service_accounts(request: Ask) -> ServiceAccountList:
        return ServiceAccountList(list(await desk.accounts(request.user)))

    @post(
        "/service-accounts",
        role="admin",
        responses=_WITH_400,
        summary="Add a service account by its key file, or give it a new key",
    )
    async def add_service_account(
        request: Ask, data: JSONBody[NewServiceAccount]
    ) -> ServiceAccount:
        return await desk.add(request.user, data.tenant, data.key)

    @post(
        "/service-accounts/{account:str}/connections",
        role="operator",
        responses=_WITH_400,
        summary="Connect people that a service account may act for",
        status_code=HTTPStatus.OK,
    )
    async def connect_subjects(
        request: Ask, account: FromPath[str], data: JSONBody[Subjects]
    ) -> Outcomes:
        return Outcomes(list(await desk.connect(request.user, account, data.subjects)))

    return [list_service_accounts, add_service_account, connect_subjects]


def audit_handlers(records: Audit, trail: Trail) -> Sequence[ControllerRouterHandler]:
    """Return what is read of the audit chain."""

    @get("/audit", role="admin", responses=_WITH_400, summary="Read the audit chain")
    async def read_audit(
        request: Ask,
        tenant: FromQuery[str | None] = None,
        after: Annotated[int, QueryParameter(ge=0, le=MAX_BIGINT)] = 0,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_RECORDS)] = 100,
    ) -> AuditPage:
        """Without `tenant`, who runs the installation reads the whole chain."""
        caller = request.user
        if tenant is not None and not caller.sees(tenant):
            raise UnknownError
        await trail.flush()
        found = await records.records(tenant or caller.tenant, after, limit)
        trail.count(caller.name, "audit.read", tenant=tenant or caller.tenant or "")
        return AuditPage(list(found), found[-1].number if len(found) == limit else None)

    return [read_audit]


def key_handlers(rotator: Rotator) -> Sequence[ControllerRouterHandler]:
    """Return what is done with keys, by who runs the installation."""

    def whole(caller: Caller) -> Caller:
        if caller.tenant is not None:
            raise ForbiddenError("only who runs the installation may see to its keys")
        return caller

    @get("/keys", role="admin", responses=_REFUSALS, summary="See what lies under which key")
    async def show_keys(request: Ask) -> KeyState:
        whole(request.user)
        return await rotator.state()

    @post(
        "/keys/rotate",
        role="admin",
        responses=_REFUSALS,
        summary="Move all secrets under the current key",
        status_code=HTTPStatus.ACCEPTED,
    )
    async def rotate_keys(request: Ask) -> KeyState:
        return await rotator.begin(By(whole(request.user).name))

    return [show_keys, rotate_keys]


def behind(gate: Gate, handlers: Sequence[ControllerRouterHandler]) -> Router:
    """Return handlers that known callers alone reach, under `/v1`."""

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        # Litestar copies handlers deeply: a function is shared, a method would copy the gate.
        await gate.guard(connection, handler)

    return Router("/v1", route_handlers=handlers, guards=[guard], security=[{BEARER: []}])
