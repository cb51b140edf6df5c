"""Items that are too large for a message, on their way out of the poller."""

import datetime as dt
from pathlib import Path

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.claims import MAX_PAYLOAD_BYTES, is_claim
from drivewake.contracts.dead import decode_dead
from drivewake.contracts.raw import RAWS
from drivewake.contracts.records import LogRecord
from drivewake.poller.app import raws
from drivewake.poller.outgoing import MAX_CLAIMED_BYTES
from drivewake.poller.ports import Page, Seen, Step
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.memory import MemoryBus
from drivewake.runtime.payloads import Payloads

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
RECORD = LogRecord(tenant="acme", connection="c1", log="l1", kind="user_changes")


def an_item(id_: str, size: int) -> Seen:
    """Return an item of a size."""
    return Seen(id=id_, body=msgspec.Raw(b'"' + b"x" * (size - 2) + b'"'))


async def test_items_up_to_the_limit_are_claimed(tmp_path: Path) -> None:
    """Above 256 KiB a claim stands for an item; only above 16 MiB it is a dead letter."""
    bus, clock = MemoryBus(), SystemClock()
    for stream in (subjects.RAW, subjects.DEAD):
        await bus.ensure_stream(stream, replicas=1, scale=1)
    url = f"file://{tmp_path}"
    sizes = {"a": 1000, "b": 700 << 10, "c": MAX_CLAIMED_BYTES, "d": MAX_CLAIMED_BYTES + 1}
    items = [an_item(id_, size) for id_, size in sizes.items()]
    page = Page(source="snapshot", items=items, observed_at=NOW)
    outgoing = raws(bus, PollerSettings(blobs_url=url), clock)
    await outgoing.publish(RECORD, Step(record=RECORD, pages=[page]), NOW)
    payloads = Payloads(ObjectBlobs.open(url), clock)
    found = {}
    async for message in bus.follow(subjects.RAW.name):
        if message is None:
            break
        claimed = is_claim(message.data)
        body = await payloads.redeem(message.data) if claimed else message.data
        raw = RAWS.decode(body).data
        found[raw.item] = (claimed, memoryview(raw.body).nbytes)
    assert {id_: (id_ != "a", sizes[id_]) for id_ in "abc"} == found
    letter = await bus.last(subjects.DEAD.name)
    assert letter is not None
    assert f"the limit is {MAX_CLAIMED_BYTES}" in decode_dead(letter.data).reason
    assert MAX_CLAIMED_BYTES < MAX_PAYLOAD_BYTES
