"""Running the simulated Google: in this loop, in a thread, or as a process of its own."""

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from granian.constants import Interfaces
from granian.server.embed import Server

from drivewake.lab.google.app import Application
from drivewake.lab.google.world import Options, SimulatedGoogle

P = ParamSpec("P")
T = TypeVar("T")
_START_S = 20.0


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def serve(
    world: SimulatedGoogle,
    host: str,
    port: int,
    stop: asyncio.Event,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until `stop` is set. Raises OSError when the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    await world.push.start()
    server = Server(
        Application(world),
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        backlog=1024,
    )
    serving = asyncio.create_task(server.serve(), name="simulated google")
    stopping = asyncio.create_task(stop.wait(), name="stop of the simulated google")
    try:
        await _wait_open(host, port, serving)
        if on_ready is not None:
            on_ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await world.push.close()
        await world.security.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, 5)


async def _wait_open(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    for _ in range(int(_START_S / 0.02)):
        if serving.done():
            serving.result()
            raise RuntimeError("The server stopped before it was ready.")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise TimeoutError(f"No listener on {host}:{port}")


def tune_gc() -> None:
    """Keep the collector from walking the whole world every few thousand objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class RunningGoogle:
    """A simulated Google serving from a thread; `world` is its state, `base_url` its address."""

    def __init__(self, world: SimulatedGoogle, base_url: str) -> None:
        self.world = world
        self.base_url = base_url
        self.loop: asyncio.AbstractEventLoop | None = None

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function where the world may be touched, and return its result."""
        assert self.loop is not None
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(_START_S)


@contextlib.contextmanager
def start_google(options: Options | None = None, port: int = 0) -> Iterator[RunningGoogle]:
    """Serve a new simulated Google from a thread for the length of the block."""
    world = SimulatedGoogle(options)
    port = port or free_port()
    running = RunningGoogle(world, f"http://127.0.0.1:{port}")
    ready: Future[None] = Future()
    stop = asyncio.Event()

    async def run() -> None:
        running.loop = asyncio.get_running_loop()
        await serve(world, "127.0.0.1", port, stop, lambda: ready.set_result(None))

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - handed to the starter
            if not ready.done():
                ready.set_exception(error)

    thread = threading.Thread(target=main, name="simulated google", daemon=True)
    thread.start()
    try:
        ready.result(_START_S)
        yield running
    finally:
        if running.loop is not None and thread.is_alive():
            running.loop.call_soon_threadsafe(stop.set)
        thread.join(_START_S)
