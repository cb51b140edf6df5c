"""`drivewake poll | pause | resume | resync`: what operators ask of the poller."""

import asyncio
import datetime as dt
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from click.exceptions import Exit
from rich.console import Console
from rich.table import Table

from drivewake.cli.rendering import harmless
from drivewake.cli.session import EXIT_FAILED, EXIT_MISUSED, Failure, connected, run, settings
from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTIONS
from drivewake.contracts.control import (
    MAX_CONTROLLED,
    ControlReply,
    ControlRequest,
    LogCursor,
    LogOutcome,
    Verb,
)
from drivewake.contracts.envelope import HEADERS, Envelope, InvalidMessageError
from drivewake.contracts.ids import InvalidIdError, new_id
from drivewake.contracts.requests import (
    ANSWERS,
    MAX_DEPTH,
    REQUEST_TYPE,
    REQUESTS,
    Answer,
    Request,
)
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusUnavailableError
from drivewake.runtime.nats import NatsBus

CONTROL_TIMEOUT_S: Final = 30.0
SOURCE: Final = "/drivewake/operator"

_connections = click.argument("connections", nargs=-1, required=False, metavar="CONNECTION...")
_log = click.option("--log", default="", metavar="LOG", help="This log alone; its id may be cut.")
_all = click.option("--all", "everything", is_flag=True, help="Every connection there is.")
_json = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@click.command()
@_connections
@_log
@_all
@_json
def pause(connections: tuple[str, ...], log: str, everything: bool, as_json: bool) -> None:
    """Stop reading logs at once, until they are resumed. Nothing is lost meanwhile.

    \b
    drivewake pause 6f1c2e                  every log of a connection
    drivewake pause 6f1c2e --log a41b       one of them
    """  # noqa: D301 - click's mark
    _control("pause", connections, log, everything=everything, as_json=as_json)


@click.command()
@_connections
@_log
@_all
@_json
def resume(connections: tuple[str, ...], log: str, everything: bool, as_json: bool) -> None:
    """Let paused logs go on where they stood."""
    _control("resume", connections, log, everything=everything, as_json=as_json)


