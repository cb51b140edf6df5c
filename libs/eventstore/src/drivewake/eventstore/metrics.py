"""What the store's readers and writers tell about themselves."""

from typing import Final

from drivewake.runtime.metrics import SIZE_BUCKETS, Counter, Gauge, Histogram

APPENDED: Final = Counter(
    "store_events",
    meaning="Events given to the store, by what became of them.",
    labels={"outcome": ("stored", "duplicate")},
)
APPEND_S: Final = Histogram(
    "store_append", meaning="Time from giving a batch to the store until it is durable."
)
APPEND_SIZE: Final = Histogram(
    "store_append_size", unit="", meaning="Events in a batch.", buckets=SIZE_BUCKETS
)
RELAYED: Final = Counter("relay_events", meaning="Events published to DRIVE_EVENT.")
RELAY_LAG: Final = Gauge("relay_lag", meaning="Events stored and not yet published.")
RELAY_TROUBLE: Final = Counter(
    "relay_trouble",
    meaning="Publishing attempts that failed and were made again.",
    labels={"reason": ("conflict", "bus", "store", "stream_behind")},
)
PROJECTED: Final = Counter("projection_events", meaning="Events applied by projections.")
PROJECTION_LAG: Final = Gauge(
    "projection_lag",
    meaning="Events stored and not yet applied, of the projection that is furthest behind.",
)
REST: Final = Gauge(
    "store_rest",
    meaning="Events outside of the partition of their month, counted up to 10,000: must be 0.",
)
MONTHS_MISSING: Final = Gauge(
    "store_months_missing", meaning="Partitions of this and the next months that are not there."
)
