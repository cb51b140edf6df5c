"""Raw: one item as Google returned it, verbatim, with its provenance."""

import datetime as dt
from typing import Literal

import msgspec

from drivewake.contracts.envelope import Codec, Envelope

Source = Literal["changes", "snapshot", "activity", "permissions", "revisions", "comments", "log"]


class Raw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One observation.

    - `item`: id of the observed file, or of the log for facts of a whole log.
    - `cursor`: the page token this item was read at; `request`: fingerprint of the call.
    - `observed_at`: UTC instant just before Google was asked: the item is at least as new.
    - `body`: for `changes` one Change resource, for `snapshot` one File resource, both of
      drive v3; for `log` a LogFact.
    - `snapshot`: id of the snapshot the item belongs to.
    """

    source: Source
    log: str
    item: str
    observed_at: dt.datetime
    body: msgspec.Raw
    cursor: str = ""
    request: str = ""
    snapshot: str = ""


class LogFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact of a whole log, published once into every partition after its raws.

    `snapshot_started` carries the snapshot; `snapshot_completed` too, with the count of
    files listed; gaps carry their id, what is missing, and between which instants.
    """

    fact: Literal["snapshot_started", "snapshot_completed", "gap_opened", "gap_closed"]
    started_at: dt.datetime
    snapshot: str = ""
    gap: str = ""
    files: int = 0
    reason: str = ""
    missing_from: dt.datetime | None = None
    missing_to: dt.datetime | None = None


RAW_TYPE = "drive.raw"
RAWS = Codec(Envelope[Raw])
