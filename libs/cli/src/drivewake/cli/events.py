"""`drivewake events`: what downstream receives."""

import contextlib
import re
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.text import Text

from drivewake.cli.rendering import harmless, line
from drivewake.cli.session import EXIT_MISUSED, Failure, connected, run, settings
from drivewake.contracts import subjects
from drivewake.contracts.correlation import RULE, correlated
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.events import Event, decode_event
from drivewake.contracts.ids import InvalidIdError, checked
from drivewake.runtime.bus import StoredMessage, StreamReader

MAX_RELATED: Final = 10_000
LOOK_BACK: Final = 200_000
"""How many events are searched for the last ones of a type or tenant."""

_TYPE: Final = re.compile(r"(?P<noun>[a-z_]+|\*)(\.(?P<verb>[a-z_]+|\*))?")


@click.group()
def events() -> None:
    """Look at the events, as downstream teams receive them from DRIVE_EVENT."""


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: the last `lines` on `subject`, and new ones if `follow`."""

    subject: str
    lines: int
    follow: bool


@events.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 100_000),
    default=10,
    show_default=True,
    help="How many of the newest events to begin with.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events until Ctrl-C.")
@click.option("--type", "type_", metavar="NOUN[.VERB]", help="Only these: file, file.renamed, …")
@click.option("--tenant", help="Only those of one tenant.")
@click.option("--json", "as_json", is_flag=True, help="Each event as received, one a line.")
def tail(lines: int, follow: bool, type_: str | None, tenant: str | None, as_json: bool) -> None:
    """Show the newest events, one a line.

    The time is Google's where it is known, else when we saw it; the number at the end is
    the position in the store. Of a chosen type or tenant the newest 200,000 events are
    searched.
    """
    wanted = Tail(subject=subject_of(type_, tenant), lines=lines, follow=follow)
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)

    def show(message: StoredMessage) -> None:
        if as_json:
            sys.stdout.buffer.write(message.data + b"\n")
            sys.stdout.buffer.flush()
        else:
            console.print(readable(message))

    async def work() -> None:
        async with connected(settings()) as bus:
            async for message in select(bus, wanted):
                show(message)

    run(work)


@events.command()
@click.argument("file")
@click.option("--tenant", help="Of this tenant; else of any.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an event, with the rule.")
def related(file: str, tenant: str | None, as_json: bool) -> None:
    """Show what people did to a file beside what changed of it.

    Google does not say which activity made which change: events go together by target, action
    and time (the rule stands in docs/contracts.md). The newest 200,000 events are searched.
    """
    subject = subject_of(None, tenant)
    found: deque[Event] = deque(maxlen=MAX_RELATED)

    async def work() -> None:
        async with connected(settings()) as bus:
            start = max(await bus.last_sequence(subjects.EVENT.name) - LOOK_BACK + 1, 1)
            messages = bus.follow(subjects.EVENT.name, subject=subject, from_sequence=start)
            async for message in messages:
                if message is None:
                    return
                with contextlib.suppress(InvalidMessageError):
                    event = decode_event(message.data)
                    if event.subject == file:
                        found.append(event)

    run(work)
    together = correlated(found)
    places = {event.id: event.position for event in found}
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    for event in found:
        others = together.get(event.id, ())
        if as_json:
            told = {"id": event.id, "type": event.type, "position": event.position}
            click.echo(msgspec.json.encode(told | {"correlates_with": others, "rule": RULE}))
        else:
            beside = ", ".join(f"#{places[other]}" for other in others)
            console.print(line(event).append(f"  with {beside}" if beside else "", style="green"))


async def select(reader: StreamReader, wanted: Tail) -> AsyncIterator[StoredMessage]:
    """Yield the messages that were asked for."""
    stream = subjects.EVENT.name
    back = wanted.lines if wanted.subject == subject_of(None, None) else LOOK_BACK
    start = max(await reader.last_sequence(stream) - back + 1, 1)
    newest: deque[StoredMessage] = deque(maxlen=wanted.lines)
    live = False
    async for message in reader.follow(stream, subject=wanted.subject, from_sequence=start):
        if message is None:
            for kept in newest:
                yield kept
            newest.clear()
            if not wanted.follow:
                return
            live = True
        elif live:
            yield message
        else:
            newest.append(message)


def subject_of(type_: str | None, tenant: str | None) -> str:
    """Return the subject of the events of a type and tenant, wildcards for what is not said."""
    found = _TYPE.fullmatch(type_ or "*")
    if found is None:
        raise Failure(f"--type is NOUN or NOUN.VERB, as in file.renamed: {type_!r}", EXIT_MISUSED)
    try:
        owner = "*" if tenant is None else checked(tenant, "--tenant")
    except InvalidIdError as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    return f"drive.event.v1.{owner}.{found['noun']}.{found['verb'] or '*'}"


def readable(message: StoredMessage) -> Text:
    """Return one line for a message, whatever it holds."""
    try:
        return line(decode_event(message.data))
    except InvalidMessageError as error:
        reason = harmless(str(error))
        return Text(f"{harmless(message.subject)} cannot be read: {reason}", style="red")
