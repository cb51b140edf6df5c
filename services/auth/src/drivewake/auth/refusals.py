"""Why somebody gets no token."""

from typing import Literal

from drivewake.contracts.rpc import Refusal

Code = Literal[
    "unknown_connection", "not_active", "not_allowed", "scope_missing", "google_unavailable",
    "grant_dead", "invalid_request", "internal",
]  # fmt: skip


class RefusedError(Exception):
    """No token; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def refused(code: Code, reason: str, *, retry: bool) -> RefusedError:
    """Return the error of a refusal."""
    return RefusedError(Refusal(code=code, reason=reason, retry=retry))
