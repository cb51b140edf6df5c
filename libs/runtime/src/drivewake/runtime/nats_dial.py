"""Connecting to NATS: in bounded time, and with a clear word about what is wrong."""

import asyncio
import contextlib
from typing import Any, Final

import nkeys
from nats.aio.client import Client
from nats.errors import Error

from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.contracts.permissions import inbox_prefix
from drivewake.runtime.errors import BusPermissionError, BusUnavailableError, ConfigurationError
from drivewake.runtime.nats_link import Link

SCHEMES: Final = ("nats://", "tls://", "ws://", "wss://")
CONNECT_TIMEOUT_S: Final = 10.0
RECONNECT_WAIT_S: Final = 0.2


async def dial(url: str, *, name: str, seed: str, user: str, prefix: str, timeout_s: float) -> Link:
    """Return a connection that comes back by itself whenever it is lost.

    Raises BusUnavailableError if no broker answers in time, BusPermissionError if it refuses
    the credentials, ConfigurationError if the address or the seed is malformed.
    """
    servers = [server.strip() for server in url.split(",")]
    if not all(server.startswith(SCHEMES) for server in servers):
        raise ConfigurationError("DRIVEWAKE_NATS_URL: give nats://host:port, more after commas")
    if prefix:
        try:
            checked(prefix, "DRIVEWAKE_NATS_PREFIX:")
        except InvalidIdError as error:
            raise ConfigurationError(str(error)) from None
    if seed:
        try:
            nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
        except nkeys.NkeysError:
            raise ConfigurationError("DRIVEWAKE_NATS_SEED: this is not an NKEY seed") from None
    client = Client()
    link = Link(client, prefix)
    options: dict[str, Any] = {"nkeys_seed_str": seed} if seed else {}
    connecting = asyncio.ensure_future(
        client.connect(
            servers,
            name=name,
            inbox_prefix=inbox_prefix(user) if user else "_INBOX",
            error_cb=link.on_error,
            disconnected_cb=link.on_down,
            reconnected_cb=link.on_up,
            closed_cb=link.on_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # seconds, any number
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            **options,
        )
    )
    refused = asyncio.ensure_future(link.refused.wait())
    connected = False
    try:
        await asyncio.wait(
            {connecting, refused}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if refused.done():
            raise BusPermissionError("the broker refuses the credentials (DRIVEWAKE_NATS_SEED)")
        if not connecting.done():
            raise BusUnavailableError(f"no broker answered in {timeout_s:g} s (DRIVEWAKE_NATS_URL)")
        connecting.result()
        connected = True
    except Error as error:
        raise ConfigurationError(f"DRIVEWAKE_NATS_URL: {error}") from error
    finally:
        refused.cancel()
        connecting.cancel()
        await asyncio.wait({refused, connecting})
        if not connected:
            with contextlib.suppress(Error, OSError):
                await client.close()
    await link.on_up()
    return link
