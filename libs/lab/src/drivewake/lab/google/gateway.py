"""The door every API method has: who calls, may they, can they pay, what did they ask.

Order as at Google: credentials, scopes, quota, parameters, the method, partial response.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from drivewake.lab.google.discovery import Method, Parameter, Service
from drivewake.lab.google.effects import refuse, spoil
from drivewake.lab.google.errors import (
    ApiError,
    bad_token,
    drive_not_found,
    file_not_found,
    insufficient_file_permissions,
    insufficient_scopes,
    invalid_parameter,
    invalid_value,
    no_credentials,
    part_not_found,
    required,
)
from drivewake.lab.google.faults import Rule
from drivewake.lab.google.fields import Mask, check, parse, project
from drivewake.lab.google.grants import AccessToken
from drivewake.lab.google.http import Handler, Request, Response, Router
from drivewake.lab.google.ledger import RequestFact
from drivewake.lab.google.model import (
    AccessDeniedError,
    DriveMissingError,
    FileMissingError,
    InvalidOperationError,
    PartMissingError,
    RuleError,
    StateError,
    User,
)
from drivewake.lab.google.uploads import Media, Uploads, read_object, read_upload
from drivewake.lab.google.world import SimulatedGoogle

_MAX_INT32 = 2**31
Envelope = Callable[[ApiError], dict[str, Any]]


class Call(NamedTuple):
    """One authorised call: `params` are typed, with Google's defaults filled in.

    `media` is what was uploaded with it.
    """

    method: Method
    user: User
    token: AccessToken
    params: dict[str, Any]
    body: dict[str, Any]
    mask: Mask | None
    request: Request
    media: Media | None = None


class Endpoint(NamedTuple):
    """How the simulator serves a method.

    `cost` is its quota kind. `default_fields` is what Google returns when `fields` is
    missing, None for everything; `needs_fields` refuses a call without it. `projects` says
    that the handler applies the mask itself. A handler may return a finished Response.
    `again` serves a user's query as it was served before, None when it has to be worked out.
    """

    handler: Callable[[Call], Any]
    cost: str
    default_fields: str | None = None
    needs_fields: bool = False
    projects: bool = False
    coerce: frozenset[str] = frozenset()
    again: Callable[[User, str], Response | None] | None = None


class Gateway:
    """Mounts the endpoints of a service at Google's paths, and at the root.

    The root because `api_endpoint` of google-api-python-client replaces host and service
    path together.
    """

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world
        self._uploads = Uploads(world.options.seed)

    def mount(
        self,
        router: Router,
        service: Service,
        endpoints: Mapping[str, Endpoint],
        envelope: Envelope = ApiError.body,
    ) -> None:
        """Add routes for all `endpoints`, keyed by method id; `envelope` is for refusals."""
        for method_id, endpoint in endpoints.items():
            method = service.methods[method_id]
            handler = self._handler(method, endpoint, envelope)
            for prefix in dict.fromkeys((service.base_path, "/")):
                router.add(method.http_method, prefix + method.path, handler)
            for path in method.upload_paths:
                upload = self._handler(method, endpoint, envelope, uploads=True)
                router.add(method.http_method, path, upload)
                router.add("PUT", path, self._resume)

    def _resume(self, request: Request) -> Response:
        """Go on with a resumable upload; its address alone is the right to do so."""
        try:
            return self._uploads.proceed(request)
        except ApiError as error:
            return _refusal(error)

    def _handler(
        self, method: Method, endpoint: Endpoint, envelope: Envelope, *, uploads: bool = False
    ) -> Handler:
        latency_s = self._world.options.profile.latency_ms / 1000

        def serve(request: Request) -> Response:
            started = time.perf_counter_ns()
            principal, reason = "", ""
            rules = self._faults(method, request)
            try:
                refuse(rules)
                token = self._authorise(request, method)
                principal = token.grant.user
                cost = "download" if "alt=media" in request.query_string else endpoint.cost
                self._world.quota.spend(token.project, principal, cost, self._world.now_ns())
                self._world.tick()
                response = self._serve(request, method, endpoint, token, uploads=uploads)
            except ApiError as error:
                reason = error.reason
                response = _refusal(error, envelope)
            if rules:
                response = spoil(response, rules, self._world.now_ns())
            duration_us = (time.perf_counter_ns() - started) // 1000
            self._note(method, request, principal, response.status, reason, duration_us)
            return response

        async def serve_slowly(request: Request) -> Response:
            await asyncio.sleep(latency_s)
            return serve(request)

        return serve_slowly if latency_s else serve

    def _serve(
        self,
        request: Request,
        method: Method,
        endpoint: Endpoint,
        token: AccessToken,
        *,
        uploads: bool,
    ) -> Response:
        user = self._world.state.user(token.grant.user)
        if endpoint.again is not None:
            before = endpoint.again(user, request.query_string)
            if before is not None:
                return before
        params = read_parameters(request, method, endpoint.coerce)
        mask = read_mask(request, method, endpoint)
        media: Media | None = None
        resumable = uploads and request.query.get("uploadType") == "resumable"
        if uploads and not resumable:
            body, media = read_upload(request)
        else:
            body = {} if request.method == "GET" else read_object(request.body)
        call = Call(method, user, token, params, body, mask, request, media)
        if not resumable:
            return _answer(endpoint, call)

        def finish(media: Media) -> Response:
            return _answer(endpoint, call._replace(media=media))

        return self._uploads.begin(request, finish)

    def _authorise(self, request: Request, method: Method) -> AccessToken:
        header = request.headers.get("authorization")
        bearer = request.query.get("access_token") if header is None else None
        if header is None and bearer is None:
            raise no_credentials(request.method)
        if header is not None:
            scheme, _, bearer = header.partition(" ")
            if scheme.lower() != "bearer":
                raise bad_token()
        token = self._world.grants.find_access((bearer or "").strip(), self._world.now_ns())
        if token is None:
            raise bad_token()
        if method.scopes and not (method.scopes & token.scopes):
            raise insufficient_scopes()
        return token

    def _faults(self, method: Method, request: Request) -> tuple[Rule, ...]:
        """Return the commanded faults that this call meets, whoever calls."""
        world = self._world
        if not world.faults.armed:
            return ()
        now_ns = world.now_ns()
        bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
        token = world.grants.find_access(bearer or request.query.get("access_token", ""), now_ns)
        principal = "" if token is None else token.grant.user
        paged = "pageToken" in request.query or b'"pageToken"' in request.body
        return world.faults.meet(method.id, principal, request.path, now_ns, paged=paged)

    def _note(
        self,
        method: Method,
        request: Request,
        principal: str,
        status: int,
        reason: str,
        duration_us: int,
    ) -> None:
        ledger = self._world.ledger
        fact = RequestFact(
            ledger.next_n,
            self._world.now_ns(),
            method.id,
            request.path,
            principal,
            status,
            reason,
            duration_us,
        )
        ledger.add(fact, "request", f"request_{status}", f"request_{method.id}")


def read_parameters(
    request: Request, method: Method, coerce: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the declared parameters, typed. `coerce` names integers cut to their maximum.

    Raises ApiError: 400 required, invalid, invalidParameter.
    """
    params: dict[str, Any] = {}
    for name, parameter in method.parameters.items():
        raw = request.path_params.get(name, request.query.get(name, parameter.default))
        if raw is None or (raw == "" and parameter.required):
            if parameter.required:
                raise required(name)
            continue
        params[name] = _typed(parameter, raw, coerce=parameter.coerced or name in coerce)
    return params


