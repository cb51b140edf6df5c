"""A folder whose ACL changes lets what lies below it be read anew."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.raw import Source
from drivewake.contracts.requests import MAX_DEPTH, REQUESTS, Request
from drivewake.eventstore.errors import StoreUnavailableError
from drivewake.eventstore.memory import MemoryStore
from drivewake.eventstore.store import Appended, Batch
from drivewake.normalizer.adapters import BusRefetcher
from drivewake.runtime.bus import Message, PublishAck
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.errors import StreamFullError

if TYPE_CHECKING:
    from tests.unit.normalizer.conftest import Harness

OWNER = {"id": "p1", "type": "user", "role": "owner"}
READER = {"id": "p2", "type": "anyone", "role": "reader"}
INHERITED = READER | {"id": "p3", "permissionDetails": [{"inherited": True, "inheritedFrom": "d1"}]}
FOLDER = {"mimeType": "application/vnd.google-apps.folder", "permissions": [OWNER]}


async def requests(harness: "Harness") -> list[tuple[str, Request]]:
    """Return all requests, with their subjects, and settle them."""
    puller = await harness.bus.puller(subjects.POLLER_REQUESTS)
    found = await puller.fetch(100, 0)
    for each in found:
        await each.ack()
    return [(each.subject, REQUESTS.decode(each.data).data) for each in found]


async def test_a_change_of_a_folder_s_acl_asks_for_all_below(harness: "Harness") -> None:
    """One request, by the connection that saw it, as deep as requests go."""
    await harness.change(1, FOLDER)
    await harness.drain()
    assert [] == await requests(harness)
    await harness.change(2, FOLDER | {"version": "2", "permissions": [OWNER, READER]})
    await harness.drain()
    ((subject, request),) = await requests(harness)
    assert subject.startswith("drive.request.v1.t1.c1.")
    assert ("folder", "f1", MAX_DEPTH) == (request.kind, request.target, request.depth)


async def test_an_acl_that_was_asked_for_reaches_below_too(harness: "Harness") -> None:
    """Of a shared drive's folder; but not what only its ancestors changed."""
    await harness.change(1, FOLDER | {"permissions": None})
    for at, entries in enumerate(
        ([OWNER], [OWNER, READER], [OWNER, READER, INHERITED], [OWNER, INHERITED]), 2
    ):
        acl = {"permissions": entries}
        await harness.raw(at, "f1", acl, source="permissions", version=1)
    await harness.drain()
    assert 2 == len(await requests(harness))


@pytest.mark.parametrize(
    ("before", "after", "source"),
    [
        (FOLDER | {"mimeType": "text/plain"}, {"mimeType": "text/plain"}, "changes"),
        (FOLDER | {"permissions": None}, {}, "changes"),
        (FOLDER, {}, "snapshot"),
        (FOLDER, {}, "file"),
        (FOLDER, {"permissions": [OWNER], "name": "b"}, "changes"),
        (FOLDER, {"permissions": [OWNER, INHERITED]}, "changes"),
    ],
    ids=["a file", "first read", "listed", "below another", "renamed", "inherited"],
)
async def test_what_reaches_nothing_below_asks_for_nothing(
    harness: "Harness", before: dict[str, Any], after: dict[str, Any], source: Source
) -> None:  # fmt: skip
    """Only a change of a known ACL of a folder does, told by Google's log."""
    await harness.change(1, before)
    now = FOLDER | {"version": "2", "permissions": [OWNER, READER]} | after
    if source == "changes":
        await harness.change(2, now)
    else:
        listed = {"id": "f1", "name": "a"} | now
        await harness.raw(2, "f1", listed, source=source, snapshot="s")
    await harness.drain()
    assert [] == await requests(harness)


class Failing(MemoryStore):
    """A store that is away once."""

    failed = False

    async def append(self, batch: Batch) -> Appended:
        """Fail the first time that something changes."""
        if not self.failed and any(event.type.startswith("file.p") for event in batch.events):
            self.failed = True
            raise StoreUnavailableError
        return await super().append(batch)


async def test_a_crash_before_the_append_forgets_no_request(harness: "Harness") -> None:
    """The request is written first: deciding again after the append would find no change."""
    handler = harness.handler_on(Failing())
    await harness.change(1, FOLDER | {"permissions": None})
    await harness.drain(handler=handler)
    await harness.raw(2, "f1", {"permissions": [OWNER]}, source="permissions", version=1)
    with contextlib.suppress(StoreUnavailableError):
        await harness.drain(handler=handler)
    await harness.give_back()
    await harness.drain(handler=handler)
    await harness.change(3, FOLDER | {"version": "2", "permissions": [OWNER, READER]})
    await harness.drain(handler=handler)
    assert 1 == len(await requests(harness))


class Full:
    """A publisher whose stream of requests is full."""

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """Refuse."""
        del message, expected_last
        raise StreamFullError("DRIVE_REQUEST")

    async def publish_batch(
        self,
        messages: Sequence[Message],
        *,
        expected_last: int | None = None,
    ) -> PublishAck:
        """Refuse."""
        del messages, expected_last
        raise StreamFullError("DRIVE_REQUEST")


async def test_a_full_stream_of_requests_leaves_a_letter_that_can_be_put_back(
    harness: "Harness",
) -> None:
    """Waiting for room there could be waiting for ourselves; forgetting it would be silence."""
    await harness.change(1, FOLDER)
    await harness.drain()
    graveyard = BusGraveyard(harness.bus)
    harness.refetcher = BusRefetcher(Full(), graveyard, SystemClock())
    await harness.change(2, FOLDER | {"version": "2", "permissions": [OWNER, READER]})
    await harness.drain(handler=harness.handler_on(harness.store))
    (letter,) = await harness.dead()
    assert "" == letter.unreplayable()
    assert "f1" == REQUESTS.decode(letter.original()).data.target
    assert "file.permissions_changed" in await harness.types()
