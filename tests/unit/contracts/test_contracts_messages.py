"""What the messages of the contracts promise to whoever writes or reads them."""

import base64
import datetime as dt
import json
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts import events as ev
from drivewake.contracts.connections import CONNECTIONS, Connection
from drivewake.contracts.dead import DeadLetter, decode_dead, encode_dead
from drivewake.contracts.envelope import Envelope, InvalidMessageError
from drivewake.contracts.raw import RAWS, Raw
from drivewake.contracts.signals import SIGNALS, Signal, signal_message

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FILE = ev.FileRef(id="f1", name="a.txt", mime_type="text/plain", version=3)


def _event(data: ev.EventData) -> ev.Event:
    return ev.Event(
        id="k",
        source=ev.EVENT_SOURCE,
        type=ev.type_of(data),
        subject="f1",
        time=NOW,
        tenant="t",
        connection="c",
        data=data,
    )


def test_event_survives_the_wire() -> None:
    """Decoding what was encoded gives the same event, and the JSON is a CloudEvent."""
    event = _event(ev.FileRenamed(file=FILE, before="a", after="a.txt"))
    body = ev.encode_event(event)
    assert event == ev.decode_event(body)
    assert json.loads(body)["specversion"] == "1.0"


def test_newer_attributes_are_ignored() -> None:
    """An attribute that this version does not know does not stop a reader."""
    body = json.loads(ev.encode_event(_event(ev.FileTrashed(file=FILE))))
    body["future"] = 1
    body["data"]["future"] = {"x": 1}
    assert ev.decode_event(json.dumps(body).encode()).type == "file.trashed"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"specversion":"2.0"}', b"[" * 100_000],
    ids=["empty", "cut", "list", "not utf-8", "other version", "very deep"],
)
def test_garbage_is_refused_with_one_kind_of_error(body: bytes) -> None:
    """Whatever the bytes are, a reader sees InvalidMessageError and nothing else."""
    for decode in (ev.decode_event, SIGNALS.decode, RAWS.decode, CONNECTIONS.decode, decode_dead):
        with pytest.raises(InvalidMessageError):
            decode(body)


def test_another_major_version_of_cloudevents_is_refused() -> None:
    """A message that is right in all but specversion is refused."""
    signal = Signal(log="l", reason="push", requested_at=NOW)
    good = signal_message(source="/x", tenant="t", connection="c", signal=signal)
    assert SIGNALS.decode(good).data == signal
    with pytest.raises(InvalidMessageError, match="specversion"):
        SIGNALS.decode(good.replace(b'"specversion":"1.0"', b'"specversion":"2.0"'))


def test_raw_body_stays_verbatim() -> None:
    """The bytes that Google sent come out as they went in, odd spacing and order included."""
    body = b'{"z": 1,   "a":[ 1.50, "\\u00e9" ]}'
    raw = Raw(source="changes", log="l", item="f", observed_at=NOW, body=msgspec.Raw(body))
    message = RAWS.encode(
        Envelope(
            id="i", source="/p", type="drive.raw", time=NOW, tenant="t", connection="c", data=raw
        )
    )
    assert body == bytes(RAWS.decode(message).data.body)


def test_every_event_type_is_noun_dot_verb() -> None:
    """The tag of each kind of data can become two tokens of a subject."""
    for member in typing.get_args(ev.EventData):
        noun, dot, verb = member.__struct_config__.tag.partition(".")
        assert (noun.isidentifier(), dot, verb.isidentifier()) == (True, ".", True)


def test_connection_record_carries_no_secret_field() -> None:
    """No field of a connection record could hold a token, a secret or an e-mail."""
    fields = {field.name for field in msgspec.structs.fields(Connection)}
    assert not fields & {"token", "refresh_token", "access_token", "secret", "email"}


@given(st.binary(max_size=200), st.text(max_size=50))
def test_dead_letter_keeps_the_original_bytes(body: bytes, reason: str) -> None:
    """Whatever was undecodable can be replayed byte for byte."""
    letter = DeadLetter(
        service="normalizer",
        reason=reason,
        stream="DRIVE_RAW",
        sequence=1,
        subject="drive.raw.v1.0.t.c",
        body=base64.b64encode(body).decode(),
        failed_at=NOW,
    )
    assert body == decode_dead(encode_dead(letter)).original()
