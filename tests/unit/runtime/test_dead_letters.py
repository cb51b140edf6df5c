"""A letter fits into one message, whatever the original was, and says what was left out."""

import datetime as dt
import hashlib

import pytest

from drivewake.contracts.dead import encode_dead
from drivewake.runtime.dead import MAX_BODY_BYTES, MAX_HEADER_CHARS, dead_letter

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("size", [0, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 5 << 20])
def test_a_letter_fits_whatever_the_original_was(size: int) -> None:
    """Body, headers and reason are bounded; what was cut can be known again by its hash."""
    data = b"x" * size
    headers = {"traceparent": "00-aa-bb-01", "odd": "y" * MAX_HEADER_CHARS}
    letter = dead_letter(
        "s", "r" * 10_000, NOW, subject="a.b", data=data, stream="S", headers=headers
    )
    cut = size > MAX_BODY_BYTES
    assert len(encode_dead(letter)) < 1 << 20
    assert {"traceparent": "00-aa-bb-01"} == letter.headers
    whole = (size, hashlib.sha256(data).hexdigest()) if cut else (0, "")
    assert whole == (letter.cut_from_bytes, letter.sha256)
    assert data[:MAX_BODY_BYTES] == letter.original()
    assert bool(letter.unreplayable()) is cut
