"""`python -m drivewake.lab.issuer`: see `--help`."""

import asyncio
import contextlib
import os
import signal
import sys

import click

from drivewake.lab.issuer.server import start_issuer

SECRET = "DRIVEWAKE_DEV_ISSUER_SECRET"  # noqa: S105 - the name of a variable


@click.command()
@click.option("--port", default=9000, show_default=True)
def main(port: int) -> None:
    """Serve the development issuer on this machine until Ctrl-C.

    The secret of its one client stands in DRIVEWAKE_DEV_ISSUER_SECRET.
    """
    secret = os.environ.get(SECRET, "")
    if not secret:
        raise click.ClickException(f"set {SECRET}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(secret, port))


async def _serve(secret: str, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with start_issuer(secret, port=port) as issuer:
        sys.stdout.write(f"development issuer at {issuer.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()
