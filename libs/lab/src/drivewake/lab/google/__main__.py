"""`drivewake-google-sim`: run the simulated Google as a process."""

import asyncio
import signal
import sys
from pathlib import Path

import click
import msgspec
import uvloop

from drivewake.lab.google.faults import read_scenario
from drivewake.lab.google.model import StateError
from drivewake.lab.google.profiles import COSTS, PROFILES, Profile
from drivewake.lab.google.serve import free_port, serve, tune_gc
from drivewake.lab.google.snapshot import load, save
from drivewake.lab.google.world import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    Options,
    SimulatedGoogle,
)
from drivewake.lab.scenarios.organisation import Size, found, settle
from drivewake.lab.scenarios.stories import StoryError, read_story, tell

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
@click.option("--obey-robots", is_flag=True, help="Heed robots.txt of push receivers, as Google.")
@click.option("--preencoded-pages", is_flag=True, help="Serve unchanged pages as encoded before.")
@click.option("--client-id", default=DEFAULT_CLIENT_ID)
@click.option(
    "--client-secret",
    default=DEFAULT_CLIENT_SECRET,
    envvar="DRIVEWAKE_SIM_CLIENT_SECRET",
    show_envvar=True,
    help="A secret one belongs into the environment: everybody can read command lines.",
)
@click.option("--redirect-uri", multiple=True, help="Registered; without any, loopback is taken.")
@click.option("--scenario", type=FILE, help="Faults on command from the start (TOML).")
@click.option("--story", type=FILE, multiple=True, help="What people have done before (text).")
@click.option("--organisation", type=int, help="People of a generated organisation with a past.")
@click.option(
    "--state-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Go on from this file if it exists; written on a clean stop.",
)
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
    obey_robots: bool,
    preencoded_pages: bool,
    client_id: str,
    client_secret: str,
    redirect_uri: tuple[str, ...],
    scenario: Path | None,
    story: tuple[Path, ...],
    organisation: int | None,
    state_file: Path | None,
    user: tuple[str, ...],
) -> None:
    """Run a simulated Google: OAuth, Drive v3, push, and a control API under /_sim/."""
    wanted: dict[str, int | None] = {
        "latency_ms": latency_ms,
        "push_delay_ms": push_delay_ms,
        "push_coalesce_ms": push_coalesce_ms,
        "obeys_robots": obey_robots,
        "preencoded_pages": preencoded_pages,
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
        world = SimulatedGoogle(options)
        if state_file is not None and state_file.exists():
            load(world, state_file)  # which has lived its past and has its faults
        else:
            if organisation is not None:
                settle(world, found(seed, Size.of(organisation)))
            prepare(world, scenario, story)
        uvloop.run(_run(world, host, port))
    except (ValueError, StateError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"Cannot listen on {host}:{port}: {error.strerror or error}", err=True)
        sys.exit(1)
    if state_file is not None:
        try:
            save(world, state_file)
        except OSError as error:
            click.echo(f"Cannot save the state: {error}", err=True)
            sys.exit(1)


def prepare(world: SimulatedGoogle, scenario: Path | None, stories: tuple[Path, ...]) -> None:
    """Let stories happen and put a scenario's faults in force.

    Raises ValueError, which names the file.
    """
    for path in stories:
        try:
            tell(world, read_story(path.read_text("utf-8")))
        except StoryError as error:
            raise StoryError(f"{path}: {error}") from error
    if scenario is not None:
        try:
            rules = read_scenario(scenario.read_text("utf-8")).fault
        except ValueError as error:
            raise ValueError(f"{scenario}: {error}") from error
        for rule in rules:
            world.faults.add(rule, world.now_ns())


async def _run(world: SimulatedGoogle, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def announce() -> None:
        tune_gc()
        click.echo(f"simulated Google on http://{host}:{port}")
        click.echo(describe(world.options.profile))

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
