"""The ASGI application: every service of the simulated Google on one host."""

import inspect
from typing import Any

from drivewake.lab.google.activity import ActivityService
from drivewake.lab.google.batch import Batches
from drivewake.lab.google.control import Control
from drivewake.lab.google.discovery import Service
from drivewake.lab.google.drive import DriveService
from drivewake.lab.google.effects import deliver, refuse, spoil
from drivewake.lab.google.errors import ApiError, rpc_body
from drivewake.lab.google.gateway import Gateway
from drivewake.lab.google.http import Request, Response, Router, read_request
from drivewake.lab.google.oauth import OAuthService
from drivewake.lab.google.world import SimulatedGoogle


class Application:
    """ASGI 3, HTTP only. `world` is served; whoever runs the app starts its push delivery."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self.world = world
        self._router = Router()
        OAuthService(world).mount(self._router)
        Control(world).mount(self._router)
        drive = DriveService(world)
        gateway = Gateway(world)
        gateway.mount(self._router, Service("drive", "v3"), drive.endpoints())
        activity = ActivityService(world).endpoints()
        gateway.mount(self._router, Service("driveactivity", "v2"), activity, rpc_body)
        Batches(self._router, world.options.seed).mount()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = await read_request(scope, receive)
        await deliver(await self._answer(request), scope, send)

    async def _answer(self, request: Request) -> Response:
        found = self._router.find(request.method, request.path)
        if found is None:
            return Response.json(_no_such_path(request.path), 404)
        handler, request.path_params = found
        operation = _OPERATIONS.get(request.path)
        faults, now_ns = self.world.faults, self.world.now_ns()
        if operation is None or not faults.armed:
            answer = handler(request)
            return await answer if inspect.isawaitable(answer) else answer
        rules = faults.meet(operation, "", request.path, now_ns)
        try:
            refuse(rules)
        except ApiError as error:
            body = {"error": error.reason, "error_description": error.message}
            return spoil(Response.json(body, error.code, error.headers), rules, now_ns)
        answer = handler(request)
        response = await answer if inspect.isawaitable(answer) else answer
        return spoil(response, rules, now_ns)


_OPERATIONS = {
    "/o/oauth2/v2/auth": "oauth.auth",
    "/o/oauth2/auth": "oauth.auth",
    "/token": "oauth.token",
    "/oauth2/v4/token": "oauth.token",
    "/revoke": "oauth.revoke",
    "/tokeninfo": "oauth.tokeninfo",
    "/oauth2/v3/tokeninfo": "oauth.tokeninfo",
    "/v1/userinfo": "oauth.userinfo",
    "/oauth2/v3/userinfo": "oauth.userinfo",
    "/oauth2/v3/certs": "oauth.certs",
    "/.well-known/openid-configuration": "oauth.configuration",
    "/.well-known/risc-configuration": "oauth.risc",
    "/batch/drive/v3": "batch",
}
"""What commanded faults call the paths that are no API methods."""


def _no_such_path(path: str) -> dict[str, Any]:
    text = f"The requested URL {path} was not found on this simulated server."
    entry = {"message": text, "domain": "global", "reason": "notFound"}
    return {"error": {"code": 404, "message": text, "errors": [entry]}}
