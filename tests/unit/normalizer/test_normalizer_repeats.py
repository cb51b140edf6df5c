"""What counts as a repeat: an observation that tells nothing but what is known."""

import datetime as dt

import msgspec
import pytest

from drivewake.contracts.events import Content, Permission
from drivewake.normalizer.domain.decide import step
from drivewake.normalizer.domain.head import EMPTY
from drivewake.normalizer.domain.observation import FileState, Seen

_WHOLE = FileState(
    id="f1",
    version=1,
    name="a",
    mime_type="text/plain",
    trashed=False,
    metadata={"description": "d"},
    drive="d1",
    created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    modified_at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    content=Content(md5="m1", mime_type="text/plain"),
    parents=("p1",),
    acl=(Permission(id="1", kind="user", role="owner"),),
)
_OTHER = FileState(
    id="f1",
    version=2,
    name="b",
    mime_type="text/html",
    trashed=True,
    metadata={"description": "e"},
    drive="d2",
    created_at=dt.datetime(2026, 2, 1, tzinfo=dt.UTC),
    modified_at=dt.datetime(2026, 2, 2, tzinfo=dt.UTC),
    content=Content(md5="m2", mime_type="text/plain"),
    parents=("p2",),
    acl=(Permission(id="1", kind="user", role="owner"), Permission(id="2", kind="user", role="r")),
)
_TOLD = [name for name in FileState.__struct_fields__ if name not in {"id", "version"}]


def _seen(file: FileState, at: int) -> Seen:
    return Seen(connection="c1", log="l1", at=at, file=file)


@pytest.mark.parametrize("field", _TOLD)
@pytest.mark.parametrize("version", [1, 2])
def test_a_difference_in_one_field_alone_is_told(field: str, version: int) -> None:
    """Whatever a file's state holds, a fresh look at another value of it makes an event."""
    _, head = step(EMPTY, _seen(_WHOLE, 1))
    other = msgspec.structs.replace(_WHOLE, version=version, **{field: getattr(_OTHER, field)})
    events, _ = step(head, _seen(other, 2))
    assert [] != list(events)


@pytest.mark.parametrize("field", ["created_at", "modified_at", "content", "parents", "acl", None])
def test_a_repeat_makes_no_event_but_renews(field: str | None) -> None:
    """What is known, with an aspect left out or none, tells nothing; its version is believed."""
    _, head = step(EMPTY, _seen(_WHOLE, 1))
    left_out = {} if field is None else {field: None}
    again = msgspec.structs.replace(_WHOLE, version=5, **left_out)
    events, after = step(head, _seen(again, 2))
    assert ((), (5, 2)) == (events, after.core)
    assert head.known == after.known
