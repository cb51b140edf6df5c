"""What the poller is told from outside."""

import secrets
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from drivewake.gdrive.port import PartKind
from drivewake.gdrive.quota import Budget
from drivewake.poller.domain import Rules
from drivewake.poller.handlers import Bounds
from drivewake.poller.reconciler import Pace
from drivewake.poller.rhythm import Rhythm
from drivewake.poller.windows import Windows
from drivewake.runtime.blobs import checked_url
from drivewake.runtime.settings import ServiceSettings


class PollerSettings(ServiceSettings):
    """Settings of the poller, beside those of every service.

    - `instance`: a name that no other living poller has, kept over restarts (the pod of a
      StatefulSet, say): what a crash left is then taken up at once, not after the lease.
    - `blobs_url`: where messages over 256 KiB are kept, as `s3://bucket/prefix`, `gs://…`, `az://…`
      or `file:///folder`; the same as the normalizer's. Credentials come from the environment
      (AWS_…). Without one, items over 512 KiB become dead letters.
    - `interval_…`, `push_interval_…`: bounds of the timer without and with a push channel.
    - `spacing_s`: least time between two polls of one log, however many pushes come.
    - `drives_s`: how often a user's shared drives are listed without any sign of a change.
    - `google_…`: the quota of the project; replicas share it among them. `day_units` is where
      Google wants to bill for more, 0 for no such limit.
    - `activity_…`: how far its windows overlap, how far they stay behind now, and when a gap is
      first tried again.
    - `enrich`: what is read of changed files beside the files themselves; `activity`: whether
      activity is read of connections that allow it.
    """

    nats_user: str = "poller"
    blobs_url: str = ""
    instance: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    google_api_url: str = "https://www.googleapis.com"
    google_debug: bool = False
    google_user_units_per_min: float = Field(default=325_000, gt=0)
    google_project_units_per_min: float = Field(default=1_000_000, gt=0)
    google_day_units: float = Field(default=400_000_000, ge=0)
    google_activity_url: str = ""
    enrich: tuple[PartKind, ...] = ("permissions", "revisions", "comments")
    activity: bool = True
    activity_overlap_s: float = Field(default=300.0, ge=0)
    activity_settle_s: float = Field(default=60.0, ge=0)
    activity_gap_retry_s: float = Field(default=600.0, gt=0)
    page_size: int = Field(default=1000, ge=1, le=1000)
    interval_floor_s: float = Field(default=10.0, ge=0.1)
    interval_ceiling_s: float = Field(default=300.0, ge=0.1)
    push_interval_floor_s: float = Field(default=60.0, ge=0.1)
    push_interval_ceiling_s: float = Field(default=900.0, ge=0.1)
    spacing_s: float = Field(default=0.02, ge=0.0, le=60.0)
    drives_s: float = Field(default=86_400.0, gt=0)
    lease_s: float = Field(default=10.0, ge=2.0, le=120.0)
    concurrency: int = Field(default=64, ge=1, le=1024)
    connection_concurrency: int = Field(default=4, ge=1, le=64)
    request_concurrency: int = Field(default=8, ge=1, le=256)
    reconcile_s: float = Field(default=30.0, ge=0.1)
    overdue_s: float = Field(default=60.0, ge=0.1)

    @field_validator("google_api_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ValueError("must be http(s)://HOST[:PORT]")
        return value.rstrip("/")

    @field_validator("blobs_url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        return checked_url(url) if url else ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.interval_floor_s > self.interval_ceiling_s:
            raise ValueError(
                "the value of DRIVEWAKE_INTERVAL_FLOOR_S is above DRIVEWAKE_INTERVAL_CEILING_S"
            )
        if self.push_interval_floor_s > self.push_interval_ceiling_s:
            raise ValueError(
                "the value of DRIVEWAKE_PUSH_INTERVAL_FLOOR_S is above "
                "DRIVEWAKE_PUSH_INTERVAL_CEILING_S"
            )
        return self

    def owner(self) -> str:
        """Return the name under which this process claims logs."""
        return self.instance or f"poller-{secrets.token_hex(8)}"

    def rules(self) -> Rules:
        """Return the bounds of turns."""
        return Rules(lease_s=self.lease_s, spacing_s=self.spacing_s, drives_s=self.drives_s)

    def rhythm(self) -> Rhythm:
        """Return the bounds of timers."""
        return Rhythm(
            floor_s=self.interval_floor_s,
            ceiling_s=self.interval_ceiling_s,
            push_floor_s=self.push_interval_floor_s,
            push_ceiling_s=self.push_interval_ceiling_s,
        )

    def windows(self) -> Windows:
        """Return how activity is read."""
        return Windows(
            overlap_s=self.activity_overlap_s,
            settle_s=self.activity_settle_s,
            gap_retry_s=self.activity_gap_retry_s,
        )

    def bounds(self) -> Bounds:
        """Return how much is done at once."""
        return Bounds(
            polls=self.concurrency,
            per_connection=self.connection_concurrency,
            waiting=self.concurrency,
        )

    def pace(self) -> Pace:
        """Return how logs are repaired."""
        return Pace(first_s=self.lease_s + 1, every_s=self.reconcile_s, grace_s=self.overdue_s)

    def budget(self) -> Budget:
        """Return the quota of the project."""
        return Budget(
            user_per_min=self.google_user_units_per_min,
            project_per_min=self.google_project_units_per_min,
            day_units=self.google_day_units,
        )
