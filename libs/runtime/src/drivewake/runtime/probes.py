"""What an orchestrator asks: alive (/healthz), ready (/readyz), how it goes (/metrics).

Liveness is the loops' heartbeat; readiness is what the service cannot work without. Google
being away fails neither.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from drivewake.runtime import metrics
from drivewake.runtime.lifecycle import Service

CHECK_TIMEOUT_S: Final = 2.0
Check = Callable[[], Awaitable[object]]
"""Returns (anything) if what it looks at works, raises with the reason if not."""

OK: Final = 200
UNAVAILABLE: Final = 503


async def run_checks(checks: Mapping[str, Check], timeout_s: float) -> dict[str, str]:
    """Run all checks at once; return "ok" or why not, by name."""

    async def one(check: Check) -> str:
        try:
            async with asyncio.timeout(timeout_s):
                await check()
        except TimeoutError:
            return f"no answer in {timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - whatever fails is the answer
            # Only the kind of error: its text may hold what the public must not read.
            return type(error).__name__
        return "ok"

    results = await asyncio.gather(*(one(check) for check in checks.values()))
    return dict(zip(checks, results, strict=True))


def probe_handlers(
    service: Service, readiness: Mapping[str, Check], *, timeout_s: float = CHECK_TIMEOUT_S
) -> list[HTTPRouteHandler]:
    """Return the handlers of the three paths."""

    @get("/healthz", include_in_schema=False)
    async def healthz() -> Response[dict[str, object]]:
        stale = service.stale()
        body: dict[str, object] = {
            "status": "stuck" if stale else "ok",
            "service": service.name,
            "stale_s": stale,
        }
        return Response(body, status_code=UNAVAILABLE if stale else OK)

    @get("/readyz", include_in_schema=False)
    async def readyz() -> Response[dict[str, object]]:
        if service.stop.requested:
            return Response({"status": "stopping", "checks": {}}, status_code=UNAVAILABLE)
        checks = await run_checks(readiness, timeout_s)
        ready = all(result == "ok" for result in checks.values())
        body: dict[str, object] = {"status": "ready" if ready else "unready", "checks": checks}
        return Response(body, status_code=OK if ready else UNAVAILABLE)

    @get("/metrics", include_in_schema=False, media_type=metrics.CONTENT_TYPE, sync_to_thread=False)
    def exposition() -> bytes:
        return metrics.exposition()

    return [healthz, readyz, exposition]
