"""Changes to log records from outside their turns, whoever writes at the same time."""

from collections.abc import Callable
from typing import Final

from drivewake.contracts.records import LogRecord
from drivewake.poller.ports import Held, Logs, key_of
from drivewake.runtime.errors import BusUnavailableError, ConflictError

MAX_CONFLICTS: Final = 20


async def rewrite(
    logs: Logs, held: Held, change: Callable[[Held], LogRecord | None]
) -> LogRecord | None:
    """Save what `change` makes of a record; return it, None if there was nothing to change.

    Raises BusError; BusUnavailableError also if others write without end.
    """
    key = key_of(held.record)
    current = held
    for _ in range(MAX_CONFLICTS):
        record = change(current)
        if record is None:
            return None
        try:
            return (await logs.save(current, record)).record
        except ConflictError:
            current = await logs.read(key) or Held(record=held.record, revision=0)
    raise BusUnavailableError(f"the log record {key} changes too often")