def _typed(parameter: Parameter, raw: str, *, coerce: bool) -> Any:  # noqa: ANN401 - by declaration
    if parameter.type == "boolean":
        if raw not in {"true", "false"}:
            raise invalid_value(parameter.name, f"Invalid value '{raw}' for boolean.")
        return raw == "true"
    if parameter.type != "integer":
        return raw
    try:
        number = int(raw)
    except ValueError:
        raise invalid_value(parameter.name, f"Invalid value '{raw}' for integer.") from None
    low, high = parameter.minimum, parameter.maximum
    if coerce and high is not None and high < number < _MAX_INT32:
        return high
    if (low is not None and number < low) or (high is not None and number > high):
        text = f"Invalid value '{raw}'. Values must be within the range: [{low}, {high}]"
        raise invalid_parameter(parameter.name, text)
    return number


def read_mask(request: Request, method: Method, endpoint: Endpoint) -> Mask | None:
    """Return what to show; None is everything. Raises ApiError for an unknown field."""
    text = request.query.get("fields")
    if not text:
        if endpoint.needs_fields or method.needs_fields:
            message = "The 'fields' parameter is required for this method."
            raise required("fields", message)
        return parse(endpoint.default_fields) if endpoint.default_fields else None
    mask = parse(text)
    check(mask, method.response)
    return mask


def _answer(endpoint: Endpoint, call: Call) -> Response:
    """Let the handler work; tell the state's refusals in Google's words. Raises ApiError."""
    try:
        value = endpoint.handler(call)
    except FileMissingError as error:
        raise file_not_found(error.file_id) from error
    except DriveMissingError as error:
        raise drive_not_found(str(error)) from error
    except PartMissingError as error:
        raise part_not_found(error.part, str(error)) from error
    except AccessDeniedError as error:
        raise insufficient_file_permissions(str(error)) from error
    except RuleError as error:
        raise ApiError(error.code, error.reason, str(error)) from error
    except InvalidOperationError as error:
        raise ApiError(400, "invalid", str(error)) from error
    except StateError as error:
        raise ApiError(500, "internalError", "Internal Error") from error
    if value is None:
        return Response(status=204)
    if isinstance(value, Response):
        return value
    return Response.json(value if endpoint.projects else project(value, call.mask))


def _refusal(error: ApiError, envelope: Envelope = ApiError.body) -> Response:
    return Response.json(envelope(error), error.code, error.headers)
