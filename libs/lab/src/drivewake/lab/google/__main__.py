"""`drivewake-google-sim`: run the simulated Google as a process."""

import asyncio
import signal
import sys

import click
import msgspec
import uvloop

from drivewake.lab.google.profiles import COSTS, PROFILES, Profile
from drivewake.lab.google.serve import free_port, serve, tune_gc
from drivewake.lab.google.world import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    Options,
    SimulatedGoogle,
)


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1")
@click.option("--port", default=8085, help="0 picks a free one; it is printed.")
@click.option("--seed", default=0, help="Same seed, same ids.")
@click.option("--quota", type=click.Choice(sorted(PROFILES)), default="relaxed")
@click.option("--latency-ms", type=int, help="Added to every API answer.")
@click.option("--push-delay-ms", type=int, help="From a change to its notification.")
@click.option("--push-coalesce-ms", type=int, help="Changes gathered into one notification.")
@click.option("--access-ttl-s", default=3599, help="Life of an access token.")
@click.option("--issuer", default="https://accounts.google.com", help="`iss` of id tokens.")
@click.option("--https-only", is_flag=True, help="Refuse plain http push addresses.")
@click.option("--client-id", default=DEFAULT_CLIENT_ID)
@click.option("--client-secret", default=DEFAULT_CLIENT_SECRET)
@click.option("--redirect-uri", multiple=True, help="Registered; without any, loopback is taken.")
@click.option("--user", multiple=True, help="E-mail address of a user that exists from the start.")
def main(  # noqa: PLR0913, PLR0917 - one argument an option
    host: str,
    port: int,
    seed: int,
    quota: str,
    latency_ms: int | None,
    push_delay_ms: int | None,
    push_coalesce_ms: int | None,
    access_ttl_s: int,
    issuer: str,
    https_only: bool,
    client_id: str,
    client_secret: str,
    redirect_uri: tuple[str, ...],
    user: tuple[str, ...],
) -> None:
    """Run a simulated Google: OAuth, Drive v3, push, and a control API under /_sim/."""
    wanted = {
        "latency_ms": latency_ms,
        "push_delay_ms": push_delay_ms,
        "push_coalesce_ms": push_coalesce_ms,
    }
    changed = {name: value for name, value in wanted.items() if value is not None}
    options = Options(
        seed=seed,
        profile=msgspec.structs.replace(PROFILES[quota], **changed),
        access_ttl_s=access_ttl_s,
        issuer=issuer,
        https_only=https_only,
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=redirect_uri,
        users=user,
    )
    port = port or free_port(host)
    try:
        uvloop.run(_run(options, host, port))
    except OSError as error:
        click.echo(f"Cannot listen on {host}:{port}: {error.strerror or error}", err=True)
        sys.exit(1)


async def _run(options: Options, host: str, port: int) -> None:
    world = SimulatedGoogle(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def announce() -> None:
        tune_gc()
        click.echo(f"simulated Google on http://{host}:{port}")
        click.echo(describe(options.profile))

    await serve(world, host, port, stop, announce)


def describe(profile: Profile) -> str:
    """Return one line about the limits in force."""
    costs = ", ".join(f"{kind} {units}" for kind, units in COSTS.items())
    return (
        f"quota {profile.name}: {profile.project_units_per_min:,} units/min a project, "
        f"{profile.user_units_per_min:,} a user ({costs}); latency {profile.latency_ms} ms; "
        f"push delay {profile.push_delay_ms} ms, gathered over {profile.push_coalesce_ms} ms"
    )


if __name__ == "__main__":
    main()
