"""Raw: one item as Google returned it, verbatim, with its provenance."""

import datetime as dt
from typing import Literal

import msgspec

from drivewake.contracts.envelope import Codec, Envelope

Source = Literal[
    "changes", "snapshot", "file", "drive", "permissions", "revisions", "comments", "activity",
    "log",
]  # fmt: skip
"""Which question Google answered, and so what `body` and `item` are:

source        body, verbatim                                     item
changes       Change of drive.v3, of a file or a shared drive    id of the file or drive
snapshot      File of a full listing                             id of the file
file          File that was asked for by itself                  id of the file
drive         Drive of `drives.list` or `drives.get`             id of the drive
permissions   PermissionList, joined over its pages, complete    id of the file
revisions     Revision                                           id of its file
comments      Comment with all its replies, deleted ones too     id of its file
activity      DriveActivity, once for each of its targets        id of the target's file, or of the
                                                                 connection if it has none
log           LogFact (not of Google)                            id of the log
"""


class Raw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One observation.

    - `item`: what is observed, as `Source` says; it decides the partition.
    - `cursor`: the page token this item was read at; `request`: fingerprint of the call.
    - `observed_at`: UTC instant just before Google was asked: the item is at least as new.
    - `log`: whose change made it known, or whose listing would show it.
    - `snapshot`: id of the snapshot the item belongs to.
    - `version`: of `permissions`, which say none themselves, the file's version that was known
      when they were asked for: without it, they give way to any that came with a version.
    - `ordinal`: of `activity`, how many activities with the same bytes and item stood before
      this one in the window: an instant is read whole, so it is the same in every window.
    """

    source: Source
    log: str
    item: str
    observed_at: dt.datetime
    body: msgspec.Raw
    cursor: str = ""
    request: str = ""
    snapshot: str = ""
    version: int = 0
    ordinal: int = 0


class LogFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact of a whole log, published once into every partition after its raws.

    `snapshot_started` carries the snapshot; `snapshot_completed` too, with the count of
    files listed, and of shared drives if those were listed in it too, as raws of source
    `drive` (whoever is not among them has left). Gaps carry their id, what is missing, and
    between which instants.
    """

    fact: Literal["snapshot_started", "snapshot_completed", "gap_opened", "gap_closed"]
    started_at: dt.datetime
    snapshot: str = ""
    gap: str = ""
    files: int = 0
    drives: int | None = None
    reason: str = ""
    missing_from: dt.datetime | None = None
    missing_to: dt.datetime | None = None


RAW_TYPE = "drive.raw"
RAWS = Codec(Envelope[Raw])
