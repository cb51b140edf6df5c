"""How generous this Google is: quota units per minute, push rhythm, latency.

Costs are Google's (Usage limits, in force since 2026-05-01): read 5, list 100, download
200, edit 50, other 5 units. `google-2026` has its limits, `google-2025` those that projects
of before keep (12,000 queries a minute); `relaxed` multiplies them, so
that a replay at a thousand times real speed meets the limits a real Drive would meet.
"""

import msgspec

COSTS = {"read": 5, "list": 100, "download": 200, "edit": 50, "other": 5, "activity": 1}
LEGACY_COSTS = dict.fromkeys(COSTS, 1)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one simulated Google.

    Units are per minute. Delays are milliseconds. `push_coalesce_ms` is how long a channel
    gathers changes before it notifies once; 0 notifies for each change. `push_queue` bounds
    what one channel may have waiting: beyond it the oldest notification is dropped, and the
    drop is in the ledger. `obeys_robots` asks receivers for their robots.txt, as Google does.

    `by_query` counts calls instead of units, as for projects active from November 2025 to
    April 2026. Drive Activity has a quota of its own, in queries: `activity_per_user_min`
    (100 comes from one project's experience, not from Google). `activity_lag_ms` is how long
    an activity takes to appear; Google's takes minutes.
    """

    name: str
    project_units_per_min: int
    user_units_per_min: int
    activity_per_user_min: int | None = None
    by_query: bool = False
    refusal_code: int = 403
    activity_lag_ms: int = 0
    latency_ms: int = 0
    push_delay_ms: int = 0
    push_coalesce_ms: int = 0
    push_queue: int = 1000
    push_attempts: int = 6
    push_retry_base_ms: int = 1000
    push_timeout_ms: int = 10_000
    obeys_robots: bool = False
    preencoded_pages: bool = False


PROFILES = {
    "google-2026": Profile(
        name="google-2026",
        project_units_per_min=1_000_000,
        user_units_per_min=325_000,
        activity_per_user_min=100,
        activity_lag_ms=60_000,
        latency_ms=50,
        push_delay_ms=1000,
    ),
    "google-2025": Profile(
        name="google-2025",
        project_units_per_min=12_000,
        user_units_per_min=12_000,
        by_query=True,
        activity_per_user_min=100,
        activity_lag_ms=60_000,
        latency_ms=50,
        push_delay_ms=1000,
    ),
    "relaxed": Profile(
        name="relaxed",
        project_units_per_min=1_000_000_000,
        user_units_per_min=325_000_000,
    ),
}
