"""A dead letter, from the process that buried it, through its cause, to the event it tells."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from drivewake.contracts import subjects
from drivewake.contracts.dead import encode_dead
from drivewake.contracts.events import Event
from drivewake.normalizer.domain.head import EMPTY, encode_head
from drivewake.runtime.bus import Message

if TYPE_CHECKING:
    from tests.integration.normalizer.conftest import World

pytestmark = pytest.mark.slow


def head_of_f1(state: bytes) -> str:
    """Return the query that writes the head of file f1, whatever it was."""
    return (
        "select * from eventstore.advance_heads(array['acme'], array['file'], array['f1'],"
        f" array[-1::bigint], array['\\x{state.hex()}'::bytea])"
    )


def replay(world: "World", *choice: str) -> subprocess.CompletedProcess[str]:
    """Run `drivewake dead replay` as an operator."""
    return subprocess.run(
        [sys.executable, "-m", "drivewake.cli", "dead", "replay", *choice],
        env={
            **os.environ,
            "DRIVEWAKE_NATS_URL": world.nats_url,
            "DRIVEWAKE_NATS_PREFIX": world.bus.link.prefix,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def names(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Return types and subjects in order."""
    return [(event.type, event.subject) for event in events]


async def test_a_letter_whose_cause_is_mended_is_told_once_however_often_it_is_put_back(
    world: "World",
) -> None:
    """A head that cannot be read buries its file's raws; once it is mended they are told.

    Put back twice, as after a crash between publishing and removing, they are told once.
    """
    await world.rows(head_of_f1(b"\0"))
    await world.change(1, "f1", 1)
    await world.change(1, "f2", 1)
    world.normalizer().start()
    assert [("sighting.gained", "f2"), ("file.discovered", "f2")] == names(await world.drained())
    (letter,) = await world.dead()
    assert "the stored head is unreadable" in letter.reason

    still = await asyncio.to_thread(replay, world, "--all")
    assert (0, "1 put back\n") == (still.returncode, still.stdout)
    assert 2 == len(await world.drained())
    (letter,) = await world.dead()

    await world.rows(head_of_f1(encode_head(EMPTY)))
    await world.bus.publish(Message(subject=subjects.dead("normalizer"), data=encode_dead(letter)))
    done = await asyncio.to_thread(replay, world, "--reason", "unreadable")
    assert (0, "2 put back\n") == (done.returncode, done.stdout)
    events = await world.drained()
    assert [("sighting.gained", "f1"), ("file.discovered", "f1")] == names(events[2:])
    assert [] == await world.dead()
