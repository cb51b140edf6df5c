"""`drivewake auth`: tenants and keys of an installation."""

import asyncio
from typing import Any, BinaryIO, Final

import msgspec
import rich_click as click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from drivewake.cli.api import Api, api
from drivewake.cli.session import Failure, run

LOOK_EVERY_S: Final = 0.5
MAX_KEY_BYTES: Final = 64 * 1024
STUCK_AFTER: Final = 20
"""Looks without progress after which the rotation is begun again: its process may be gone."""


@click.group()
def auth() -> None:
    """Tenants and keys of the installation.

    Auth is found by DRIVEWAKE_AUTH_URL; DRIVEWAKE_API_TOKEN (or …_FILE) is a token of an admin.
    """


@auth.command()
def tenants() -> None:
    """List the tenants that you see, one JSON document a line."""

    async def work() -> None:
        async with api() as found:
            for tenant in (await found.call("GET", "tenants"))["tenants"]:
                click.echo(msgspec.json.encode(tenant).decode())

    run(work)


@auth.command("add-tenant")
@click.argument("tenant")
@click.option("--name", help="What people call it; its id without.")
def add_tenant(tenant: str, name: str | None) -> None:
    """Make a TENANT: 1 to 64 of the characters A-Z a-z 0-9 _ -."""

    async def work() -> None:
        async with api() as found:
            made = await found.call("POST", "tenants", {"id": tenant, "name": name or tenant})
        click.echo(msgspec.json.encode(made).decode())

    run(work)


@auth.command("add-service-account")
@click.argument("file", type=click.File("rb"))
@click.option("--tenant", default="default", show_default=True)
def add_service_account(file: BinaryIO, tenant: str) -> None:
    """Add a service account by its key FILE (JSON; - is stdin), or give it a new key.

    Prints its id, and the client id to which an administrator of the Workspace delegates scopes.
    """
    try:
        key = msgspec.json.decode(file.read(MAX_KEY_BYTES), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Failure("the file is no JSON document") from None

    async def work() -> None:
        async with api() as found:
            body = {"key": key, "tenant": tenant}
            made = await found.call("POST", "service-accounts", body)
        click.echo(msgspec.json.encode(made).decode())

    run(work)


@auth.command()
def keys() -> None:
    """Show how many secrets lie under which key, as JSON."""

    async def work() -> None:
        async with api() as found:
            state = await found.call("GET", "keys")
        click.echo(msgspec.json.format(msgspec.json.encode(state)).decode())

    run(work)


@auth.command("rotate-keys")
def rotate_keys() -> None:
    """Move all secrets under the first key of the keyring, while everything goes on.

    Before: put a new key (`python -m drivewake.auth new-key`) in front of the keyring of every
    auth and restart them. After: take the old keys out. May be repeated.
    """

    async def work() -> None:
        async with api() as found:
            state = await found.call("POST", "keys/rotate")
            total = state["remaining"]
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            with Progress(*columns, transient=True) as progress:
                bar = progress.add_task(f"{total:,} secrets to {state['current']}", total=total)
                state = await _followed(
                    found, state, lambda left: progress.update(bar, completed=total - left)
                )
        if state["remaining"]:
            raise Failure(
                f"{state['remaining']:,} secrets do not open and stay under their keys: "
                f"{_others(state)}; the log of auth names them (secret_alarm)"
            )
        click.echo(f"all {sum(state['secrets'].values()):,} secrets lie under {state['current']}")

    run(work)


async def _followed(found: Api, state: dict[str, Any], tell: Any) -> dict[str, Any]:  # noqa: ANN401 - a callback
    """Return the state once nothing is left to do or what is left cannot be done."""
    still, left = 0, state["remaining"]
    # What does not open is counted by the process that rotates; another may answer us.
    while state["remaining"] and (state["rotating"] or not _ended(state)):
        await asyncio.sleep(LOOK_EVERY_S)
        state = await found.call("GET", "keys")
        tell(state["remaining"])
        still, left = (still + 1 if state["remaining"] == left else 0), state["remaining"]
        if still >= STUCK_AFTER:
            if _ended(state):
                break
            state, still = await found.call("POST", "keys/rotate"), 0
    return state


def _ended(state: dict[str, Any]) -> bool:
    return bool(not state["rotating"] and state["remaining"] <= state["unreadable"])


def _others(state: dict[str, Any]) -> str:
    return ", ".join(key for key in state["secrets"] if key != state["current"])
