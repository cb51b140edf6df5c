"""What webhook counts."""

from typing import Final

from drivewake.runtime.metrics import SIZE_BUCKETS, Counter, Gauge, Histogram

PUSHES: Final = Counter(
    "webhook_pushes",
    meaning="Notifications received, by what they were.",
    labels={
        "verdict": (
            "poke", "forged", "unknown", "expired", "stopped", "orphan", "look_up",
            "invalid", "too_large", "overload", "no_keys",
        )
    },
)  # fmt: skip
COUNT_POKE: Final = PUSHES.adder(verdict="poke")
"""Counts a genuine push: thousands a second look up no label."""
SIGNALS: Final = Counter(
    "webhook_signals",
    meaning="Signals handed to the broker, by whether it took them.",
    labels={"outcome": ("taken", "failed")},
)
BATCH_POKES: Final = Histogram(
    "webhook_batch_pokes",
    unit="",
    meaning="Pokes answered by one write to the broker.",
    buckets=SIZE_BUCKETS,
)
COMMIT_DURATION: Final = Histogram(
    "webhook_commit_duration", meaning="Time of one write to the broker."
)
POKE_WAIT: Final = Histogram(
    "webhook_poke_wait", meaning="How long the oldest poke of a write waited until it was durable."
)
CHANNELS: Final = Gauge(
    "webhook_channels",
    meaning="Channels in the registry, by status.",
    labels={"status": ("opening", "live", "silent", "refused", "stopping", "stopped")},
)
CALLS: Final = Counter(
    "webhook_google_calls",
    meaning="Calls to Google, by kind and outcome.",
    labels={
        "call": ("watch", "stop"),
        "outcome": ("done", "refused", "unknown", "failed", "gone"),
    },
)
EXPIRING: Final = Gauge(
    "webhook_channels_near_expiry",
    meaning="Living channels within an hour of their end: their successor is overdue.",
)
