"""`drivewake blobs`: payloads that are too large for a message; are they there, are they needed."""

import contextlib
import datetime as dt
import hashlib
import sys
from collections.abc import Awaitable, Callable

import msgspec
import rich_click as click
from pydantic import Field, field_validator

from drivewake.cli.session import (
    EXIT_FAILED,
    EXIT_MISUSED,
    Failure,
    OperatorSettings,
    connected,
    run,
)
from drivewake.contracts import subjects
from drivewake.contracts.claims import MAX_PAYLOAD_BYTES, decode_claim, is_claim
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.runtime.blobs import BlobInfo, ObjectBlobs, checked_url
from drivewake.runtime.bus import StreamReader
from drivewake.runtime.errors import BlobError, ConfigurationError
from drivewake.runtime.payloads import TAG_BYTES
from drivewake.runtime.settings import load


class BlobSettings(OperatorSettings):
    """Where the broker is, and where the blobs are: the same as the poller's."""

    blobs_url: str = Field(description="s3://bucket/prefix or file:///folder, as the poller's")

    @field_validator("blobs_url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        return checked_url(url)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What there is: names of blobs that are claimed and missing, of another size, or changed."""

    claimed: int
    blobs: int
    bytes: int
    unclaimed: int
    missing: list[str]
    wrong: list[str]

    @property
    def sound(self) -> bool:
        """Whether every claim can be redeemed."""
        return not (self.missing or self.wrong)


@click.group()
def blobs() -> None:
    """Look after payloads over 256 KiB, which messages only claim.

    They are needed as long as a message of DRIVE_RAW or a dead letter claims them. The place is
    DRIVEWAKE_BLOBS_URL, its credentials come from the environment (AWS_ACCESS_KEY_ID, …).
    """


@blobs.command()
@click.option("--deep", is_flag=True, help="Read every claimed blob and compare its hash.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(deep: bool, as_json: bool) -> None:
    """Say whether every claimed payload is there. Exit code 1 if one is missing or changed."""
    told = _settings()

    async def work() -> None:
        place = ObjectBlobs.open(told.blobs_url)
        async with connected(told) as bus:
            claimed = await claims(bus)
        report = await examine(place, claimed, deep=deep)
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        else:
            click.echo(
                f"{report.claimed} claimed; {report.blobs} blobs of {report.bytes} bytes, "
                f"{report.unclaimed} of them not claimed"
            )
            for what, names in (("missing", report.missing), ("changed", report.wrong)):
                for name in names:
                    click.echo(f"{what}: {name}")
        if not report.sound:
            raise Failure("claimed payloads cannot be redeemed: their raws will die", EXIT_FAILED)

    _run(work)


@blobs.command()
@click.option("--grace-days", type=click.FloatRange(0), default=7.0, show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
def sweep(grace_days: float, dry_run: bool) -> None:
    """Remove payloads that nothing claims and that are older than the grace period.

    The grace period protects what is just being written: a blob comes before its claim.
    """
    told = _settings()

    async def work() -> None:
        place = ObjectBlobs.open(told.blobs_url)
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=grace_days)
        old = [info async for info in place.list("") if info.modified_at < before]
        # Asked for after the listing: what was claimed meanwhile is seen.
        async with connected(told) as bus:
            claimed = await claims(bus)
        gone = [info for info in old if info.name not in claimed]
        if not dry_run:
            for number, info in enumerate(gone, 1):
                await place.delete(info.name)
                if number % 1000 == 0:
                    click.echo(f"  {number} of {len(gone)} removed", err=True)
        size = sum(info.size_bytes for info in gone)
        done = "would be removed" if dry_run else "removed"
        click.echo(f"{len(gone)} blobs of {size} bytes {done}")

    _run(work)


async def claims(reader: StreamReader) -> dict[str, int]:
    """Return the size of every blob that a raw or a dead letter claims, by name."""
    found: dict[str, int] = {}
    for stream in (subjects.RAW, subjects.DEAD):
        messages = reader.follow(stream.name)
        async with contextlib.aclosing(messages):  # type: ignore[type-var] # generators all
            async for message in messages:
                if message is None:
                    break
                _note(message.data, found, letter=stream is subjects.DEAD)
    return found


def _note(body: bytes, found: dict[str, int], *, letter: bool) -> None:
    with contextlib.suppress(InvalidMessageError):  # nothing that could be redeemed
        original = decode_dead(body).original() if letter else body
        if is_claim(original):
            claim = decode_claim(original)
            found[claim.dataref] = claim.datasize


async def examine(place: ObjectBlobs, claimed: dict[str, int], *, deep: bool) -> Report:
    """Compare what is claimed with what is there."""
    there: dict[str, BlobInfo] = {info.name: info async for info in place.list("")}
    present = [name for name in claimed if name in there]
    wrong = [name for name in present if there[name].size_bytes != claimed[name]]
    if deep:
        same = [name for name in present if name not in {*wrong}]
        wrong += [name for name in same if not await _is_whole(place, name)]
    return Report(
        claimed=len(claimed),
        blobs=len(there),
        bytes=sum(info.size_bytes for info in there.values()),
        unclaimed=len(there.keys() - claimed.keys()),
        missing=sorted(claimed.keys() - there.keys()),
        wrong=sorted(wrong),
    )


async def _is_whole(place: ObjectBlobs, name: str) -> bool:
    blob = await place.get(name, limit_bytes=MAX_PAYLOAD_BYTES + TAG_BYTES)
    return name.rpartition("/")[2] == hashlib.sha256(blob).hexdigest()


def _settings() -> BlobSettings:
    try:
        return load(BlobSettings)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


def _run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a verb; what the place for blobs refuses is one line."""

    async def entry() -> None:
        try:
            await work()
        except (BlobError, ConfigurationError) as error:
            raise Failure(str(error)) from None

    run(entry)
