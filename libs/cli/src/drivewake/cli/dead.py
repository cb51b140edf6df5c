"""`drivewake dead`: what no service could handle, looked at, put back or dropped."""

import datetime as dt
import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import rich_click as click
from click.exceptions import Exit
from rich.console import Console
from rich.table import Table
from rich.text import Text

from drivewake.cli.letters import Choice, Found, chosen, put_back
from drivewake.cli.rendering import harmless, octets, span
from drivewake.cli.session import (
    EXIT_FAILED,
    EXIT_MISUSED,
    Failure,
    RepairerSettings,
    connected,
    run,
    settings,
)
from drivewake.contracts import subjects
from drivewake.runtime.nats import NatsBus
from drivewake.runtime.nats_erase import NatsEraser

MAX_SHOWN_CHARS: Final = 20_000
_AGE: Final = re.compile(r"(?P<count>\d{1,6})(?P<unit>[smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


HELP: Final = """Look at dead letters, put them back, or drop them.

A letter is a message that a service could not decode or decide, kept whole in DRIVE_DEAD for
90 days, with the reason. Mend the cause (mostly: release a version that understands it), then
`replay`. To list and show, the operator's seed is enough; `replay` and `drop` want that of the
NATS user `repairer`, because whoever puts messages back could forge them too.

\b
drivewake dead list --service normalizer --since 2h
drivewake dead show 17
drivewake dead replay --reason "missing required field"
drivewake dead drop 17 18 --yes
"""


@click.group(help=HELP)
def dead() -> None:
    """Hold the verbs on dead letters."""


def _instant(_: click.Context, __: click.Parameter, text: str | None) -> dt.datetime | None:
    """Read `2h` (ago) or an RFC 3339 instant."""
    if text is None:
        return None
    age = _AGE.fullmatch(text)
    if age is not None:
        return dt.datetime.now(dt.UTC) - dt.timedelta(**{_UNITS[age["unit"]]: int(age["count"])})
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("say 30m, 2h, 7d ago, or 2026-11-22T10:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def _choosing(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose letters."""
    options = (
        click.option("--service", default="", help="Of this service alone."),
        click.option("--reason", default="", metavar="TEXT", help="With this in the reason."),
        click.option("--since", callback=_instant, metavar="WHEN", help="Newer: 2h, or a time."),
        click.option("--until", callback=_instant, metavar="WHEN", help="Older: 2h, or a time."),
    )
    for option in reversed(options):
        verb = option(verb)
    return verb


_ids = click.argument("ids", nargs=-1, type=click.IntRange(1), metavar="[ID]...")
_all = click.option("--all", "everything", is_flag=True, help="Every letter there is.")


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A letter without its body, as `--json` writes it."""

    id: int
    at: dt.datetime
    service: str = ""
    reason: str = ""
    stream: str = ""
    sequence: int = 0
    subject: str = ""
    bytes: int = 0
    traceparent: str = ""
    unreplayable: str = ""


def summary(found: Found) -> Summary:
    """Return a letter without its body."""
    letter = found.letter
    if letter is None:
        reason = "this version cannot read it"
        return Summary(id=found.id, at=found.at, bytes=len(found.data), unreplayable=reason)
    return Summary(
        id=found.id,
        at=letter.failed_at,
        service=letter.service,
        reason=letter.reason,
        stream=letter.stream,
        sequence=letter.sequence,
        subject=letter.subject,
        bytes=letter.cut_from_bytes or len(letter.original()),
        traceparent=letter.traceparent,
        unreplayable=letter.unreplayable(),
    )


@dead.command("list")
@_choosing
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, all that match.")
def list_(limit: int, as_json: bool, **choice: Any) -> None:  # noqa: ANN401 - see Choice
    """List letters, the newest last."""
    newest: deque[Summary] = deque(maxlen=limit)
    total = 0

    async def work() -> None:
        nonlocal total
        async with connected(settings()) as bus:
            async for found in chosen(bus, Choice(**choice)):
                total += 1
                if as_json:
                    click.echo(msgspec.json.encode(summary(found)))
                else:
                    newest.append(summary(found))

    run(work)
    if not as_json:
        _show_table(newest, total)


def _show_table(letters: Sequence[Summary], total: int) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not total:
        console.print(Text("No dead letters.", style="green"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "size"):
        table.add_column(name, justify="right")
    for name in ("age", "service", "from", "reason"):
        table.add_column(name, overflow="fold")
    now = dt.datetime.now(dt.UTC)
    for one in letters:
        table.add_row(
            str(one.id),
            octets(one.bytes),
            span((now - one.at).total_seconds()),
            harmless(one.service) or "?",
            harmless(f"{one.stream} #{one.sequence}" if one.stream else "-"),
            harmless(one.reason or one.unreplayable),
        )
    console.print(table)
    if total > len(letters):
        console.print(Text(f"and {total - len(letters):,} older ones", style="dim"))


@dead.command()
@click.argument("id_", metavar="ID", type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="The letter as it is stored.")
@click.option("--raw", is_flag=True, help="The original bytes alone, for a file or a pipe.")
def show(id_: int, as_json: bool, raw: bool) -> None:
    """Show one letter whole: why it died, where it stood, and its bytes."""
    letters: list[Found] = []

    async def work() -> None:
        async with connected(settings()) as bus:
            letters.extend([found async for found in chosen(bus, Choice(ids=(id_,)))])

    run(work)
    if not letters:
        raise Failure(f"there is no letter {id_}: see `drivewake dead list`")
    (found,) = letters
    body = found.data if found.letter is None else found.letter.original()
    if raw or as_json:
        sys.stdout.buffer.write(body if raw else found.data + b"\n")
        sys.stdout.buffer.flush()
        return
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for name, value in msgspec.to_builtins(summary(found)).items():
        console.print(Text(f"{name:<13}", style="dim").append(harmless(str(value), 1000)))
    console.print()
    console.print(Text("\n".join(harmless(line, MAX_SHOWN_CHARS) for line in _lines(body))))


def _lines(body: bytes) -> list[str]:
    """Return JSON indented, other text as it is, other bytes escaped."""
    try:
        text = msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "backslashreplace")
    shown = text[:MAX_SHOWN_CHARS]
    return [*shown.split("\n"), *(["… (--raw has all of it)"] if len(text) > len(shown) else [])]


@dead.command()
@_ids
@_choosing
@_all
@click.option("--json", "as_json", is_flag=True, help="What became of each, one a line.")
def replay(ids: tuple[int, ...], everything: bool, as_json: bool, **choice: Any) -> None:  # noqa: ANN401
    """Put letters back where they came from, and remove them once they are safe there.

    Safe to repeat: whatever a message tells has a deterministic key and is told once. What
    still cannot be handled becomes a new letter. Exit code 1 if one could not be put back.
    """

    async def act(bus: NatsBus, found: Found) -> str:
        return await put_back(bus, NatsEraser(bus), found)

    _work("put back", act, _choice(ids, everything, choice), as_json)


@dead.command()
@_ids
@_choosing
@_all
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="What became of each, one a line.")
def drop(
    ids: tuple[int, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
    **choice: Any,  # noqa: ANN401 - see Choice
) -> None:
    """Remove letters for good; asks before."""
    wanted = _choice(ids, everything, choice)

    async def act(bus: NatsBus, found: Found) -> str:
        await NatsEraser(bus).erase(subjects.DEAD, found.id)
        return ""

    if not yes:
        _confirm(wanted)
    _work("dropped", act, wanted, as_json)


def _choice(ids: tuple[int, ...], everything: bool, choice: dict[str, Any]) -> Choice:
    if not (ids or everything or any(choice.values())):
        raise Failure(
            "say which: ids, --service, --reason, --since, --until or --all", EXIT_MISUSED
        )
    return Choice(ids=ids, **choice)


def _confirm(wanted: Choice) -> None:
    """Ask; raises Failure where nobody can answer."""
    count = 0

    async def work() -> None:
        nonlocal count
        async with connected(settings(RepairerSettings)) as bus:
            async for _ in chosen(bus, wanted):
                count += 1

    run(work)
    if not sys.stdin.isatty():
        raise Failure(f"{count} letters would be dropped for good: say --yes", EXIT_MISUSED)
    click.confirm(f"Drop {count} letters for good?", abort=True, err=True)


def _work(done: str, act: Callable[[NatsBus, Found], Any], wanted: Choice, as_json: bool) -> None:
    """Do something with each letter; raises Exit with 1 if one failed, or is not there."""
    missing = set(wanted.ids)
    failures: list[str] = []
    count = 0

    async def work() -> None:
        nonlocal count
        async with connected(settings(RepairerSettings)) as bus:
            async for found in chosen(bus, wanted):
                missing.discard(found.id)
                reason = await act(bus, found)
                count += not reason
                if reason:
                    failures.append(f"{found.id}: {reason}")
                if as_json:
                    click.echo(
                        msgspec.json.encode({"id": found.id, "done": not reason, "reason": reason})
                    )

    run(work)
    failures.extend(f"{id_}: there is no such letter" for id_ in sorted(missing))
    if not as_json:
        click.echo(f"{count} {done}")
    for failure in failures:
        click.echo(f"drivewake: {harmless(failure, 300)}", err=True)
    if failures:
        raise Exit(EXIT_FAILED)
