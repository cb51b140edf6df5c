"""Records kept in key-value buckets: what a log is, and which push channels live."""

import datetime as dt
from typing import Literal

import msgspec

LogKind = Literal["user_changes", "drive_changes", "activity"]
LogPhase = Literal["new", "snapshot", "live"]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A listing under way: `start_token` was taken before it, `page_token` is where it stands."""

    id: str
    start_token: str
    started_at: dt.datetime
    page_token: str = ""
    files: int = 0


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bucket `logs`: one log, written by the poller alone by compare-and-set.

    `resource` names what is read at Google (a drive id, a folder), empty for the user's own
    changes. `cursor` is the page token to read next. `claimed_until` fences other pollers.
    `interval_s` is the timer in force; `gap` holds the ids of its open gaps, with commas between.
    A `live` record with a `snapshot` remembers a listing that Google called incomplete.
    """

    tenant: str
    connection: str
    log: str
    kind: LogKind
    resource: str = ""
    phase: LogPhase = "new"
    cursor: str = ""
    snapshot: Snapshot | None = None
    owner: str = ""
    claimed_until: dt.datetime | None = None
    interval_s: float = 60.0
    paused: bool = False
    stopped: bool = False
    last_success_at: dt.datetime | None = None
    last_change_at: dt.datetime | None = None
    next_poll_at: dt.datetime | None = None
    failures: int = 0
    last_error: str = ""
    gap: str = ""


class ErasureRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bucket `erasures`: a tenant, or one of its connections, was to be erased at an instant.

    Kept for ever, and apart from the database: after that was restored to an older day, these
    say what must be erased again.
    """

    id: str
    tenant: str
    asked_at: dt.datetime
    connection: str = ""


ChannelStatus = Literal["opening", "live", "silent", "refused", "stopping", "stopped"]


class ChannelRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bucket `channels`: one push channel, written by webhook alone before it calls `watch`."""

    channel: str
    tenant: str
    connection: str
    log: str
    created_at: dt.datetime
    expires_at: dt.datetime
    status: ChannelStatus = "opening"
    resource: str = ""
    key_id: str = ""
    reason: str = ""
    synced_at: dt.datetime | None = None
    last_message_at: dt.datetime | None = None
