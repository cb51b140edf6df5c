"""Events made ready to append."""

import datetime as dt
import uuid
from typing import Any

import pytest

from drivewake.contracts.events import EVENT_SOURCE, Event, FileRef, FileRenamed
from drivewake.contracts.keys import event_key
from drivewake.eventstore.codec import new_event
from drivewake.normalizer.items import Origin
from drivewake.normalizer.minting import Mint

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
OCCURRED = dt.datetime(2026, 1, 2, 3, 4, 4, tzinfo=dt.UTC)
RENAMED = FileRenamed(
    file=FileRef(id="f1", name="b", mime_type="text/plain", version=2), before="a", after="b"
)
SECRET = b"0123456789abcdef"


@pytest.mark.parametrize("occurred_at", [None, OCCURRED])
@pytest.mark.parametrize("traceparent", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71-01"])
def test_minted_event_is_what_the_stores_codec_makes(
    occurred_at: dt.datetime | None, traceparent: str | None
) -> None:
    """The short way to bytes gives exactly what the codec of the store gives."""
    delivery: Any = None
    origin = Origin(delivery, "t1", "c1", "l1", "raw-1", AT, traceparent)
    key = event_key(SECRET, AT, "t1", "part")
    expected = new_event(
        Event(
            id=str(key),
            source=EVENT_SOURCE,
            type="file.renamed",
            subject="f1",
            time=AT,
            tenant="t1",
            connection="c1",
            data=RENAMED,
            log="l1",
            occurredat=occurred_at,
            cause="raw-1",
            traceparent=traceparent,
        )
    )
    minted = Mint(SECRET).event(
        origin,
        RENAMED,
        subject="f1",
        identity_time=AT,
        parts=("t1", "part"),
        occurred_at=occurred_at,
    )
    assert expected == minted
    assert uuid.UUID(int=key.int) == minted.key
