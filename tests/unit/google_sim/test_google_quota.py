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
