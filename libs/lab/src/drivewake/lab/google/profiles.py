"""How generous this Google is: quota units per minute, push rhythm, latency.

Costs are Google's (Usage limits, in force since 2026-05-01): read 5, list 100, download
200, edit 50, other 5 units. `google-2026` has its limits; `relaxed` multiplies them, so
that a replay at a thousand times real speed meets the limits a real Drive would meet.
"""

import msgspec

COSTS = {"read": 5, "list": 100, "download": 200, "edit": 50, "other": 5}


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one simulated Google.

    Units are per minute. Delays are milliseconds. `push_coalesce_ms` is how long a channel
    gathers changes before it notifies once; 0 notifies for each change. `push_queue` bounds
    what one channel may have waiting: beyond it the oldest notification is dropped, and the
    drop is in the ledger.
    """

    name: str
    project_units_per_min: int
    user_units_per_min: int
    refusal_code: int = 403
    latency_ms: int = 0
    push_delay_ms: int = 0
    push_coalesce_ms: int = 0
    push_queue: int = 1000
    push_attempts: int = 6
    push_retry_base_ms: int = 1000
    push_timeout_ms: int = 10_000


PROFILES = {
    "google-2026": Profile(
        name="google-2026",
        project_units_per_min=1_000_000,
        user_units_per_min=325_000,
        latency_ms=50,
        push_delay_ms=1000,
    ),
    "relaxed": Profile(
        name="relaxed",
        project_units_per_min=1_000_000_000,
        user_units_per_min=325_000_000,
    ),
}
