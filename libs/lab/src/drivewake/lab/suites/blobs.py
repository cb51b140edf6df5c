"""What every place for blobs must do; run against each.

Use: subclass `BlobsContract` in a test file, with a fixture `blobs` that gives an empty one.
"""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
import datetime as dt

import pytest

from drivewake.runtime.blobs import Blobs
from drivewake.runtime.errors import BlobMissingError, BlobTooLargeError


async def names(blobs: Blobs, prefix: str) -> list[str]:
    """Return the names below a prefix, sorted."""
    return sorted([info.name async for info in blobs.list(prefix)])


class BlobsContract:
    """The promises of `drivewake.runtime.blobs.Blobs`, one by one."""

    @pytest.mark.parametrize("size", [0, 1, 300_000, 12 << 20])
    async def test_blob_comes_back_as_it_was_kept(self, blobs: Blobs, size: int) -> None:
        """Nothing, little or much: the same bytes."""
        data = bytes(range(256)) * (size // 256 + 1)
        await blobs.put("t/c/one", data[:size])
        assert data[:size] == await blobs.get("t/c/one", limit_bytes=size)

    async def test_blob_of_the_same_name_is_replaced(self, blobs: Blobs) -> None:
        """The last one counts, whole."""
        await blobs.put("t/c/one", b"a long first one")
        await blobs.put("t/c/one", b"second")
        assert b"second" == await blobs.get("t/c/one", limit_bytes=100)

    async def test_absent_blob_is_missing(self, blobs: Blobs) -> None:
        """It has its own error; removing it again is no error."""
        await blobs.put("t/c/one", b"x")
        await blobs.delete("t/c/one")
        await blobs.delete("t/c/one")
        with pytest.raises(BlobMissingError):
            await blobs.get("t/c/one", limit_bytes=10)

    async def test_too_large_blob_is_refused(self, blobs: Blobs) -> None:
        """One byte more than asked for is too much."""
        await blobs.put("t/c/one", bytes(1001))
        with pytest.raises(BlobTooLargeError):
            await blobs.get("t/c/one", limit_bytes=1000)

    async def test_listing_is_by_whole_parts_of_names(self, blobs: Blobs) -> None:
        """A tenant's listing holds no other whose id begins alike; all pages are listed."""
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
        mine = [f"t/c/{number:04}" for number in range(1100)]
        others = ["t/cc/x", "tt/c/x"]
        for start in range(0, len(mine), 50):
            await asyncio.gather(*(blobs.put(name, b"xy") for name in mine[start : start + 50]))
        await asyncio.gather(*(blobs.put(name, b"xy") for name in others))
        assert mine == await names(blobs, "t/c")
        assert [*mine, "t/cc/x"] == await names(blobs, "t")
        assert sorted([*mine, *others]) == await names(blobs, "")
        (info,) = [info async for info in blobs.list("tt")]
        assert 2 == info.size_bytes
        assert before < info.modified_at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)

    async def test_nothing_is_listed_below_nothing(self, blobs: Blobs) -> None:
        """An unknown prefix is an empty listing."""
        assert [] == await names(blobs, "t/nobody")
