"""The HTTP face of a service: one Litestar application, served inside the service's loop.

Granian's embedded server runs it: the Rust side parses and bounds what clients send (5 s
for the headers, 16 KiB of them), Python sees whole requests. Upstream calls embedding
experimental, so three of its corners are handled here and tested: it is bound by us, so
that port 0 and a port in use are ordinary cases; its own logging is left alone; a server
that ends by itself raises.
"""

import asyncio
import os
import resource
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send

from drivewake.runtime import metrics
from drivewake.runtime.errors import ConfigurationError, ServiceStoppedError
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import get_logger
from drivewake.runtime.probes import Check, probe_handlers
from drivewake.runtime.telemetry import continue_trace

HEADER_TIMEOUT_S: Final = 5.0
HEADER_BUFFER_BYTES: Final = 16 * 1024
BODY_LIMIT_BYTES: Final = 1 << 20
PROBLEM_JSON: Final = "application/problem+json"
BACKLOG: Final = 1024
MAX_CONNECTIONS: Final = 16_384
SPARE_FILES: Final = 256
"""Open files that are not connections of clients: the broker, the log, Google."""
MAX_LOGGED_PATH: Final = 256
QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths whose successful answers are not worth a log line."""

_HTTP: Final = ScopeType.HTTP  # a member is looked up at some cost

_log = get_logger(__name__)

REQUESTS: Final = metrics.Counter(
    "http_requests",
    meaning="HTTP answers, by class of status.",
    labels={"status": ("1xx", "2xx", "3xx", "4xx", "5xx")},
)
DURATION: Final = metrics.Histogram(
    "http_request_duration", meaning="Time from a whole request to the end of its answer."
)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as RFC 9457 wants it; `type` about:blank means that the title is the status."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


def problem(status: int, detail: str = "", *, kind: str = "about:blank") -> Response[Problem]:
    """Return an error answer; `detail` is for the caller's eyes and holds no secret."""
    body = Problem(type=kind, title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(body, status_code=status, media_type=PROBLEM_JSON)


def _on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    del request
    detail = error.detail if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else ""
    answer = problem(error.status_code, detail)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    _log.error("a request failed", action="http_error", path=request.scope["path"], exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR)


def application(
    service: Service,
    handlers: Sequence[ControllerRouterHandler] = (),
    readiness: Mapping[str, Check] | None = None,
    *,
    openapi: OpenAPIConfig | None = None,
    body_limit_bytes: int = BODY_LIMIT_BYTES,
    **options: Any,  # noqa: ANN401 - passed on to Litestar
) -> Litestar:
    """Return the application: the probes, the service's own handlers, errors as problems.

    Litestar's logging is off: it prints header values. `options` go to Litestar.
    """
    return Litestar(
        route_handlers=[*probe_handlers(service, readiness or {}), *handlers],
        exception_handlers={
            HTTPException: _on_http_error,
            Exception: _on_error,
            **options.pop("exception_handlers", {}),
        },
        openapi_config=openapi,
        logging_config=None,
        request_max_body_size=body_limit_bytes,
        **options,
    )


class Observed:
    """An application whose every answer is counted, traced and logged: never header values.

    It wraps Litestar from outside, because paths that no handler takes pass no middleware.
    With `public`, the trace that a stranger's request claims to belong to is ignored. What lies
    under a prefix of `direct` goes straight to its application: routing, a line and a span for
    each of thousands of requests a second cost several times what answering them does.
    """

    def __init__(
        self, app: ASGIApp, *, public: bool = False, direct: Mapping[str, ASGIApp] | None = None
    ) -> None:
        self._app = app
        self._public = public
        self._direct = tuple((direct or {}).items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI asks."""
        if scope["type"] != _HTTP:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        for prefix, app in self._direct:
            if path.startswith(prefix):
                await app(scope, receive, send)
                return
        status = 0
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with continue_trace(None if self._public else _traceparent(scope), "http request"):
            try:
                await self._app(scope, receive, noted)
            finally:
                self._note(scope, status, time.perf_counter() - began)

    @staticmethod
    def _note(scope: Scope, status: int, took_s: float) -> None:
        REQUESTS.add(status=f"{status // 100}xx")
        DURATION.observe(took_s)
        if scope["path"] in QUIET and status < HTTPStatus.BAD_REQUEST:
            return
        _log.info(
            "request",
            action="http_request",
            method=scope.get("method"),
            path=scope["path"][:MAX_LOGGED_PATH],
            status=status,
            took_ms=round(took_s * 1000, 1),
        )


def _traceparent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return value.decode("latin-1")
    return None


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; raises ConfigurationError with one clear line."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"DRIVEWAKE_HTTP_HOST: cannot use the address: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"DRIVEWAKE_HTTP_PORT: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
        ) from error
    return listener


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Where certificate chain and private key lie, both PEM. They are read once, at the start."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise ConfigurationError, in one line, if these cannot serve."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A passphrase would be asked for on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"DRIVEWAKE_TLS_CERTIFICATE, DRIVEWAKE_TLS_KEY: cannot be used: {error}"
            ) from None


def connection_limit() -> int:
    """Return how many connections may be open at once, having allowed this process that many.

    Granian's own default is its backlog: as few idle strangers would keep everybody else out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(soft - SPARE_FILES, 1))


class _Embedded(Server):
    """Granian in our loop, on a socket that we bound, silent."""

    def __init__(self, app: ASGIApp, listener: socket.socket, tls: Tls | None = None) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            backlog=BACKLOG,
            backpressure=connection_limit(),
            log_enabled=False,
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(HEADER_TIMEOUT_S * 1000),
                max_buffer_size=HEADER_BUFFER_BYTES,
            ),
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        """Serve the bound socket instead of binding one."""
        # Granian closes what it gets, hence the copy; False: no unix domain socket.
        self._shd = SocketHolder(os.dup(self._listener.fileno()), False, BACKLOG)  # type: ignore[call-arg,assignment]  # noqa: FBT003


class HttpServer:
    """One application at one address. Binding happens here, so `port` is known at once.

    Raises ConfigurationError if the address cannot be bound, or the certificate not used.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        public: bool = False,
        direct: Mapping[str, ASGIApp] | None = None,
        tls: Tls | None = None,
    ) -> None:
        if tls is not None:
            tls.check()
        observed = Observed(app, public=public, direct=direct)
        self._listener = bound_socket(host, port)
        self._server = _Embedded(observed, self._listener, tls)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    def close(self) -> None:
        """Give the address back without having served."""
        self._listener.close()

    async def run(self, stop: Stop) -> None:
        """Serve until the stop; requests under way are answered.

        Raises ServiceStoppedError if the server ends by itself.
        """
        serving = asyncio.create_task(self._server.serve(), name="granian")
        stopping = asyncio.create_task(stop.wait(), name="http-stop")
        _log.info("listening", action="http_listen", host=self.host, port=self.port)
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and not stop.requested:
                raise ServiceStoppedError(
                    "the HTTP server ended by itself"
                ) from serving.exception()
            self._server.stop()  # type: ignore[no-untyped-call]
            await serving
        finally:
            stopping.cancel()
            serving.cancel()
            await asyncio.wait({serving, stopping})
            self._listener.close()


async def serve_http(
    app: ASGIApp, host: str, port: int, stop: Stop, *, public: bool = False
) -> None:
    """Bind and serve as a task of the service; `public` says that strangers may connect.

    Make an HttpServer instead where the port chosen by the system must be known.
    """
    await HttpServer(app, host, port, public=public).run(stop)
