# ruff: noqa: D102, D103, ANN401 - doubles of ports, and helpers whose names say it

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from drivewake.contracts.records import LogRecord, Pending
from drivewake.gdrive.errors import (
    CursorLostError,
    ItemNotFoundError,
    ItemTerminalError,
    UnavailableError,
)
from drivewake.gdrive.pages import ChangesPage, DrivesPage, FileAnswer, FilesPage, Item, Look, Part
from drivewake.gdrive.port import PartKind, Wanted
from drivewake.gdrive.token import AccessToken
from drivewake.poller import domain, listing
from drivewake.poller.domain import Rules
from drivewake.poller.ports import Step
from drivewake.poller.sources import ChangesSource, Enrichment, Memory

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
PARTS: tuple[PartKind, ...] = ("permissions", "revisions", "comments")
TOKEN = AccessToken("secret", tenant="t1", connection="c1", id="k1", expires_at=NOW)
NEW = domain.new_log("t1", "c1", "user_changes", NOW)


class FixedClock:
    """Always the same instant."""

    def now(self) -> dt.datetime:
        return NOW

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a source does not wait")


class FixedTokens:
    """Calls with one token."""

    async def call(
        self, tenant: str, connection: str, once: Callable[[AccessToken], Awaitable[Any]]
    ) -> Any:
        assert ("t1", "c1") == (tenant, connection)
        return await once(TOKEN)

    def forget(self, tenant: str, connection: str) -> None:
        raise AssertionError("a source forgets nothing")


class ScriptedDrive:
    """Answers from a list, in order; remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []

    def _next(self, method: str, token: str | None) -> Any:
        self.asked.append((method, token))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def start_page_token(self, token: AccessToken, *, drive: str | None = None) -> str:
        return str(self._next("start", None))

    async def list_changes(
        self, token: AccessToken, page_token: str, *, page_size: int, drive: str | None = None
    ) -> Any:
        return self._next("changes", page_token)

    async def list_files(
        self,
        token: AccessToken,
        page_token: str | None = None,
        *,
        page_size: int,
        drive: str | None = None,
    ) -> Any:
        return self._next("files", page_token)

    async def list_drives(self, token: AccessToken, page_token: str | None = None) -> Any:
        return self._next("drives", page_token)

    async def get_files(self, token: AccessToken, files: Sequence[str]) -> Any:
        return self._next("get", " ".join(files))

    async def read_parts(self, token: AccessToken, wanted: Sequence[Wanted]) -> Any:
        return self._next("parts", " ".join(f"{one.kind[0]}:{one.file}" for one in wanted))


def item(name: str) -> Item:
    return Item(id=name, body=msgspec.Raw(f'{{"id":"{name}"}}'.encode()))


def files(*names: str, more: str | None = None, incomplete: bool = False) -> FilesPage:
    return FilesPage(
        items=tuple(map(item, names)),
        next_page_token=more,
        incomplete=incomplete,
        request="r1",
        observed_at=NOW,
    )


def drives(*names: str) -> DrivesPage:
    return DrivesPage(
        items=tuple(map(item, names)), next_page_token=None, request="r1", observed_at=NOW
    )


def changes(*names: str, more: str | None = None, new: str | None = None) -> ChangesPage:
    return ChangesPage(
        items=tuple(map(item, names)),
        next_page_token=more,
        new_start_page_token=new,
        request="r1",
        observed_at=NOW,
    )


async def run(record: LogRecord, *answers: object) -> tuple[list[Step], ScriptedDrive]:
    """Step through all answers."""
    drive = ScriptedDrive(*answers)
    source = ChangesSource(
        drive,  # type: ignore[arg-type]
        FixedTokens(),
        FixedClock(),
        Rules(),
        Enrichment(drive, FixedTokens(), PARTS, Memory()),  # type: ignore[arg-type]
        new_snapshot_id=lambda: "s1",
    )
    steps = []
    while drive.answers:
        steps.append(await source.step(record))
        record = steps[-1].record
    return steps, drive


def facts(step: Step) -> list[str]:
    return [fact.fact for fact in step.before] + ["|"] + [fact.fact for fact in step.after]


async def test_start_token_comes_before_the_listing() -> None:
    """Start token, pages, changes from the start token on: in this order."""
    steps, drive = await run(
        NEW, "7", drives(), files("a", more="p2"), files("b"), changes("c", new="8")
    )
    expected = [("start", None), ("drives", None), ("files", None), ("files", "p2")]
    assert [*expected, ("changes", "7")] == drive.asked
    assert [True, True, True, True, False] == [step.more for step in steps]
    assert ("live", "8") == (steps[-1].record.phase, steps[-1].record.cursor)


async def test_facts_frame_the_listing() -> None:
    """Started before the first item, completed after the last one, nothing in between."""
    steps, _ = await run(
        NEW, "7", drives("d"), files("a", more="p2"), files("b", more="p3"), files("c")
    )
    assert [["|"], ["snapshot_started", "|"], ["|"], ["|"], ["|", "snapshot_completed"]] == [
        facts(step) for step in steps
    ]
    assert (3, 1) == (steps[-1].after[0].files, steps[-1].after[0].drives)
    assert ("d",) == steps[1].drives
    assert {"s1"} == {page.snapshot for step in steps for page in step.pages}


async def test_repeated_first_page_says_started_again() -> None:
    """A crash before the first page was saved repeats the fact, never drops it."""
    begun = listing.started(NEW, "7", "s1", NOW)
    first, _ = await run(begun, drives())
    again, _ = await run(begun, drives())
    assert facts(first[0]) == facts(again[0]) == ["snapshot_started", "|"]


async def test_pages_of_changes_carry_their_cursor() -> None:
    """Each page says at which token it was read, and the cursor moves behind it."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10", drives_at=NOW)
    steps, _ = await run(live, changes("a", more="11"), changes("b", new="12"))
    assert [("10", "11", True), ("11", "12", False)] == [
        (step.pages[0].cursor, step.record.cursor, step.more) for step in steps
    ]


