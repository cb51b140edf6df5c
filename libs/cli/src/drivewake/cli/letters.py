"""Dead letters as an operator works on them: chosen, put back, dropped."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.dead import DeadLetter, decode_dead
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.subjects import Stream
from drivewake.runtime.bus import Message, StoredMessage
from drivewake.runtime.errors import BusError, BusUnavailableError, ConflictError
from drivewake.runtime.nats import NatsBus

ATTEMPTS: Final = 5
"""How often a connection's state is put back anew because others changed meanwhile."""


class Remover(Protocol):
    """Removes single messages."""

    async def erase(self, stream: Stream, sequence: int) -> None:
        """Remove one message for good; nothing happens if it is gone."""
        ...


class Found(msgspec.Struct, frozen=True):
    """A message of DRIVE_DEAD; `letter` None: it is none, or of a newer version."""

    id: int
    at: dt.datetime
    letter: DeadLetter | None
    data: bytes


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters: of these ids (none: any), service, words in the reason, time."""

    ids: tuple[int, ...] = ()
    service: str = ""
    reason: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def takes(self, found: Found) -> bool:
        """Say whether a letter is among them; what cannot be read has no service and reason."""
        letter = found.letter
        if self.ids and found.id not in self.ids:
            return False
        if self.since is not None and found.at < self.since:
            return False
        if self.until is not None and found.at >= self.until:
            return False
        if letter is None:
            return not (self.service or self.reason)
        if self.service not in {"", letter.service}:
            return False
        return self.reason.casefold() in letter.reason.casefold()


async def chosen(bus: NatsBus, choice: Choice) -> AsyncIterator[Found]:
    """Yield the letters that are there now, oldest first."""
    start = min(choice.ids, default=1)
    left = set(choice.ids)
    messages = bus.follow(subjects.DEAD.name, from_sequence=start)
    async with contextlib.aclosing(messages):
        async for message in messages:
            if message is None:
                return
            found = _read(message)
            left.discard(found.id)
            if choice.takes(found):
                yield found
            if choice.ids and not left:
                return


def _read(message: StoredMessage) -> Found:
    try:
        letter = decode_dead(message.data)
    except InvalidMessageError:
        letter = None
    return Found(message.sequence, message.time, letter, message.data)


async def put_back(bus: NatsBus, remover: Remover, found: Found) -> str:
    """Publish the original where it came from, then remove the letter.

    Returns why it could not be, "" if it was. A crash between the two leaves the letter:
    putting it back again has no effect beyond the first.
    """
    letter = found.letter
    if letter is None:
        return "it is no letter that this version can read"
    if reason := letter.unreplayable():
        return reason
    try:
        if letter.stream == subjects.CONNECTION.name:
            reason = await _put_back_state(bus, letter)
        else:
            await bus.publish(_original(letter))
    except BusUnavailableError:
        raise
    except BusError as error:
        return str(error)
    if not reason:
        await remover.erase(subjects.DEAD, found.id)
    return reason


async def _put_back_state(bus: NatsBus, letter: DeadLetter) -> str:
    """Publish a connection's state again, unless a newer one stands in its place by now.

    The last message of the subject is the connection for all who read: an old state must
    never become that.
    """
    for _ in range(ATTEMPTS):
        newest = await bus.last_sequence(letter.stream)
        last = await bus.last(letter.stream, letter.subject)
        if last is not None and last.data != letter.original():
            return "the connection has a newer state: drop the letter"
        try:
            await bus.publish(_original(letter), expected_last=newest)
        except ConflictError:
            continue
        return ""
    return "connections change too fast: try again"


def _original(letter: DeadLetter) -> Message:
    return Message(subject=letter.subject, data=letter.original(), headers=letter.headers)
