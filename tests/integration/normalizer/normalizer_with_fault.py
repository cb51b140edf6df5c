"""The normalizer, with a SIGKILL before or after the n-th run of one of its steps.

Run as a module with FAULT set to `step:before|after:n`. The victim is the process itself, or
the process VICTIM: a server that dies just then. SIGKILL leaves no time for anything.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from asyncpg.connection import Connection
from asyncpg.transaction import Transaction

from drivewake.eventstore import appending
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.relay import Relay
from drivewake.normalizer.__main__ import main
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.nats import NatsBus
from drivewake.runtime.nats_pull import NatsPuller

STEPS: dict[str, tuple[Any, str]] = {
    # In the order of a batch; the indented ones are inside of the append's transaction.
    "reset": (NatsPuller, "reset"),
    "fetch": (NatsPuller, "fetch"),
    "bury": (BusGraveyard, "bury"),
    "read heads": (PostgresStore, "heads"),
    "append": (PostgresStore, "append"),
    "  lock": (appending, "_take_positions"),
    "  advance": (appending, "_advance"),
    "  copy": (Connection, "copy_records_to_table"),
    "  cursors": (appending, "_set_applied"),
    "  commit": (Transaction, "_Transaction__commit"),
    "ring": (NatsBus, "ring"),
    "ack": (NatsBus, "acknowledge"),
    "trim": (NatsBus, "trim"),
    "find sightings": (PostgresStore, "head_ids"),
    "relay": (Relay, "_publish"),
}


def arm(step: str, when: str, number: int, victim: int) -> None:
    """Let the step kill the victim."""
    owner, name = STEPS[step]
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)
    runs = 0

    async def armed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal runs
        runs += 1
        mine = runs
        if mine == number and when == "before":
            os.kill(victim, signal.SIGKILL)
        result = await original(*args, **kwargs)
        if mine == number and when == "after":
            os.kill(victim, signal.SIGKILL)
        return result

    setattr(owner, name, armed)


if __name__ == "__main__":
    step, when, number = os.environ["FAULT"].split(":")
    arm(step, when, int(number), int(os.environ.get("VICTIM", os.getpid())))
    sys.exit(main(["run"]))
