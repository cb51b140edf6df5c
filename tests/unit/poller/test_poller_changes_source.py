# ruff: noqa: D102, D103, ANN401 - doubles of ports, and helpers whose names say it

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from drivewake.contracts.records import LogRecord
from drivewake.gdrive.errors import CursorLostError, UnavailableError
from drivewake.gdrive.pages import ChangesPage, FilesPage, Item
from drivewake.gdrive.port import PartKind, Wanted
from drivewake.gdrive.token import AccessToken
from drivewake.poller import domain, listing
from drivewake.poller.domain import Rules
from drivewake.poller.ports import Step
from drivewake.poller.sources import ChangesSource, Enrichment, Memory

NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
PARTS: tuple[PartKind, ...] = ("permissions", "revisions", "comments")
TOKEN = AccessToken("secret", tenant="t1", connection="c1", id="k1", expires_at=NOW)
NEW = listing.drives_listed(domain.new_log("t1", "c1", "user_changes", NOW), NOW)


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
    steps, drive = await run(NEW, "7", files("a", more="p2"), files("b"), changes("c", new="8"))
    assert [("start", None), ("files", None), ("files", "p2"), ("changes", "7")] == drive.asked
    assert [True, True, True, False] == [step.more for step in steps]
    assert ("live", "8") == (steps[-1].record.phase, steps[-1].record.cursor)


async def test_facts_frame_the_listing() -> None:
    """Started before the first item, completed after the last one, nothing in between."""
    steps, _ = await run(NEW, "7", files("a", more="p2"), files("b", more="p3"), files("c"))
    assert [["|"], ["snapshot_started", "|"], ["|"], ["|", "snapshot_completed"]] == [
        facts(step) for step in steps
    ]
    assert 3 == steps[-1].after[0].files
    assert {"s1"} == {page.snapshot for step in steps for page in step.pages}


async def test_repeated_first_page_says_started_again() -> None:
    """A crash before the first page was saved repeats the fact, never drops it."""
    begun = listing.started(NEW, "7", "s1", NOW)
    first, _ = await run(begun, files("a", more="p2"))
    again, _ = await run(begun, files("a", more="p2"))
    assert facts(first[0]) == facts(again[0]) == ["snapshot_started", "|"]


async def test_pages_of_changes_carry_their_cursor() -> None:
    """Each page says at which token it was read, and the cursor moves behind it."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10")
    steps, _ = await run(live, changes("a", more="11"), changes("b", new="12"))
    assert [("10", "11", True), ("11", "12", False)] == [
        (step.pages[0].cursor, step.record.cursor, step.more) for step in steps
    ]


async def test_empty_page_with_more_goes_on() -> None:
    """Google may answer an empty page and still have more."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10")
    steps, drive = await run(live, changes(more="11"), changes(new="12"))
    assert [("changes", "10"), ("changes", "11")] == drive.asked
    assert None is steps[-1].record.last_change_at


async def test_lost_cursor_is_a_gap_then_a_snapshot() -> None:
    """Never re-seeded silently: gap, snapshot, and the gap closed by it."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10", last_success_at=NOW)
    steps, _ = await run(live, CursorLostError("no"), "20", files("a"))
    assert ["|", "gap_opened"] == facts(steps[0])
    assert steps[0].setback
    assert ["snapshot_started", "|", "snapshot_completed", "gap_closed"] == facts(steps[2])
    assert steps[0].after[0].gap == steps[2].after[1].gap
    assert ("20", ()) == (steps[2].record.cursor, steps[2].record.gaps)


async def test_lost_listing_begins_again() -> None:
    """A page token of the listing that Google forgot costs the listing, not the log."""
    steps, drive = await run(NEW, "7", files("a", more="p2"), CursorLostError("no"), files("a"))
    assert [("files", "p2"), ("files", None)] == drive.asked[-2:]
    assert ["|", "snapshot_completed"] == facts(steps[-1])[1:]
    assert ("live", "7") == (steps[-1].record.phase, steps[-1].record.cursor)


async def test_incomplete_listing_says_so_once_and_completes_nothing() -> None:
    """The gap is told with the first incomplete page; the log goes live with it open."""
    steps, _ = await run(
        NEW,
        "7",
        files("a", more="p2", incomplete=True),
        files("b", more="p3", incomplete=True),
        files("c"),
    )
    assert [["|"], ["snapshot_started", "|", "gap_opened"], ["|"], ["|"]] == [
        facts(step) for step in steps
    ]
    assert "live" == steps[-1].record.phase
    assert (steps[1].after[0].gap,) == listing.open_gaps(steps[-1].record)


async def test_other_refusals_pass_through() -> None:
    """What is no lost cursor is for the caller to judge; nothing moves."""
    live = msgspec.structs.replace(NEW, phase="live", cursor="10")
    with pytest.raises(UnavailableError):
        await run(live, UnavailableError("away"))