@click.command()
@_connections
@_log
@_all
@click.option(
    "--cursors",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rewind the logs of this file, one JSON object {connection, log, cursor} a line.",
)
@click.option("--from-store", is_flag=True, help="Go on after the database was restored.")
@click.option("--dry-run", is_flag=True, help="With --from-store: say what would be done.")
@_json
def resync(
    connections: tuple[str, ...],
    log: str,
    everything: bool,
    cursors: Path | None,
    from_store: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List everything again, beside the live reading.

    What Google shows and we do not know is recorded, what we know and Google does not show is
    ended. With --cursors logs first go back to where a restored store says they stood.

    With --from-store, after the event store's database was restored to an older day: stop the
    normalizer, keep the poller running. What the store has lost and downstream has seen comes
    back from DRIVE_EVENT, and every log is read again from where the restored store is whole.
    Then start the normalizer. May be repeated. Needs DRIVEWAKE_POSTGRES_DSN, of a user with the
    roles drivewake_keeper, drivewake_writer and drivewake_reader, and DRIVEWAKE_DATA_KEYRING if
    the normalizer has it.
    """
    if from_store:
        if connections or everything or log or cursors:
            raise Failure("--from-store finds its logs itself", EXIT_MISUSED)
        _from_store()(dry_run=dry_run, as_json=as_json)
        return
    if cursors is None:
        _control("resync", connections, log, everything=everything, as_json=as_json)
        return
    if connections or everything or log:
        raise Failure("--cursors names its logs itself", EXIT_MISUSED)
    wanted = _cursors_in(cursors)

    async def work() -> list[LogOutcome]:
        async with connected(settings()) as bus:
            return await rewind(bus, wanted)

    _say(work, as_json=as_json)


@click.command()
@_connections
@_log
@_all
@click.option("--file", "file", default="", metavar="ID", help="Read one file, whole.")
@click.option("--folder", default="", metavar="ID", help="Read what lies in a folder.")
@click.option(
    "--depth",
    type=click.IntRange(1, MAX_DEPTH),
    default=1,
    show_default=True,
    help="Levels of the folder.",
)
@click.option("--since", type=click.DateTime(), help="Read activity from this instant (UTC) on.")
@click.option("--until", type=click.DateTime(), help="… until this one; now by default.")
@click.option("--wait", is_flag=True, help="Wait for the answer, and show what was found.")
@click.option(
    "--timeout", default=300.0, show_default=True, help="Seconds to wait before giving up."
)
@_json
def poll(  # noqa: PLR0913, PLR0917 - options of one verb
    connections: tuple[str, ...],
    log: str,
    everything: bool,
    file: str,
    folder: str,
    depth: int,
    since: dt.datetime | None,
    until: dt.datetime | None,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Read now: every log of a connection, or one file, folder or span of activity.

    \b
    drivewake poll 6f1c2e                          look at all its logs now
    drivewake poll 6f1c2e --wait                   … and say what was found at what cost
    drivewake poll 6f1c2e --file 1AbC --wait
    drivewake poll 6f1c2e --folder 1AbC --depth 3
    drivewake poll 6f1c2e --since 2026-11-01 --wait
    """  # noqa: D301 - click's mark
    if not (wait or file or folder or since):
        _control("poll", connections, log, everything=everything, as_json=as_json)
        return
    request = _request(log, file, folder, depth, since, until)

    async def work() -> list[Answer]:
        async with connected(settings()) as bus:
            names = await _named(bus, connections, everything=everything)
            tenants = await _tenants(bus, names)
            asked = [ask(bus, tenants[name], name, request, wait=wait) for name in names]
            try:
                async with asyncio.timeout(timeout if wait else None):
                    return list(await asyncio.gather(*asked))
            except TimeoutError:
                raise Failure(
                    f"no answer in {timeout:g} s; the request stays, and is worked on"
                ) from None

    answers: list[Answer] = []

    async def collect() -> None:
        answers.extend(await work())

    run(collect)
    _show_answers(answers, as_json=as_json)
    if any(answer.state == "failed" for answer in answers):
        raise Exit(EXIT_FAILED)


def _request(
    log: str,
    file: str,
    folder: str,
    depth: int,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> Request:
    now = dt.datetime.now(dt.UTC)
    told: dict[str, Any] = {"kind": "poll", "log": log}
    if since is not None:
        end = now if until is None else until.replace(tzinfo=dt.UTC)
        told = {"kind": "activity", "since": since.replace(tzinfo=dt.UTC), "until": end}
        told["target"] = folder
    elif folder:
        told = {"kind": "folder", "target": folder, "depth": depth}
    elif file:
        told = {"kind": "file", "target": file}
    try:
        return Request(requested_at=now, reason="operator", **told)
    except ValueError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


# -- asking ----------------------------------------------------------------------------------


async def ask(
    bus: NatsBus, tenant: str, connection: str, request: Request, *, wait: bool
) -> Answer:
    """Publish one request; with `wait`, return its answer when it is done or failed."""
    name = new_id()
    envelope = Envelope(
        id=name,
        source=SOURCE,
        type=REQUEST_TYPE,
        time=request.requested_at,
        tenant=tenant,
        connection=connection,
        data=request,
    )
    subject = subjects.request(tenant, connection, name)
    await bus.publish(Message(subject=subject, data=REQUESTS.encode(envelope), headers=HEADERS))
    pending = Answer(request=name, kind=request.kind, state="running", at=request.requested_at)
    if not wait:
        return pending
    answers = bus.follow(subjects.ANSWER.name, subject=subjects.answer(tenant, connection, name))
    async for stored in answers:
        if stored is None:
            continue
        answer = ANSWERS.decode(stored.data).data
        if answer.state != "running":
            return answer
    return pending


async def control(bus: NatsBus, request: ControlRequest) -> list[LogOutcome]:
    """Ask the poller; Failure if it does not understand, or no poller answers."""
    try:
        body = await bus.request(
            subjects.CONTROL_RPC, msgspec.json.encode(request), timeout_s=CONTROL_TIMEOUT_S
        )
    except BusUnavailableError as error:
        raise Failure(f"no poller answers: {error}") from None
    reply = msgspec.json.decode(body, type=ControlReply)
    if reply.error:
        raise Failure(f"the poller refuses: {reply.error}")
    return list(reply.outcomes)


async def rewind(bus: NatsBus, cursors: Sequence[LogCursor]) -> list[LogOutcome]:
    """Let logs go on from these cursors, however many."""
    outcomes: list[LogOutcome] = []
    for start in range(0, len(cursors), MAX_CONTROLLED):
        chunk = tuple(cursors[start : start + MAX_CONTROLLED])
        outcomes += await control(bus, ControlRequest(verb="rewind", cursors=chunk))
    return outcomes


def _control(
    verb: Verb, connections: tuple[str, ...], log: str, *, everything: bool, as_json: bool
) -> None:
    if log and (everything or len(connections) != 1):
        raise Failure("--log goes with one CONNECTION", EXIT_MISUSED)

    async def work() -> list[LogOutcome]:
        async with connected(settings()) as bus:
            names = await _named(bus, connections, everything=everything)
            outcomes: list[LogOutcome] = []
            for start in range(0, len(names), MAX_CONTROLLED):
                chunk = tuple(names[start : start + MAX_CONTROLLED])
                request = ControlRequest(verb=verb, connections=chunk, log=log)
                outcomes += await control(bus, request)
            return outcomes

    _say(work, as_json=as_json)


async def _named(bus: NatsBus, connections: Sequence[str], *, everything: bool) -> list[str]:
    """Return the connections that are meant; - reads their names from the input."""
    if everything == bool(connections):
        raise Failure("name a CONNECTION, several, - to read them, or --all", EXIT_MISUSED)
    if everything:
        return sorted(await _tenants(bus, ()))
    names = list(connections)
    if names == ["-"]:
        names = (await asyncio.to_thread(sys.stdin.read)).split()
    return names


async def _tenants(bus: NatsBus, names: Sequence[str]) -> dict[str, str]:
    """Return the tenant of every connection; Failure for one that does not exist."""
    found: dict[str, str] = {}
    async for stored in bus.follow(subjects.CONNECTION.name, latest=True):
        if stored is None:
            break
        try:
            envelope = CONNECTIONS.decode(stored.data)
        except InvalidMessageError:
            continue
        found[envelope.connection] = envelope.tenant
    for name in names:
        if name not in found:
            raise Failure(f"there is no connection {harmless(name)}; see `drivewake status`")
    return found


def _from_store() -> Callable[..., None]:
    """Return what goes on from the store; it comes with whoever may read the store."""
    for entry in importlib.metadata.entry_points(group="drivewake.cli.resync", name="from-store"):
        found: Callable[..., None] = entry.load()
        return found
    raise Failure("--from-store comes with drivewake-normalizer: install that too", EXIT_MISUSED)


def _cursors_in(path: Path) -> list[LogCursor]:
    decoder = msgspec.json.Decoder(LogCursor)
    try:
        found = decoder.decode_lines(path.read_bytes())
        for one in found:
            subjects.log_key(one.connection, one.log)
    except (msgspec.MsgspecError, UnicodeDecodeError, InvalidIdError, OSError) as error:
        raise Failure(f"{path}: {error}", EXIT_MISUSED) from None
    return found


# -- showing ---------------------------------------------------------------------------------


def _say(work: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a coroutine function of outcomes
    outcomes: list[LogOutcome] = []

    async def collect() -> None:
        outcomes.extend(await work())

    run(collect)
    if as_json:
        click.echo(msgspec.json.encode(outcomes).decode())
    else:
        table = _table("connection", "log", "outcome", "reason")
        for one in outcomes:
            table.add_row(one.connection, one.log, one.outcome, harmless(one.reason))
        _console().print(table)
    if any(one.outcome in {"failed", "unknown"} for one in outcomes):
        raise Exit(EXIT_FAILED)


def _show_answers(answers: Sequence[Answer], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(answers).decode())
        return
    table = _table("request", "kind", "state", "found", "calls", "units", "reason")
    for one in answers:
        figures = (f"{one.found:,}", f"{one.calls:,}", f"{one.units:,}")
        table.add_row(one.request, one.kind, one.state, *figures, harmless(one.reason))
    _console().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in {"found", "calls", "units"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
