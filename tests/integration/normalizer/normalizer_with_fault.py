"""The normalizer, which kills itself before or after the n-th run of one of its steps.

Run as a module with FAULT set to `step:before|after:n`; SIGKILL leaves no time for anything.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from drivewake.eventstore.postgres import PostgresStore
from drivewake.normalizer.__main__ import main
from drivewake.runtime.dead import BusGraveyard
from drivewake.runtime.nats import NatsBus

STEPS: dict[str, tuple[type[Any], str]] = {
    "read heads": (PostgresStore, "heads"),
    "append": (PostgresStore, "append"),
    "ring": (NatsBus, "ring"),
    "ack": (NatsBus, "acknowledge"),
    "bury": (BusGraveyard, "bury"),
    "find sightings": (PostgresStore, "head_ids"),
    "relay": (NatsBus, "publish_batch"),
}


def arm(step: str, when: str, number: int) -> None:
    """Let the step kill the process."""
    owner, name = STEPS[step]
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)
    runs = 0

    async def armed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal runs
        runs += 1
        mine = runs
        if mine == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(*args, **kwargs)
        if mine == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, armed)


if __name__ == "__main__":
    step, when, number = os.environ["FAULT"].split(":")
    arm(step, when, int(number))
    sys.exit(main(["run"]))
