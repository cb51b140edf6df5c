"""How far timers must be stretched so that all logs fit into the quota. Pure but for its memory."""

from typing import Final

from drivewake.contracts.records import LogRecord
from drivewake.gdrive.quota import LIST_UNITS, Budget

MAX_STRETCH: Final = 100.0
MINUTES_A_DAY: Final = 1440


def planned_per_min(record: LogRecord) -> float:
    """Return the units a minute that a log's timer would spend if nothing stretched it."""
    if record.stopped or record.paused or record.kind == "activity":
        return 0.0
    return LIST_UNITS * 60 / max(record.interval_s, 1.0)


def timers_per_min(budget: Budget) -> float:
    """Return the units a minute that timers may spend, the reserve left out."""
    per_min = budget.project_per_min
    if budget.day_units:
        per_min = min(per_min, budget.day_units / MINUTES_A_DAY)
    return per_min * (1 - budget.reserve)


class Pressure:
    """What all timers together want, set against the project's budget.

    Every replica knows every log's record, and so comes to the same stretch by itself.
    """

    def __init__(self, budget: Budget) -> None:
        self._affordable = timers_per_min(budget)
        self.stretch = 1.0

    def tell(self, planned: float) -> None:
        """Learn what all logs plan, in units a minute."""
        self.stretch = min(max(planned / self._affordable, 1.0), MAX_STRETCH)
