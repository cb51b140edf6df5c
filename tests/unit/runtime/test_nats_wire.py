"""Our way in reads the same from the wire as the library's own parser."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from drivewake.runtime.nats_wire import LaneParser, Pulled, parsed_headers

Seen = tuple[str, tuple[Any, ...]]


class Client:
    """What a parser calls; remembers it all."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any callback of the library
        async def note(*arguments: Any) -> None:  # noqa: ANN401
            self.seen.append((name, arguments))

        return note


def message(sid: int, reply: bytes, headers: bytes, data: bytes) -> bytes:
    """Return a message as the broker sends it."""
    where = b"a.b %d%b" % (sid, b" " + reply if reply else b"")
    if headers:
        return b"HMSG %b %d %d\r\n%b%b\r\n" % (
            *(where, len(headers), len(headers) + len(data)),
            *(headers, data),
        )
    return b"MSG %b %d\r\n%b\r\n" % (where, len(data), data)


messages = st.builds(
    message,
    st.integers(1, 9),
    st.sampled_from([b"", b"$JS.ACK.s.c.1.2.3.4.5"]),
    st.sampled_from([b"", b"NATS/1.0\r\na: b\r\n\r\n", b"NATS/1.0 404 No Messages\r\n\r\n"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"MSG a 1 3\r\nabc\r\n", b"\r\n\r\n"])),
)
controls = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Stale'\r\n", b'INFO {"a":1}\r\n']
)
streams = st.lists(st.one_of(messages, controls), max_size=12).map(b"".join)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a stream."""
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(bounds)]


def read(parser: Parser, stream: list[bytes]) -> None:
    """Feed a parser."""

    async def feed() -> None:
        for piece in stream:
            await parser.parse(piece)

    asyncio.run(feed())


@given(streams, st.lists(st.integers(0, 2000), max_size=20))
def test_same_calls_as_the_library_however_the_stream_is_cut(
    stream: bytes, cuts: list[int]
) -> None:
    """Without lanes every call that the library's parser makes is made, in its order."""
    library, ours = Client(), Client()
    read(Parser(library), [stream])
    read(LaneParser(ours), pieces(stream, cuts))
    assert library.seen == ours.seen


@given(streams, st.lists(st.integers(0, 2000), max_size=20))
def test_lanes_get_their_messages_and_nobody_else_does(stream: bytes, cuts: list[int]) -> None:
    """What the library would have been given for a subscription comes over its lane."""
    library, ours = Client(), Client()
    read(Parser(library), [stream])
    parser = LaneParser(ours)
    got: list[Pulled] = []
    parser.lanes[3] = got.append
    read(parser, pieces(stream, cuts))
    mine = [seen for name, seen in library.seen if name == "_process_msg" and seen[0] == 3]
    assert [seen for seen in library.seen if seen[1] not in mine] == ours.seen
    assert [(s[1].decode(), s[2], s[3]) for s in mine] == [
        (each.subject, each.reply, each.data) for each in got
    ]
    assert [parsed_headers(s[4] or b"") for s in mine] == [each.headers for each in got]


@pytest.mark.parametrize(
    "stream",
    [b"MSG a\r\n", b"MSG a x 3\r\nabc\r\n", b"HMSG a 1 3\r\nabc\r\n", b"x" * 70_000, b"WHAT\r\n"],
)
def test_nonsense_is_a_protocol_error(stream: bytes) -> None:
    """Bytes that are no protocol end the connection, as the library's error does."""
    with pytest.raises(ProtocolError):
        read(LaneParser(Client()), [stream])


def test_reset_forgets_what_was_begun() -> None:
    """Half a message of a lost connection does not mix with the next one."""
    client = Client()
    parser = LaneParser(client)
    whole = message(1, b"", b"", b"abc")
    read(parser, [whole[:-3]])
    parser.reset()
    read(parser, [whole])
    assert [("_process_msg", (1, b"a.b", b"", b"abc", None))] == client.seen


def test_headers_are_read_when_asked_for() -> None:
    """Names and values as they stand, of a status its number and its words."""
    assert {} == parsed_headers(b"")
    assert {"a": "b", "c": "d: e"} == parsed_headers(b"NATS/1.0\r\na: b\r\nc:d: e\r\n\r\n")
    assert {"Status": "409", "Description": "Consumer Deleted", "x": ""} == parsed_headers(
        b"NATS/1.0 409 Consumer Deleted\r\nx:\r\n\r\n"
    )