async def test_empty_page_with_more_goes_on() -> None:
    """Google may answer an empty page and still have more."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10", drives_at=NOW)
    steps, drive = await run(live, changes(more="11"), changes(new="12"))
    assert [("changes", "10"), ("changes", "11")] == drive.asked
    assert None is steps[-1].record.last_change_at


async def test_lost_cursor_is_a_gap_then_a_snapshot() -> None:
    """Never re-seeded silently: gap, snapshot, and the gap closed by it."""
    live = msgspec.structs.replace(
        NEW, phase="live", cursor="10", drives_at=NOW, last_success_at=NOW
    )
    steps, _ = await run(live, CursorLostError("no"), "20", drives(), files("a"))
    assert ["|", "gap_opened"] == facts(steps[0])
    assert steps[0].setback
    assert ["|", "snapshot_completed", "gap_closed"] == facts(steps[3])
    assert steps[0].after[0].gap == steps[3].after[1].gap
    assert ("20", ()) == (steps[3].record.cursor, steps[3].record.gaps)


async def test_lost_listing_begins_again() -> None:
    """A page token of the listing that Google forgot costs the listing, not the log."""
    lost = CursorLostError("no")
    steps, drive = await run(NEW, "7", drives(), files("a", more="p2"), lost, drives(), files("a"))
    assert [("files", "p2"), ("drives", None), ("files", None)] == drive.asked[-3:]
    assert ["|", "snapshot_completed"] == facts(steps[-1])
    assert ("live", "7") == (steps[-1].record.phase, steps[-1].record.cursor)


async def test_incomplete_listing_says_so_once_and_completes_nothing() -> None:
    """The gap is told with the first incomplete page; the log goes live with it open."""
    steps, _ = await run(
        NEW,
        "7",
        drives(),
        files("a", more="p2", incomplete=True),
        files("b", more="p3", incomplete=True),
        files("c"),
    )
    assert [["|"], ["snapshot_started", "|"], ["|", "gap_opened"], ["|"], ["|"]] == [
        facts(step) for step in steps
    ]
    assert "live" == steps[-1].record.phase
    assert (steps[2].after[0].gap,) == listing.open_gaps(steps[-1].record)


async def test_other_refusals_pass_through() -> None:
    """What is no lost cursor is for the caller to judge; nothing moves."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10", drives_at=NOW)
    with pytest.raises(UnavailableError):
        await run(live, UnavailableError("away"))


def look(name: str, **about: Any) -> Look:
    return msgspec.convert({"id": name, "version": "5", **about}, Look)


def changed(*looks: Look) -> ChangesPage:
    items = [Item(id=one.id, body=msgspec.Raw(b"{}"), look=one) for one in looks]
    return msgspec.structs.replace(changes(new="12"), items=tuple(items))


def part(*bodies: bytes) -> Part:
    return Part(items=tuple(map(msgspec.Raw, bodies)), observed_at=NOW, request="r2")


LIVE = msgspec.structs.replace(NEW, phase="live", cursor="10", drives_at=NOW)
OF_DRIVE = {"driveId": "d1", "capabilities": {"canReadRevisions": True}}


async def test_each_kind_of_list_is_read_where_it_can_tell_something() -> None:
    """ACLs of a drive's items, revisions for who may, comments of what is no folder."""
    folder = look("f", driveId="d1", mimeType="application/vnd.google-apps.folder")
    page = changed(look("a", **OF_DRIVE), look("b"), folder)
    parts = [part(b'{"id":"p"}'), part(b'{"id":"r"}'), part(), part(b"1", b"2"), part()]
    steps, drive = await run(LIVE, page, parts)
    assert ("parts", "p:a r:a c:a c:b p:f") == drive.asked[-1]
    assert (True, ()) == (steps[0].more, tuple(steps[1].record.pending))
    acl, revisions, _, comments, _ = steps[1].pages
    assert (b'{"permissions":[{"id":"p"}]}', 5) == (
        bytes(acl.items[0].body),
        acl.items[0].version,
    )
    assert [("revisions", 1), ("comments", 2)] == [
        (one.source, len(one.items)) for one in (revisions, comments)
    ]


