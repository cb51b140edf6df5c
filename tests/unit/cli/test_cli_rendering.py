import datetime as dt
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from drivewake.cli import main
from drivewake.cli.events import subject_of
from drivewake.cli.rendering import about, harmless, line, octets, span
from drivewake.cli.session import Failure
from drivewake.contracts import events as e
from drivewake.contracts import remarks as r
from drivewake.contracts.activity import ActivityEdited, ActivityObject, ActivityTrashed, Actor
from drivewake.contracts.events import Event

FILE = e.FileRef(id="f1", name="plan.txt", mime_type="text/plain", version=3)
NOW = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (e.FileRenamed(file=FILE, before="a", after="b"), "«a» → «b»"),
        (e.FileMoved(file=FILE, before=("p1",), after=()), "«plan.txt»: p1 → nowhere"),
        (
            e.FileContentChanged(
                file=FILE, before=e.Content(size_bytes=10), after=e.Content(size_bytes=2048)
            ),
            "«plan.txt» 10 B → 2.0 KiB",
        ),
        (e.FileDiscovered(file=FILE, content=e.Content()), "«plan.txt»"),
        (e.FileTrashed(file=FILE), "«plan.txt»"),
        (e.FileRemoved(file=FILE, cause="deleted"), "«plan.txt» (deleted)"),
        (e.FileExposureChanged(file=FILE, before="named", after="public"),
         "«plan.txt»: named → public"),
        (e.FilePermissionsChanged(file=FILE), "«plan.txt»: +0 -0 ~0"),
        (e.FileMetadataChanged(file=FILE, before={"x": 1}, after={"x": 2, "y": 3}),
         "«plan.txt»: x, y"),
        (e.SightingLost(file="f1", epoch=1, cause="removed"), "file f1 (removed)"),
        (e.ConnectionBlocked(reason="domainPolicy"), "domainPolicy"),
        (e.SnapshotCompleted(snapshot="s1", files=7), "snapshot s1, 7 files"),
        (e.GapOpened(gap="g1", reason="cursor_lost"), "gap g1: cursor_lost"),
        (e.GapClosed(gap="g1", by="snapshot"), "gap g1 by snapshot"),
        (r.RevisionAdded(file="f1", revision="r1"), "file f1 revision r1"),
        (r.CommentDeleted(file="f1", comment="k1", modified_at=NOW), "file f1: «»"),
        (r.SharedDriveJoined(drive="d1", epoch=1, name="Team"), "«Team»"),
        (r.SharedDriveLeft(drive="d1", epoch=1, cause="removed"), "drive d1 (removed)"),
        (ActivityEdited(target=ActivityObject(kind="file", id="f1"), at=NOW), "«f1» by nobody"),
        (ActivityTrashed(target=ActivityObject(kind="file", id="f1", title="a"), at=NOW,
                         actors=(Actor(kind="user", person="people/1"), Actor(kind="system"))),
         "«a» by people/1, system"),
    ],
)  # fmt: skip
def test_events_are_told_in_few_words(data: e.EventData, expected: str) -> None:
    """Each kind of event says what a person wants to know of it."""
    assert expected == about(data)


def test_an_event_is_one_line() -> None:
    """When, what, whose, about what, where in the store."""
    event = Event(
        id="i1",
        source="/test",
        type="file.renamed",
        subject="f1",
        time=NOW,
        tenant="acme",
        connection="c1",
        data=e.FileRenamed(file=FILE, before="a", after="b\nc"),
        position=7,
    )
    assert (
        "2026-11-22 10:00:00  file.renamed                acme          «a» → «b\\nc»  #7"
        == line(event).plain
    )


def test_names_cannot_drive_the_terminal() -> None:
    """Escapes, line ends and right-to-left tricks are shown, not obeyed; length is bounded."""
    assert "\\x1b[31mred\\n\\u202e" == harmless("\x1b[31mred\n\u202e")
    assert 120 == len(harmless("x" * 5000))
    assert "Grüße 🎉" == harmless("Grüße 🎉")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5120.0 GiB")],
)
def test_sizes_are_readable(count: int, expected: str) -> None:
    """Bytes in the unit that a person would choose."""
    assert expected == octets(count)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, "0 s"), (119, "119 s"), (600, "10 min"), (-7200, "2 h")]
)
def test_spans_are_readable(seconds: float, expected: str) -> None:
    """Durations in the unit that a person would choose."""
    assert expected == span(seconds)


@pytest.mark.parametrize(
    ("type_", "tenant", "expected"),
    [
        (None, None, "drive.event.v1.*.*.*"),
        ("file", None, "drive.event.v1.*.file.*"),
        ("file.renamed", "acme", "drive.event.v1.acme.file.renamed"),
        ("*.removed", None, "drive.event.v1.*.*.removed"),
    ],
)
def test_filters_become_subjects(type_: str | None, tenant: str | None, expected: str) -> None:
    """Types and tenants select at the broker."""
    assert expected == subject_of(type_, tenant)


@pytest.mark.parametrize(
    ("type_", "tenant"), [("a.b.c", None), ("file.>", None), ("", ">"), (None, "a.b"), (None, "*")]
)
def test_filters_that_are_none_are_refused(type_: str | None, tenant: str | None) -> None:
    """Nothing of a person's words becomes a wildcard by accident."""
    with pytest.raises(Failure):
        subject_of(type_, tenant)


@click.command("hello")
def hello() -> None:
    """Greet."""
    click.echo("hello")


NO_COMMAND = "just text"


def brought(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Pretend that packages bring these verbs."""
    found = [EntryPoint(name, value, main.GROUP) for name, value in values.items()]

    def entry_points(**_: object) -> list[EntryPoint]:
        return found

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


def test_areas_bring_their_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point is a verb; a built-in one stays what it is."""
    module = ModuleType("brought_verbs")
    vars(module)["hello"] = hello
    monkeypatch.setitem(sys.modules, "brought_verbs", module)
    brought(monkeypatch, hello="brought_verbs:hello", status="brought_verbs:hello")
    assert "hello\n" == CliRunner().invoke(main.root, ["hello"]).output
    assert "Show streams" in CliRunner().invoke(main.root, ["status", "--help"]).output


@pytest.mark.parametrize("value", ["no_such_module:x", "sys:no_such_name", "sys:path"])
def test_a_broken_verb_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """Help still works, and the verb itself says what is wrong, in one line."""
    brought(monkeypatch, odd=value)
    assert 0 == main.main(["--help"])
    assert "odd" in capsys.readouterr().out
    assert 1 == main.main(["odd"])
    error = capsys.readouterr().err
    assert error.startswith("drivewake: the verb odd is broken: ")
    assert 1 == error.count("\n")
