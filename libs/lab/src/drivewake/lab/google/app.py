"""The ASGI application: every service of the simulated Google on one host."""

import inspect
from typing import Any

from drivewake.lab.google.batch import Batches
from drivewake.lab.google.control import Control
from drivewake.lab.google.discovery import Service
from drivewake.lab.google.drive import DriveService
from drivewake.lab.google.gateway import Gateway
from drivewake.lab.google.http import Response, Router, read_request, send_response
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
        Gateway(world).mount(self._router, Service("drive", "v3"), drive.endpoints())
        Batches(self._router).mount()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = await read_request(scope, receive)
        found = self._router.find(request.method, request.path)
        if found is None:
            response = Response.json(_no_such_path(request.path), 404)
        else:
            handler, request.path_params = found
            answer = handler(request)
            response = await answer if inspect.isawaitable(answer) else answer
        await send_response(response, send)


def _no_such_path(path: str) -> dict[str, Any]:
    text = f"The requested URL {path} was not found on this simulated server."
    entry = {"message": text, "domain": "global", "reason": "notFound"}
    return {"error": {"code": 404, "message": text, "errors": [entry]}}
