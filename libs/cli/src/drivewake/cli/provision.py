"""`drivewake provision`: streams, buckets and consumers, created or brought up to date."""

import rich_click as click

from drivewake.cli.session import EXIT_MISUSED, Failure, connected, run
from drivewake.contracts.subjects import BUCKETS, CONSUMERS, STREAMS
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.provision import ProvisionSettings
from drivewake.runtime.provision import provision as bring_up
from drivewake.runtime.settings import load


@click.command()
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies of each stream.")
@click.option("--scale", type=click.FloatRange(0, min_open=True), help="Multiplies stream sizes.")
def provision(replicas: int | None, scale: float | None) -> None:
    """Create streams, buckets and consumers, or bring them to their specification.

    Run it before the services start for the first time and after each upgrade. It may be
    repeated and deletes nothing. Needs the NATS user `provision` where the broker has users.
    """

    async def work() -> None:
        try:
            told = load(ProvisionSettings)
        except ConfigurationError as error:
            raise Failure(str(error), EXIT_MISUSED) from None
        async with connected(told) as bus:
            await bring_up(bus, replicas=replicas or told.replicas, scale=scale or told.scale)
        click.echo(
            f"{len(STREAMS)} streams, {len(BUCKETS)} buckets and {len(CONSUMERS)} consumers "
            "are as specified"
        )

    run(work)
