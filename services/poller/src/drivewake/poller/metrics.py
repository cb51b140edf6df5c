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
PART_KINDS: Final = ("permissions", "revisions", "comments")
SOURCES: Final = ("changes", "snapshot", "file", "activity", *PART_KINDS)
POLLS: Final = metrics.Counter(
    "poller_polls", meaning="Signals handled, by what came of them.", labels={"outcome": OUTCOMES}
)
PAGES: Final = metrics.Counter(
    "poller_pages",
    meaning="Pages read from Google and published.",
    labels={"source": SOURCES},
)
PARTS: Final = metrics.Counter(
    "poller_parts",
    meaning="Lists of permissions, revisions or comments read whole.",
    labels={"part": PART_KINDS},
)
REFUSED_PARTS: Final = metrics.Counter(
    "poller_refused_parts",
    meaning="Such lists that Google refuses for good: gone, or not for this viewer.",
    labels={"part": PART_KINDS},
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
REQUESTS: Final = metrics.Counter(
    "poller_requests",
    meaning="Requests answered.",
    labels={
        "kind": ("poll", "file", "folder", "rescan", "activity"),
        "state": ("done", "failed"),
    },
)
REPLICAS: Final = metrics.Gauge(
    "poller_replicas", meaning="Pollers that live and share the project's quota."
)
STRETCH: Final = metrics.Gauge(
    "poller_stretch",
    unit="ratio",
    meaning="How far timers are stretched so that all logs fit into the quota.",
)
FAILING: Final = metrics.Gauge(
    "poller_failing_logs", meaning="Logs that failed five times in a row or more."
)
SILENT: Final = metrics.Gauge(
    "poller_silent_logs", meaning="Logs whose poll is a quarter of an hour late or more."
)
OPEN_GAPS: Final = metrics.Gauge("poller_open_gaps", meaning="Gaps that are open now.")
UNITS: Final = metrics.Counter(
    "poller_quota", unit="units", meaning="Quota units spent, of Drive's kind."
)
QUOTA_WAITS: Final = ("user", "project", "day", "activity", "refused")
QUOTA_WAITING: Final = metrics.Gauge(
    "poller_quota_waiting",
    meaning="Calls that wait for the quota, by what they wait for.",
    labels={"what": QUOTA_WAITS},
)
