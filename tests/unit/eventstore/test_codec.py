"""Events to and from what the store keeps."""

import datetime as dt
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts import events as ev
from drivewake.contracts.ids import InvalidIdError
from drivewake.eventstore.codec import envelope, new_event, to_event, traceparent_of
from drivewake.eventstore.store import NewEvent, StoredEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TOKEN = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
TIME = st.integers(0, (9000 - 1971) * 365 * 86_400_000_000).map(
    lambda microseconds: (
        dt.datetime(1971, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    )
)
TRACE = st.none() | st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
DATA = st.builds(
    ev.FileRenamed,
    file=st.builds(ev.FileRef, id=TEXT, name=TEXT, mime_type=TEXT, version=st.integers(0, 2**60)),
    before=TEXT,
    after=TEXT,
)
EVENTS = st.builds(
    ev.Event,
    id=st.uuids().map(str),
    source=st.just(ev.EVENT_SOURCE),
    type=st.just("file.renamed"),
    subject=TEXT,
    time=TIME,
    tenant=TOKEN,
    connection=TOKEN,
    data=DATA,
    log=TEXT,
    occurredat=st.none() | TIME,
    cause=TEXT,
    schemaversion=st.integers(1, 9),
    traceparent=TRACE,
)


def stored(event: NewEvent, *, lane: int = 0, position: int = 1) -> StoredEvent:
    """Return the event as a store would give it back."""
    return StoredEvent(lane=lane, position=position, **msgspec.structs.asdict(event))


@given(event=EVENTS, lane=st.integers(0, 99), position=st.integers(1, 2**60))
def test_event_survives_the_store(event: ev.Event, lane: int, position: int) -> None:
    """What is put together from the stored parts is the event, with its place."""
    back = to_event(stored(new_event(event), lane=lane, position=position))
    assert back == msgspec.structs.replace(event, lane=lane, position=position)


@given(event=EVENTS)
def test_envelope_is_json_without_repeated_names(event: ev.Event) -> None:
    """The joined bytes are one JSON object in which every attribute stands once."""
    names = [name for name, _ in _pairs(envelope(stored(new_event(event))))]
    assert sorted(set(names)) == sorted(names)


def _pairs(body: bytes) -> list[tuple[str, object]]:
    import json  # noqa: PLC0415 - only the standard decoder shows repeated names

    pairs: list[tuple[str, object]] = json.loads(body, object_pairs_hook=list)
    return pairs


@given(event=EVENTS)
def test_trace_is_found_in_the_metadata(event: ev.Event) -> None:
    """The trace of an event is read without decoding the event."""
    assert traceparent_of(stored(new_event(event))) == (event.traceparent or "")


@given(event=EVENTS)
def test_occurrence_is_googles_time_or_the_observation(event: ev.Event) -> None:
    """An event without a time of Google's occurred when it was observed."""
    assert new_event(event).occurred_at == (event.occurredat or event.time)


def test_empty_metadata_makes_a_valid_envelope() -> None:
    """An event with no further attributes still gives an object."""
    event = NewEvent(
        key=uuid.uuid4(),
        tenant="t",
        connection="c",
        stream="s",
        type="x.y",
        occurred_at=dt.datetime.now(dt.UTC),
        data=b"{}",
        metadata=b"{}",
    )
    body = msgspec.json.decode(envelope(stored(event)))
    assert body["specversion"] == "1.0"
    assert body["data"] == {}


@pytest.mark.parametrize("change", [{"tenant": "a.b"}, {"tenant": "*"}, {"type": "file"}])
def test_what_has_no_subject_is_refused(change: dict[str, str]) -> None:
    """An event that could never be published is not let into the store."""
    event = ev.Event(
        id=str(uuid.uuid4()),
        source=ev.EVENT_SOURCE,
        type="file.trashed",
        subject="f",
        time=dt.datetime.now(dt.UTC),
        tenant="t",
        connection="c",
        data=ev.FileTrashed(file=ev.FileRef(id="f", name="n", mime_type="m", version=1)),
    )
    with pytest.raises(InvalidIdError):
        new_event(msgspec.structs.replace(event, **change))
