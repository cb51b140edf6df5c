"""Records kept in key-value buckets: what a log is, and which push channels live."""

import datetime as dt
from typing import Literal

import msgspec

LogKind = Literal["user_changes", "drive_changes", "activity"]
LogPhase = Literal["new", "snapshot", "live"]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A listing under way beside the reading of changes.

    `page_token` is where it stands, `pages` how many were read, `read_at` at which of them
    changes were last read to their end. `drives` counts the shared drives listed in it.
    """

    id: str
    started_at: dt.datetime
    page_token: str = ""
    pages: int = 0
    read_at: int = 0
    files: int = 0
    drives: int | None = None


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gap that is open: what is missing, and when it is tried again.

    Of activity, `actions` (space-separated action cases, empty: all) and `item` (empty: the
    whole log) say what could not be read in the window.
    """

    id: str
    reason: str = ""
    missing_from: dt.datetime | None = None
    missing_to: dt.datetime | None = None
    actions: str = ""
    item: str = ""
    tries: int = 0
    retry_at: dt.datetime | None = None


class Slice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a closed window of activity that is still to be read.

    Bounds are milliseconds since 1970 (after `after_ms`, up to and with `until_ms`).
    `item` is asked for by itself, `folder` with all below it; both empty: the log's own
    folder. `gap` is the id of the gap that this slice would close. `alike` counts, by their
    digest, activities of the instant at which the last page ended.
    """

    after_ms: int
    until_ms: int
    page_token: str = ""
    actions: str = ""
    item: str = ""
    folder: str = ""
    tries: int = 0
    gap: str = ""
    alike: dict[str, int] = {}


class Pending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """A changed file whose `parts` (letters: p, r, c) are still to be read."""

    file: str
    parts: str
    mark: str = ""


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bucket `logs`: one log, written by the poller alone by compare-and-set.

    `resource` names what is read at Google (a drive id, a folder), empty for the user's own
    changes. `cursor` is the page token to read next. `claimed_until` fences other pollers.
    `interval_s` is the timer in force before it is stretched to the quota.

    - `phase`: `new` until a start token is there, `snapshot` during the first listing, `live`
      after it. `snapshot` is a listing under way, in either of the latter two; changes are
      read meanwhile. `relist_at`: when the next listing is due.
    - `left`: the shared drive is not the principal's any more; `drives_at`: when a user's
      log last listed its shared drives.
    - `slices`, `requery_at`: of activity, what is left of the window under way, and when the
      last days are read again. `cursor` is then milliseconds since 1970.
    - `pending`: changed files whose permissions, revisions and comments are still to be read;
      `fresh_first`: changes are looked at before any more of them.
    - `raws`, `calls`, `units`: how many raws the log has given, and what that has cost.
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
    gaps: tuple[Gap, ...] = ()
    relist_at: dt.datetime | None = None
    left: bool = False
    drives_at: dt.datetime | None = None
    slices: tuple[Slice, ...] = ()
    requery_at: dt.datetime | None = None
    pending: tuple[Pending, ...] = ()
    fresh_first: bool = False
    raws: int = 0
    calls: int = 0
    units: int = 0


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
