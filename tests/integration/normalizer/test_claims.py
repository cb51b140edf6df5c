"""Payloads that are too large for a message, through a real normalizer, folder and broker."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.contracts.claims import OFFLOAD_BYTES, Claim, encode_claim
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.ids import partition_of
from drivewake.contracts.raw import RAW_TYPE, RAWS, Raw
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.bus import Message
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.payloads import ClaimingPublisher, Payloads

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

pytestmark = pytest.mark.slow
LARGE = "a large description " * (OFFLOAD_BYTES // 15)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a folder for blobs."""
    return f"file://{tmp_path}/blobs"


def a_raw(item: str, description: str) -> bytes:
    """Return a raw of a file with a description, encoded."""
    now = SystemClock().now()
    file = {
        "id": item,
        "version": "1",
        "name": item,
        "mimeType": "text/plain",
        "description": description,
    }
    body = msgspec.json.encode({"fileId": item, "removed": False, "file": file})
    raw = Raw(source="changes", log="l1", item=item, observed_at=now, body=msgspec.Raw(body))
    return RAWS.encode(
        Envelope(
            id=item,
            source="/test",
            type=RAW_TYPE,
            time=now,
            tenant="acme",
            connection="c1",
            data=raw,
        )
    )


def subject_of(item: str) -> str:
    """Return where a raw of a file goes."""
    return subjects.raw(partition_of("acme", item), "acme", "c1")


async def cli(world: "World", url: str, *arguments: str) -> tuple[int, str]:
    """Run `drivewake blobs`; return exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drivewake.cli", "blobs", *arguments),
        env={
            **os.environ,
            "DRIVEWAKE_NATS_URL": world.nats_url,
            "DRIVEWAKE_NATS_PREFIX": world.bus.link.prefix,
            "DRIVEWAKE_BLOBS_URL": url,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_large_payload_becomes_an_event(world: "World", url: str) -> None:
    """A raw of 350 KiB passes the broker as a claim, and its event holds all of it."""
    blobs = ObjectBlobs.open(url)
    publisher = ClaimingPublisher(world.bus, Payloads(blobs, SystemClock(), source="/test"))
    items = {"small": "s", "large": LARGE}
    for item, description in items.items():
        await publisher.publish(Message(subject=subject_of(item), data=a_raw(item, description)))
    assert (0, 1) == (await _claimed(world, url))
    world.normalizer(blobs_url=url).start()
    events = [event for event in await world.drained() if event.type == "file.discovered"]
    assert items == {event.subject: event.data.metadata["description"] for event in events}  # type: ignore[union-attr]
    assert [] == await world.dead()


async def _claimed(world: "World", url: str) -> tuple[int, int]:
    code, output = await cli(world, url, "check", "--deep", "--json")
    return code, json.loads(output)["claimed"]


async def test_claims_that_cannot_be_redeemed_are_dead_letters(world: "World", url: str) -> None:
    """Missing, changed, of a gigabyte, or of somebody else: a letter says which, others flow."""
    blobs = ObjectBlobs.open(url)
    payloads = Payloads(blobs, SystemClock(), source="/test")

    async def claim(item: str) -> Claim:
        return await payloads.keep("acme", "c1", a_raw(item, LARGE))

    missing, changed, huge, foreign = [await claim(item) for item in ("a", "b", "c", "d")]
    await blobs.delete(missing.dataref)
    blob = await blobs.get(changed.dataref, limit_bytes=changed.datasize)
    await blobs.put(changed.dataref, blob[:-1] + bytes([blob[-1] ^ 1]))
    huge = msgspec.structs.replace(huge, datasize=1 << 30)
    foreign = msgspec.structs.replace(foreign, connection="c2")
    for one in (missing, changed, huge, foreign, await claim("good")):
        await world.bus.publish(Message(subject=subject_of("a"), data=encode_claim(one)))
    code, output = await cli(world, url, "check", "--deep", "--json")
    report = json.loads(output)
    assert (1, [missing.dataref]) == (code, report["missing"])
    assert sorted([changed.dataref, huge.dataref]) == report["wrong"]

    world.normalizer(blobs_url=url).start()
    events = await world.drained()
    assert {"good"} == {event.subject for event in events if event.type == "file.discovered"}
    reasons = [letter.reason for letter in await world.dead()]
    assert [
        "The payload is not there.",
        "The payload is not what was kept: its hash or its key does not fit.",
        "a payload of 1073741824 bytes is claimed, the limit is 16777216",
        "dataref names no blob of the claim's tenant and connection",
    ] == reasons


async def test_place_that_is_away_loses_nothing(
    world: "World", url: str, tmp_path: Path, told: Callable[..., Any]
) -> None:
    """While blobs cannot be read the claim waits, and is told when they can."""
    payloads = Payloads(ObjectBlobs.open(url), SystemClock(), source="/test")
    claim = await payloads.keep("acme", "c1", a_raw("f1", LARGE))
    await world.bus.publish(Message(subject=subject_of("f1"), data=encode_claim(claim)))
    away = "s3://nobody/there"
    refused = world.normalizer(blobs_url=away).start()

    async def tried() -> bool:
        return any("blobs_away" in line for line in refused.log_tail(100))

    await world.until(tried)
    assert 0 == refused.stop()
    world.normalizer(blobs_url=url).start()
    assert 1 == len([event for event in await world.drained() if event.type.startswith("file.")])
    assert [] == await world.dead()


async def test_sweep_removes_what_nothing_claims(world: "World", url: str) -> None:
    """What a raw or a dead letter claims stays, and whatever is young."""
    blobs = ObjectBlobs.open(url)
    payloads = Payloads(blobs, SystemClock(), source="/test")
    waiting, orphan = [await payloads.keep("acme", "c1", a_raw(item, "x")) for item in "ab"]
    await world.bus.publish(Message(subject=subject_of("a"), data=encode_claim(waiting)))
    assert "0 blobs" in (await cli(world, url, "sweep"))[1]
    assert "1 blobs" in (await cli(world, url, "sweep", "--grace-days", "0", "--dry-run"))[1]
    assert 0 == (await cli(world, url, "sweep", "--grace-days", "0"))[0]
    assert [waiting.dataref] == [info.name async for info in blobs.list("")]
    assert orphan.dataref != waiting.dataref
