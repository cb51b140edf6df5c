"""What the normalizer counts."""

from typing import Final

from drivewake.runtime.metrics import SIZE_BUCKETS, Counter, Gauge, Histogram

MESSAGES: Final = Counter(
    "normalizer_messages",
    meaning="Messages settled, by what became of them.",
    labels={"outcome": ("decided", "ignored", "dead")},
)
EVENTS: Final = Counter(
    "normalizer_events",
    meaning="Events decided, by whether the store had them already.",
    labels={"outcome": ("stored", "duplicate")},
)
BATCH: Final = Histogram(
    "normalizer_batch",
    meaning="Messages handled at once.",
    unit="",
    buckets=SIZE_BUCKETS,
)
APPEND_DURATION: Final = Histogram(
    "normalizer_append_duration", meaning="Time of one append to the event store."
)
LAG: Final = Histogram(
    "normalizer_lag", meaning="Time from the observation of a raw to its event being durable."
)
RETRIES: Final = Counter(
    "normalizer_retries",
    meaning="Batches decided again or given back, by reason.",
    labels={
        "reason": ("head_moved", "store_away", "bus_away", "blobs_away", "contended", "poison")
    },
)
SWEPT: Final = Counter(
    "normalizer_swept", meaning="Files looked at to end the sightings of a log or connection."
)
ERASED: Final = Counter(
    "normalizer_erased", meaning="Messages passed over because what they are about was erased."
)
BATCH_LIMIT: Final = Gauge(
    "normalizer_batch_limit", meaning="How many messages are taken at once at present."
)
ACTIVE: Final = Gauge(
    "normalizer_active", meaning="How many partitions of raw this replica consumes."
)
BACKLOG: Final = Gauge(
    "normalizer_backlog",
    meaning="Raws of the partitions consumed here that are not settled yet.",
)
RAW_FULLNESS: Final = Gauge(
    "normalizer_raw_fullness",
    unit="ratio",
    meaning="Which share of its size DRIVE_RAW has used; at 1 pollers wait.",
)
TRIMMED: Final = Counter(
    "normalizer_trimmed", meaning="Settled raws that were removed from DRIVE_RAW."
)
