"""A faster way in for what is pulled: bytes of the broker, straight to whoever asked.

nats-py takes about 12 µs for a message with headers: three copies of it, a dictionary of its
headers, a queue and a task's wake-up. Here a message of a registered subscription costs one
copy and one call, and its headers are read when somebody asks. All else goes the library's way.
NATS protocol: MSG and HMSG (docs.nats.io/reference/reference-protocols/nats-protocol).
"""

from collections.abc import Callable
from typing import Any, Final

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

MAX_LINE_BYTES: Final = 64 << 10
_MALFORMED: Final = "nats: malformed message"
_STATUS_LINE: Final = "NATS/1.0"


class Pulled:
    """A message as it came off the wire."""

    __slots__ = ("_headers", "_subject", "data", "reply")

    def __init__(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self._subject = subject
        self._headers = headers
        self.reply = reply
        self.data = data

    @property
    def subject(self) -> str:
        """The subject, as the broker knows it."""
        return self._subject.decode()

    @property
    def headers(self) -> dict[str, str]:
        """Its headers; Status and Description are the broker's own, if it is no message."""
        return parsed_headers(self._headers)


Lane = Callable[[Pulled], None]


def parsed_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a message; of a name that comes again, the last value."""
    if not block:
        return {}
    first, *lines = block.decode(errors="replace").split("\r\n")
    found: dict[str, str] = {}
    if inline := first.removeprefix(_STATUS_LINE).strip():
        found["Status"], _, found["Description"] = inline.partition(" ")
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip()
    return found


class LaneParser(Parser):
    """The library's parser, but for messages: those of a lane are handed over at once."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - the library's own Client
        self.lanes: dict[int, Lane] = {}
        self._rest = b""
        self._resets = 0
        super().__init__(client)

    def reset(self) -> None:
        """Forget what was begun: the connection is another one."""
        super().reset()
        self._rest = b""
        self._resets += 1

    async def parse(self, data: bytes = b"") -> None:
        """Take the next bytes of the connection; raises ProtocolError."""
        data = self._rest + data if self._rest else data
        resets, at = self._resets, 0
        # What was reset meanwhile belongs to a connection that is gone.
        while self._resets == resets:
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > MAX_LINE_BYTES:
                    raise ProtocolError(_MALFORMED)
                break
            if data.startswith((b"HMSG ", b"MSG "), at):
                stop = await self._message(data, at, end)
                if not stop:
                    break
                at = stop
            else:
                line = data[at : end + 2]
                at = end + 2
                await super().parse(line)
        if self._resets == resets:
            self._rest = data[at:]

    async def _message(self, data: bytes, at: int, end: int) -> int:
        """Hand over the message whose line is data[at:end]; return where it ends, 0: not yet."""
        # MSG <subject> <sid> [reply] <bytes>, HMSG <subject> <sid> [reply] <of headers> <bytes>
        tokens = data[at:end].split()
        with_headers = len(tokens[0]) == len("HMSG")
        most = 6 if with_headers else 5
        if not most - 1 <= len(tokens) <= most:
            raise ProtocolError(_MALFORMED)
        try:
            sid, size = int(tokens[2]), int(tokens[-1])
            head = int(tokens[-2]) if with_headers else 0
        except ValueError:
            raise ProtocolError(_MALFORMED) from None
        reply = tokens[3] if len(tokens) == most else b""
        begin = end + 2
        stop = begin + size
        if len(data) < stop + 2:
            return 0
        headers, payload = data[begin : begin + head], data[begin + head : stop]
        lane = self.lanes.get(sid)
        if lane is not None:
            lane(Pulled(tokens[1], reply, headers, payload))
        else:
            await self.nc._process_msg(  # noqa: SLF001 - what the library's parser calls
                sid, tokens[1], reply, payload, headers or None
            )
        return stop + 2
