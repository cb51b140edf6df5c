"""Partial responses follow Google's grammar and refuse what the schema does not have."""

import pytest

from drivewake.lab.google.discovery import Service
from drivewake.lab.google.errors import ApiError
from drivewake.lab.google.fields import Mask, check, parse, project

RESPONSE = Service("drive", "v3").methods["drive.files.list"].response
VALUE = {"files": [{"id": "1", "owners": [{"me": True, "displayName": "A"}]}], "kind": "k"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind", {"kind": "k"}),
        ("files/id", {"files": [{"id": "1"}]}),
        ("files(id)", {"files": [{"id": "1"}]}),
        ("files(owners/me)", {"files": [{"owners": [{"me": True}]}]}),
        ("files/owners(me),kind", {"files": [{"owners": [{"me": True}]}], "kind": "k"}),
        ("files/*", {"files": VALUE["files"]}),
        ("*", VALUE),
        ("files(id),files(owners/me)", {"files": [{"id": "1", "owners": [{"me": True}]}]}),
        ("files(id),files", {"files": VALUE["files"]}),
        ("*/id", {"files": [{"id": "1"}], "kind": "k"}),
    ],
)
def test_a_mask_shows_what_it_names(text: str, expected: object) -> None:
    """Commas, slashes, parentheses and stars select what Google documents."""
    mask = parse(text)
    check(mask, RESPONSE)

    assert expected == project(VALUE, mask)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bogus", "bogus"),
        ("files(bogus)", "bogus"),
        ("files/owners/bogus", "bogus"),
        ("kind/deeper", "deeper"),
        ("files(id", "files(id"),
        ("files(id))", "files(id))"),
        ("a,,b", "a,,b"),
        ("()", "()"),
        ("/", "/"),
        ("files(" * 40, "files(" * 40),
    ],
)
def test_an_unknown_or_broken_selection_is_refused_by_name(text: str, named: str) -> None:
    """Live Drive answers 400 invalidParameter `Invalid field selection x`."""
    with pytest.raises(ApiError) as caught:
        check(parse(text), RESPONSE)

    assert (400, "invalidParameter", f"Invalid field selection {named}") == (
        caught.value.code,
        caught.value.reason,
        caught.value.message,
    )


def test_a_map_takes_any_name() -> None:
    """`properties` is a map: its keys are the caller's own."""
    mask: Mask = parse("files/properties/anything")

    check(mask, RESPONSE)
