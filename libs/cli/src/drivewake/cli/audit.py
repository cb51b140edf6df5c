"""`drivewake audit`: read, export and verify the audit chain of connections and tokens."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from click.exceptions import Exit

from drivewake.cli.api import api
from drivewake.cli.rendering import harmless
from drivewake.cli.session import EXIT_FAILED, Failure, run
from drivewake.contracts.audit import AuditRecord, BrokenChainError, Chain

PAGE: Final = 1000
MAX_LINE_BYTES: Final = 64 * 1024


@click.group()
def audit() -> None:
    """Who did what with connections and tokens, in a chain that shows any change.

    Auth is found by DRIVEWAKE_AUTH_URL; DRIVEWAKE_API_TOKEN (or …_FILE) is a token of an admin.
    """


@audit.command()
@click.option("--after", default=0, show_default=True, help="Begin behind this record.")
@click.option("--tenant", help="Records of one tenant alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def show(after: int, tenant: str | None, as_json: bool) -> None:
    """Show records, the oldest first."""

    async def work() -> None:
        async for record in records(after, tenant):
            click.echo(msgspec.json.encode(record).decode() if as_json else line(record))

    run(work)


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path) -> None:
    """Write the whole chain to FILE, one JSON document a line; `verify --file` checks it."""

    async def work() -> None:
        number = 0
        with file.open("wb") as out:
            async for record in records(0, None):
                out.write(msgspec.json.encode(record) + b"\n")
                number = record.number
        click.echo(f"{number:,} records in {file}")

    run(work)


@audit.command()
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check an export instead of asking auth.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="NUMBER:HASH",
    help="A head that was kept elsewhere (auth logs it as audit_head) must be in the chain.",
)
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
def verify(file: Path | None, heads: tuple[str, ...], as_json: bool) -> None:
    """Check that no record was changed, removed, added or moved; exit code 1 names the first.

    Keep the head that it prints: a later `--head` shows whether the chain was rewritten, or its
    end cut off.
    """
    kept = dict(_head(head) for head in heads)
    chain, wrong = Chain(), ""

    async def work() -> None:
        nonlocal wrong
        try:
            await check(read(file) if file is not None else records(0, None), chain, kept)
        except BrokenChainError as error:
            wrong = str(error)

    run(work)
    if as_json:
        outcome = {"holds": not wrong, "records": chain.number, "head": chain.head, "wrong": wrong}
        click.echo(msgspec.json.encode(outcome).decode())
    elif not wrong:
        click.echo(f"{chain.number:,} records hold; the head is {chain.head}")
    if wrong:
        if not as_json:
            click.echo(f"drivewake: {wrong}; {chain.number:,} records before it hold", err=True)
        raise Exit(EXIT_FAILED)


async def check(found: AsyncIterator[AuditRecord], chain: Chain, kept: dict[int, str]) -> None:
    """Add all records to a chain that must pass through the heads that were kept.

    Raises BrokenChainError.
    """
    async for record in found:
        chain.add(record)
        if kept.pop(record.number, record.hash) != record.hash:
            raise BrokenChainError(record.number, "is not the one whose head was kept")
    if kept:
        raise BrokenChainError(min(kept), "is missing: the chain ends before it")


async def records(after: int, tenant: str | None) -> AsyncIterator[AuditRecord]:
    """Yield auth's records behind a number; raises Failure."""
    async with api() as auth:
        place: int | None = after
        while place is not None:
            query = {"after": str(place), "limit": str(PAGE)}
            if tenant is not None:
                query["tenant"] = tenant
            page = await auth.call("GET", "audit", query=query)
            for each in page["records"]:
                yield _record(each)
            place = page["next"]


async def read(file: Path) -> AsyncIterator[AuditRecord]:
    """Yield the records of an export; raises Failure."""
    with file.open("rb") as lines:
        for number, raw in enumerate(_lines(lines), 1):
            try:
                yield msgspec.json.decode(raw, type=AuditRecord)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise Failure(f"line {number} of {file} is no record") from None


def _lines(file: Any) -> Iterator[bytes]:  # noqa: ANN401 - a binary file
    while line := file.readline(MAX_LINE_BYTES):
        yield line


def _record(value: object) -> AuditRecord:
    try:
        return msgspec.convert(value, AuditRecord)
    except msgspec.ValidationError as error:
        raise Failure(f"auth's answer holds no record: {error}") from None


def _head(text: str) -> tuple[int, str]:
    number, separator, digest = text.partition(":")
    if not separator or not number.isdecimal():
        raise click.BadParameter(f"{text!r} is not NUMBER:HASH")
    return int(number), digest


def line(record: AuditRecord) -> str:
    """Return a record on one line."""
    many = f" x{record.count}" if record.count > 1 else ""
    about = " ".join(filter(None, (record.tenant, record.connection)))
    return (
        f"{record.number:>8} {record.at:%Y-%m-%d %H:%M:%S} {harmless(record.who)}"
        f" {harmless(record.action)} {harmless(record.outcome)}{many} {harmless(about)}"
        f" {harmless(record.why)}"
    ).rstrip()