async def test_part_that_google_refuses_for_now_is_asked_for_again() -> None:
    """The others are published; what is missing stays in the record until it is read."""
    page = changed(look("a", **OF_DRIVE))
    away = UnavailableError("away")
    steps, drive = await run(LIVE, page, [part(), away, part()], changes(new="13"), [part(b"1")])
    expected = [("parts", "p:a r:a c:a"), ("changes", "12"), ("parts", "r:a")]
    assert expected == drive.asked[1:]
    assert [False, False, True] == [not step.record.pending for step in steps[1:]]


async def test_changes_do_not_wait_for_lists() -> None:
    """They take turns, unless so many files wait that the record must not grow any more."""
    many = tuple(Pending(file=f"f{n}", parts="c", mark="5") for n in range(150))
    record = msgspec.structs.replace(LIVE, pending=many)
    _, drive = await run(record, [part()] * 50, changes(more="11"), [part()] * 50)
    assert ["parts", "changes", "parts"] == [method for method, _ in drive.asked]
    crowd = tuple(Pending(file=f"f{n}", parts="c", mark="5") for n in range(2200))
    record = msgspec.structs.replace(LIVE, pending=crowd, fresh_first=True)
    _, drive = await run(record, *([part()] * 50 for _ in range(5)), changes(more="11"))
    assert ["parts"] * 5 + ["changes"] == [method for method, _ in drive.asked]


async def test_only_refusals_are_a_failure() -> None:
    """When nothing of a batch could be read the log backs off, and forgets nothing."""
    record = msgspec.structs.replace(LIVE, pending=(Pending(file="a", parts="c", mark="5"),))
    with pytest.raises(UnavailableError):
        await run(record, [UnavailableError("away")])


async def test_item_that_is_gone_or_forbidden_is_not_asked_for_again() -> None:
    """Its change is published all the same; the refusal ends the wish."""
    record = msgspec.structs.replace(LIVE, pending=(Pending(file="a", parts="pc", mark="5 5"),))
    steps, drive = await run(record, [ItemNotFoundError("no"), ItemTerminalError("no")])
    assert ((), ()) == (tuple(steps[0].record.pending), tuple(steps[0].pages))
    assert 1 == len(drive.asked)


async def test_removal_from_a_shared_drive_is_checked() -> None:
    """What the user still sees moved out: told as seen. What is gone is told as removed."""
    log = domain.new_log("t1", "c1", "drive_changes", NOW, "d1")
    live = msgspec.structs.replace(log, phase="live", cursor="10")
    items = [Item(id=name, body=msgspec.Raw(b"{}"), removed=True) for name in ("out", "gone")]
    page = msgspec.structs.replace(changes(new="12"), items=tuple(items))
    seen = FileAnswer(item=item("out"), request="r", observed_at=NOW)
    steps, _ = await run(live, page, [seen, ItemNotFoundError("gone")])
    told = [(one.source, [each.id for each in one.items]) for one in steps[0].pages]
    assert [("changes", ["gone"]), ("file", ["out"])] == told


async def test_removal_that_cannot_be_checked_waits() -> None:
    """Google's trouble must not become a file that is gone."""
    log = domain.new_log("t1", "c1", "drive_changes", NOW, "d1")
    live = msgspec.structs.replace(log, phase="live", cursor="10")
    removed = Item(id="out", body=msgspec.Raw(b"{}"), removed=True)
    page = msgspec.structs.replace(changes(new="12"), items=(removed,))
    with pytest.raises(UnavailableError):
        await run(live, page, [UnavailableError("away")])


async def test_drive_that_google_does_not_know_is_doubted_not_ended() -> None:
    """The list of the user's drives decides; the log backs off meanwhile."""
    log = domain.new_log("t1", "c1", "drive_changes", NOW, "d1")
    live = msgspec.structs.replace(log, phase="live", cursor="10")
    steps, _ = await run(live, ItemNotFoundError("no drive"))
    assert (True, False, "10") == (steps[0].doubted, steps[0].more, steps[0].record.cursor)
    with pytest.raises(ItemNotFoundError):
        await run(LIVE, ItemNotFoundError("what?"))


async def test_change_of_a_drive_lets_the_drives_be_listed() -> None:
    """Who joins or leaves one learns it from the user's own log."""
    drive = Item(id="d1", body=msgspec.Raw(b"{}"), is_drive=True)
    page = msgspec.structs.replace(changes(new="12"), items=(drive,))
    steps, asked = await run(LIVE, page, drives("d1"))
    assert (True, ("d1",)) == (steps[0].more, steps[1].drives)
    assert ("drives", None) == asked.asked[-1]


def test_memory_is_bounded() -> None:
    """The oldest is forgotten: it is then read once more, never missed."""
    memory = Memory(capacity=2)
    for name in "abc":
        memory.add(1.0, name)
    assert [None, 1.0, 1.0] == [memory.at(name) for name in "abc"]
