"""The normative list of canonical fields, held against Google's own description of a File."""

import json
from pathlib import Path

import googleapiclient
import msgspec

from drivewake.contracts import canonical
from drivewake.normalizer.domain import google

_DOCUMENT = "discovery_cache/documents/drive.v3.json"


def _properties(resource: str) -> set[str]:
    path = Path(googleapiclient.__file__).parent / _DOCUMENT
    schemas = json.loads(path.read_text())["schemas"]
    return set(schemas[resource]["properties"])


def test_every_field_of_a_file_is_classified() -> None:
    """A field that Google adds must be classified before the library can be upgraded."""
    assert canonical.CLASSIFIED == _properties("File")


def test_no_field_is_in_two_classes() -> None:
    """Each field has one class."""
    classes = (
        canonical.IDENTITY,
        canonical.CONTENT_FIELDS,
        canonical.WHEN_PRESENT,
        canonical.PLACE,
        canonical.METADATA,
        canonical.VIEWER_RELATIVE,
        canonical.SHORT_LIVED,
        canonical.DERIVED,
    )
    assert len(canonical.CLASSIFIED) == sum(map(len, classes))


def test_people_and_permissions_exist() -> None:
    """What is said of users and permissions names fields that Google has."""
    assert canonical.PEOPLE <= canonical.METADATA
    assert canonical.USER_FIELDS <= _properties("User")
    assert canonical.PERMISSION_FIELDS <= _properties("Permission")


def test_decoder_takes_exactly_the_canonical_fields() -> None:
    """The normalizer reads every canonical field of a File and no other."""
    declared = {field.encode_name for field in msgspec.structs.fields(google.File)}
    assert canonical.CANONICAL == declared
    permission = {field.encode_name for field in msgspec.structs.fields(google.Permission)}
    assert canonical.PERMISSION_FIELDS == permission
    user = {field.encode_name for field in msgspec.structs.fields(google.User)}
    assert canonical.USER_FIELDS == user
