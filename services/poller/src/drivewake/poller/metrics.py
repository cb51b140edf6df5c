"""What the poller counts."""

from typing import Final

from drivewake.runtime import metrics

OUTCOMES: Final = (
    "done",
    "yielded",
    "failed",
    "given_back",
    "stopped",
    "paused",
    "backing_off",
    "early",
    "unknown_log",
    "not_active",
)
POLLS: Final = metrics.Counter(
    "poller_polls", meaning="Signals handled, by what came of them.", labels={"outcome": OUTCOMES}
)
PAGES: Final = metrics.Counter(
    "poller_pages",
    meaning="Pages read from Google and published.",
    labels={"source": ("changes", "snapshot")},
)
RAWS: Final = metrics.Counter("poller_raws", meaning="Messages published to DRIVE_RAW.")
TURN: Final = metrics.Histogram(
    "poller_turn", meaning="Time from a claim to its release, one turn of one log."
)
GAPS: Final = metrics.Counter("poller_gaps", meaning="Gaps opened.")
REPAIRS: Final = metrics.Counter(
    "poller_repairs",
    meaning="Logs signalled by the reconciler.",
    labels={"reason": ("abandoned", "late")},
)
IN_FLIGHT: Final = metrics.Gauge("poller_in_flight", meaning="Logs being polled now.")
WAITING: Final = metrics.Gauge(
    "poller_waiting", meaning="Signals fetched that wait for their turn."
)
LOGS: Final = metrics.Gauge("poller_logs", meaning="Log records known.")
