"""Quota by unit cost: one bucket a project, one a user of a project. The clock is passed in."""

from drivewake.lab.google.errors import over_activity_quota, over_quota
from drivewake.lab.google.profiles import COSTS, LEGACY_COSTS, Profile

_MINUTE_NS = 60_000_000_000


class _Bucket:
    __slots__ = ("at_ns", "left", "limit")

    def __init__(self, limit: int, now_ns: int) -> None:
        self.limit = limit
        self.left = float(limit)
        self.at_ns = now_ns

    def refill(self, now_ns: int) -> None:
        gained = (now_ns - self.at_ns) / _MINUTE_NS * self.limit
        self.left = min(float(self.limit), self.left + max(0.0, gained))
        self.at_ns = now_ns


class Quota:
    """Spends units and refuses when a bucket is empty. `spent` counts units by kind."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._costs = LEGACY_COSTS if profile.by_query else COSTS
        self._activity: dict[tuple[str, str], _Bucket] = {}
        self._projects: dict[str, _Bucket] = {}
        self._users: dict[tuple[str, str], _Bucket] = {}
        self.spent: dict[str, int] = dict.fromkeys(COSTS, 0)
        self.refused = 0

    def spend(self, project: str, user: str, kind: str, now_ns: int) -> None:
        """Pay for one call. Raises ApiError: 403 userRateLimitExceeded, rateLimitExceeded, 429."""
        units = self._costs[kind]
        if kind == "activity":
            self._spend_query(project, user, now_ns)
            return
        by_user = self._users.get((project, user))
        if by_user is None:
            by_user = _Bucket(self._profile.user_units_per_min, now_ns)
            self._users[project, user] = by_user
        by_project = self._projects.get(project)
        if by_project is None:
            by_project = _Bucket(self._profile.project_units_per_min, now_ns)
            self._projects[project] = by_project
        for bucket in (by_user, by_project):
            bucket.refill(now_ns)
            if bucket.left < units:
                self.refused += 1
                code = self._profile.refusal_code
                raise over_quota(per_user=bucket is by_user, code=code)
        by_user.left -= units
        by_project.left -= units
        self.spent[kind] += units

    def _spend_query(self, project: str, user: str, now_ns: int) -> None:
        """Pay for a query of Drive Activity, which Drive's units do not cover."""
        limit = self._profile.activity_per_user_min
        if limit is not None:
            bucket = self._activity.setdefault((project, user), _Bucket(limit, now_ns))
            bucket.refill(now_ns)
            if bucket.left < 1:
                self.refused += 1
                raise over_activity_quota()
            bucket.left -= 1
        self.spent["activity"] += 1
