"""Request: a question answered by itself, never coalesced; Answer: what was found, at what cost.

A request travels on DRIVE_REQUEST, its id is the envelope's and the last token of its
subject. What is found is published as raws like everything else; the answer tells how it
went, and replaces itself on DRIVE_ANSWER while the work goes on.
"""

import datetime as dt
from typing import Final, Literal

import msgspec

from drivewake.contracts.envelope import Codec, Envelope

RequestKind = Literal["poll", "file", "folder", "rescan", "activity"]
MAX_DEPTH: Final = 32


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What should be read of a connection.

    - `poll`: every log of the connection, or only `log`, now.
    - `file`: the file `target`, with its permissions, revisions and comments.
    - `folder`: what lies in the folder `target`, `depth` levels down (1: its children).
    - `rescan`: a full listing of every log, or of `log`, beside the live reading.
    - `activity`: what people did from `since` to `until`, below the folder `target` (empty: in
      the whole Drive).
    """

    kind: RequestKind
    requested_at: dt.datetime
    target: str = ""
    log: str = ""
    depth: int = 1
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.kind in {"file", "folder"} and not self.target:
            raise ValueError(f"a request for a {self.kind} names its target")
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"depth is 1 to {MAX_DEPTH}")
        if self.kind == "activity":
            _check_window(self.since, self.until)


def _check_window(since: dt.datetime | None, until: dt.datetime | None) -> None:
    if since is None or until is None or since.tzinfo is None or until.tzinfo is None:
        raise ValueError("a request for activity says since when and until when, with time zone")
    if since >= until:
        raise ValueError("the window of a request for activity ends after its beginning")


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a request goes: `running`, or ended as `done` or `failed` with a reason.

    `found` counts raws published for it, `calls` and `units` what Google was asked and the
    quota units that cost. `reached` is how far a long window has been read.
    """

    request: str
    kind: RequestKind
    state: Literal["running", "done", "failed"]
    at: dt.datetime
    found: int = 0
    calls: int = 0
    units: int = 0
    reason: str = ""
    reached: dt.datetime | None = None


REQUEST_TYPE: Final = "drive.request"
ANSWER_TYPE: Final = "drive.answer"
REQUESTS = Codec(Envelope[Request])
ANSWERS = Codec(Envelope[Answer])
