"""The usual design of an ingress: one publish a request, awaited. Run by `just bench webhook`."""

import hmac
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import nats
import uvicorn
from fastapi import FastAPI, Header, HTTPException

STATE: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hold the connection to the broker."""
    STATE["client"] = await nats.connect(os.environ["PEER_NATS_URL"])
    STATE["js"] = STATE["client"].jetstream()
    yield
    await STATE["client"].close()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/notifications/drive/{tenant}/{connection}/{log}")
async def notification(
    tenant: str,
    connection: str,
    log: str,
    x_goog_channel_token: Annotated[str, Header()],
    x_goog_channel_id: Annotated[str, Header()],
) -> None:
    """Compare the token, publish, wait for JetStream."""
    if not hmac.compare_digest(x_goog_channel_token[:2], "1."):
        raise HTTPException(401)
    await STATE["js"].publish(
        f"drive.signal.v1.{tenant}.{connection}.{log}", x_goog_channel_id.encode()
    )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
