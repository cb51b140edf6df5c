import pytest

from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusError, TooLargeError
from drivewake.runtime.nats_batch import frames, headers_of


def _frames(*messages: Message, most_bytes: int = 1000) -> bytes:
    return frames(
        messages,
        batch="b1",
        subject=lambda subject: f"p.{subject}",
        headers=headers_of,
        first={"Nats-Expected-Last-Sequence": "7"},
        max_payload_bytes=most_bytes,
    )


def test_messages_are_framed_as_the_protocol_wants_them() -> None:
    """Sizes count headers and body; the first alone carries what guards the batch."""
    guarded = (
        b"NATS/1.0\r\nNats-Batch-Id: b1\r\nNats-Batch-Sequence: 1\r\nA: x\r\n"
        b"Nats-Expected-Last-Sequence: 7\r\n\r\n"
    )
    second = b"NATS/1.0\r\nNats-Batch-Id: b1\r\nNats-Batch-Sequence: 2\r\nNats-Msg-Id: i\r\n\r\n"
    expected = (
        b"HPUB p.s.1 %d %d\r\n" % (len(guarded), len(guarded) + 3)
        + guarded
        + b"one\r\n"
        + b"HPUB p.s.2 %d %d\r\n" % (len(second), len(second))
        + second
        + b"\r\n"
    )
    assert expected == _frames(
        Message(subject="s.1", data=b"one", headers={"A": "x"}),
        Message(subject="s.2", data=b"", id="i"),
    )


def test_a_line_end_in_a_header_cannot_begin_another_one() -> None:
    """What follows a line end stays part of the value."""
    assert b"Reason: a  Evil: 1\r\n" in _frames(
        Message(subject="s", data=b"", headers={"Reason": "a\r\nEvil: 1"})
    )


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a.*", ">"])
def test_what_is_no_subject_is_refused(subject: str) -> None:
    """A subject with blanks or wildcards would break the protocol or reach others."""
    with pytest.raises(BusError):
        frames(
            [Message(subject=subject, data=b"")],
            batch="b",
            subject=lambda same: same,
            headers=headers_of,
            first={},
            max_payload_bytes=1000,
        )


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb"])
def test_what_is_no_header_name_is_refused(name: str) -> None:
    """A name ends at its colon, and holds no blanks."""
    with pytest.raises(BusError):
        _frames(Message(subject="s", data=b"", headers={name: "x"}))


def test_headers_count_towards_the_brokers_limit() -> None:
    """A message that the broker would refuse is not begun."""
    with pytest.raises(TooLargeError):
        _frames(Message(subject="s", data=b"x" * 90), most_bytes=100)
