"""`drivewake keys`: under which key of the keyring the data keys lie, and moving them."""

from typing import Final

import msgspec
import rich_click as click
from pydantic import Field, SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from drivewake.cli.session import EXIT_MISUSED, Failure, run
from drivewake.eventstore.rewrapping import Rewrapped, lie, rewrap
from drivewake.normalizer.verbs.database import KeeperSettings, keeper, settings
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.keyring import Keyring

ROLE: Final = "drivewake_eraser"


class KeysSettings(KeeperSettings):
    """The database, as a member of `drivewake_eraser`, and the normalizer's keyring."""

    data_keyring: SecretStr = Field(description="the normalizer's, the new key first")


@click.group()
def keys() -> None:
    """See under which key of DRIVEWAKE_DATA_KEYRING data keys lie, and move them to the first.

    Needs DRIVEWAKE_POSTGRES_DSN, of a user with the role drivewake_eraser, and the normalizer's
    DRIVEWAKE_DATA_KEYRING (or …_FILE).
    """


as_json = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@keys.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Show how many data keys lie under which key of the keyring."""
    told = settings(KeysSettings)
    ring = _ring(told)
    found: dict[str, int] = {}

    async def work() -> None:
        async with keeper(told, ROLE) as session:
            found.update(await lie(session))

    run(work)
    if as_json:
        click.echo(msgspec.json.encode({"current": ring.current, "keys": found}))
        return
    for name, count in {ring.current: 0, **found}.items():
        click.echo(f"{name}  {count:,}" + ("  (current)" if name == ring.current else ""))


@keys.command("rewrap")
@as_json
def rewrap_(as_json: bool) -> None:
    """Move all data keys under the first key of the keyring, while everything goes on.

    Before: put a new key in front of the keyring of every normalizer, and restart them all.
    After: take the old keys out, but keep them for as long as you may restore backups from
    before. Events are not touched. May be cut off and repeated.
    """
    told = settings(KeysSettings)
    ring = _ring(told)
    done: list[Rewrapped] = []
    say = Console(stderr=True, highlight=False)

    async def work() -> None:
        async with keeper(told, ROLE) as session:
            before = await lie(session)
            total = sum(count for name, count in before.items() if name != ring.current)
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            with Progress(
                *columns, console=say, transient=True, disable=as_json or not say.is_terminal
            ) as bar:
                task = bar.add_task(f"data keys to {ring.current}", total=total)
                done.append(
                    await rewrap(session, ring, lambda seen: bar.update(task, completed=seen))
                )

    run(work)
    (result,) = done
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        click.echo(f"{result.rewrapped:,} data keys moved to {result.current}")
    if result.unreadable:
        where = ", ".join(f"{count:,} under {name}" for name, count in result.unreadable.items())
        raise Failure(f"some do not open with this keyring and stay: {where}")


def _ring(told: KeysSettings) -> Keyring:
    try:
        return Keyring.parse(told.data_keyring)
    except ConfigurationError as error:
        raise Failure(f"DRIVEWAKE_DATA_KEYRING: {error}", EXIT_MISUSED) from None
