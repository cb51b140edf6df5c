"""The `q` language of files.list."""

import pytest

from drivewake.lab.google.errors import ApiError
from drivewake.lab.google.query import parse
from drivewake.lab.google.state import DriveState

NOW_NS = 1_700_000_000_000_000_000


def found(q: str) -> list[str]:
    """Return the names that match in a small Drive."""
    state = DriveState()
    alice = state.add_user("alice@example.com", "Alice", NOW_NS // 10**6)
    top = state.create(alice, "Reports", "root", NOW_NS).file_id
    for name, mime, year_ms in (
        ("it's.txt", "text/plain", 0),
        ("Annual report.pdf", "application/pdf", 1_600_000_000_000),
        ("photo.png", "image/png", 1_650_000_000_000),
    ):
        state.create(alice, name, top, NOW_NS, mime_type=mime, data=b"", modified_ms=year_ms)
    gone = state.create(alice, "gone", "root", NOW_NS, mime_type="text/plain", data=b"").file_id
    state.trash(alice, gone, NOW_NS, trashed=True)
    predicate = parse(q.replace("TOP", top)).holds
    return [f.name for f in state.visible(alice) if predicate(state, alice, f)]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("trashed = true", ["gone"]),
        ("trashed=false and 'root' in parents", ["Reports"]),
        ("'TOP' in parents and not mimeType contains 'image/'", ["it's.txt", "Annual report.pdf"]),
        (r"name = 'it\'s.txt'", ["it's.txt"]),
        ("name contains 'rep'", ["Reports", "Annual report.pdf"]),
        ("name contains 'eport'", []),
        ("mimeType = 'application/vnd.google-apps.folder'", ["Reports"]),
        (
            "modifiedTime > '2020-01-01T00:00:00' and modifiedTime < '2021-01-01'",
            ["Annual report.pdf"],
        ),
        ("(name='gone' or name='photo.png') and trashed=false", ["photo.png"]),
        ("'me' in owners and name='gone'", ["gone"]),
        ("name='photo.png' or name='gone' and trashed=false", ["photo.png"]),
    ],
)
def test_a_query_finds_what_it_says(q: str, expected: list[str]) -> None:
    """Terms, negation, parentheses; and/or from left to right."""
    assert expected == found(q)


@pytest.mark.parametrize(
    "q",
    [
        "name",
        "name =",
        "name ~ 'x'",
        "bogus = 'x'",
        "'x' in bogus",
        "name='x' and",
        "(name='x'",
        "trashed = maybe",
        "modifiedTime > 'yesterday'",
        "name = 'open",
        "name='a' name='b'",
        "(" * 99,
    ],
)
def test_a_broken_query_is_refused(q: str) -> None:
    """Google answers 400 invalid, location q."""
    with pytest.raises(ApiError) as caught:
        parse(q)

    assert (400, "invalid", "q") == (caught.value.code, caught.value.reason, caught.value.location)
