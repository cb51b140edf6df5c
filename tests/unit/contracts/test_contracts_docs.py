"""docs/contracts.md names every type of event with all its fields, and the rule's numbers."""

import re
import typing
from pathlib import Path

import msgspec
import pytest

from drivewake.contracts.correlation import AFTER, BEFORE, MAKES, RULE
from drivewake.contracts.events import EventData

TEXT = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text(encoding="utf-8")
COMMON = {"file", "target", "actors", "at", "until"}
"""What a table's introduction says of all its types."""


@pytest.mark.parametrize("member", typing.get_args(EventData), ids=lambda m: m.__name__)
def test_every_type_is_documented_with_its_fields(member: type[msgspec.Struct]) -> None:
    """A row in a table of kinds: the type, then exactly the fields that it has."""
    tag = str(member.__struct_config__.tag)
    row = re.search(rf"^\| `{re.escape(tag)}` \|([^|]*)\|", TEXT, re.MULTILINE)
    assert row is not None
    fields = {field.encode_name for field in msgspec.structs.fields(member)}
    assert fields - COMMON == set(re.findall(r"`(\w+)`", row[1]))


def test_the_rule_of_correlation_is_documented_as_it_is() -> None:
    """Its name, its bounds, and every pair of its table."""
    assert f"`{RULE}`" in TEXT
    assert f"at most {BEFORE.seconds // 60} minutes before" in TEXT
    assert f"{AFTER.seconds} seconds behind" in TEXT
    table = TEXT.partition("| activity | goes with |")[2].partition("\n\n")[0]
    for activity, changes in MAKES.items():
        assert f"`{activity.removeprefix('activity.')}`" in table
        named = {"comment.*"} if activity == "activity.commented" else changes
        assert all(f"`{change}`" in table for change in named)
