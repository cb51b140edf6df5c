"""Quota is paid in units, per user and per project, and comes back with time."""

import msgspec
import pytest

from drivewake.lab.google.errors import ApiError
from drivewake.lab.google.profiles import PROFILES
from drivewake.lab.google.quota import Quota

SECOND_NS = 1_000_000_000
TIGHT = msgspec.structs.replace(
    PROFILES["relaxed"], project_units_per_min=250, user_units_per_min=200
)


def test_google_2026_has_googles_limits() -> None:
    """1,000,000 units a minute for a project, 325,000 for a user."""
    google = PROFILES["google-2026"]

    assert (1_000_000, 325_000) == (google.project_units_per_min, google.user_units_per_min)


def test_a_user_is_refused_before_the_project() -> None:
    """Two lists of 100 units fit into 200; a third is 403 userRateLimitExceeded."""
    quota = Quota(TIGHT)
    quota.spend("p", "u", "list", 0)
    quota.spend("p", "u", "list", 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u", "read", 0)

    assert (403, "userRateLimitExceeded", "usageLimits") == (
        caught.value.code,
        caught.value.reason,
        caught.value.domain,
    )


def test_the_project_is_shared_by_its_users() -> None:
    """What others spent is gone: 403 rateLimitExceeded."""
    quota = Quota(TIGHT)
    quota.spend("p", "u", "list", 0)
    quota.spend("p", "v", "list", 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "w", "list", 0)

    assert caught.value.reason == "rateLimitExceeded"


def test_units_return_with_time() -> None:
    """After half a minute half of the units are back."""
    quota = Quota(TIGHT)
    quota.spend("p", "u", "list", 0)
    quota.spend("p", "u", "list", 0)

    quota.spend("p", "u", "list", 30 * SECOND_NS)

    assert quota.spent["list"] == 300


def test_a_profile_may_refuse_with_429() -> None:
    """Google uses both codes."""
    quota = Quota(msgspec.structs.replace(TIGHT, refusal_code=429, user_units_per_min=1))

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u", "read", 0)

    assert (429, "rateLimitExceeded") == (caught.value.code, caught.value.reason)


def test_costs_are_googles() -> None:
    """Quotas: read 5, list 100, download 200, edit 50, other 5 units."""
    quota = Quota(PROFILES["google-2026"])
    for kind in ("read", "list", "download", "edit", "other"):
        quota.spend("p", "u", kind, 0)

    assert {"read": 5, "list": 100, "download": 200, "edit": 50, "other": 5, "activity": 0} == (
        quota.spent
    )


def test_a_user_of_google_2026_has_3250_lists_a_minute() -> None:
    """Quotas: 325,000 units a minute and user; an empty changes.list costs 100 too."""
    quota = Quota(PROFILES["google-2026"])
    for _ in range(3_250):
        quota.spend("p", "u", "list", 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u", "read", 0)
    assert "userRateLimitExceeded" == caught.value.reason
    quota.spend("p", "v", "list", 0)


def test_a_project_of_google_2026_has_10000_lists_a_minute() -> None:
    """Quotas: 1,000,000 units a minute and project, whoever spends them."""
    quota = Quota(PROFILES["google-2026"])
    for number in range(10_000):
        quota.spend("p", f"u{number % 4}", "list", 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u9", "read", 0)
    assert "rateLimitExceeded" == caught.value.reason
    quota.spend("q", "u9", "read", 0)


def test_projects_of_before_keep_12000_queries_a_minute() -> None:
    """Quotas: 12,000 queries per 60 s, project and user, whatever they cost now."""
    quota = Quota(PROFILES["google-2025"])
    for number in range(12_000):
        quota.spend("p", "u", ("download", "list", "read")[number % 3], 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u", "read", 0)
    assert (403, "userRateLimitExceeded") == (caught.value.code, caught.value.reason)


def test_a_refusal_costs_nothing() -> None:
    """Whoever is refused may still afford a cheaper call."""
    quota = Quota(TIGHT)
    quota.spend("p", "u", "list", 0)
    quota.spend("p", "u", "edit", 0)
    for _ in range(3):
        with pytest.raises(ApiError):
            quota.spend("p", "u", "list", 0)

    quota.spend("p", "u", "edit", 0)
    assert (3, 100) == (quota.refused, quota.spent["edit"])


def test_drive_activity_has_a_quota_of_its_own() -> None:
    """Drive Activity: 100 queries a minute and user; Drive's units are not touched."""
    quota = Quota(PROFILES["google-2026"])
    for _ in range(100):
        quota.spend("p", "u", "activity", 0)

    with pytest.raises(ApiError) as caught:
        quota.spend("p", "u", "activity", 0)
    assert (429, "RESOURCE_EXHAUSTED") == (caught.value.code, caught.value.status)
    quota.spend("p", "v", "activity", 0)
    quota.spend("p", "u", "list", 0)
    quota.spend("p", "u", "activity", SECOND_NS)
