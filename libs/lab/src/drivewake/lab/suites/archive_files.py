"""What every place for an archive must do; run against each.

Use: subclass `FilesContract` in a test file, with a fixture `files` that gives an empty one.
"""

import asyncio
from contextlib import suppress

import pytest

from drivewake.eventstore.archive.files import Files
from drivewake.eventstore.errors import ArchiveError

NAME = "events/2026-01/1/lane-0/00000000000000000001.jsonl.zst"
LARGE = 12 << 20
"""More than object storage takes in one part."""


class FilesContract:
    """The promises of `drivewake.eventstore.archive.files.Files`, one by one."""

    @pytest.mark.parametrize("size", [0, 1, 300_000, LARGE])
    async def test_file_comes_back_as_it_was_put(self, files: Files, size: int) -> None:
        """Nothing, little or much: the same bytes, up to the very limit."""
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        await files.put(NAME, data)
        assert data == await files.get(NAME, limit_bytes=size)

    async def test_file_is_replaced_whole(self, files: Files) -> None:
        """Who reads meanwhile sees the one or the other; in the end there is the last."""
        versions = [letter * LARGE for letter in (b"a", b"b")]
        await files.put(NAME, versions[0])
        putting = asyncio.create_task(files.put(NAME, versions[1]))
        seen = []
        while not putting.done():
            seen.append(await files.get(NAME, limit_bytes=LARGE))
        await putting
        seen.append(await files.get(NAME, limit_bytes=LARGE))
        assert versions[1] == seen[-1]
        assert all(one in versions for one in seen)

    async def test_writer_that_is_cut_off_leaves_what_was(self, files: Files) -> None:
        """A file that is given up half-way is not there; the one of before is."""
        await files.put(NAME, b"before")
        for delay_s in (0.0, 0.002, 0.01):
            with suppress(TimeoutError):
                await asyncio.wait_for(files.put(NAME, bytes(LARGE)), delay_s)
            found = await files.get(NAME, limit_bytes=LARGE)
            assert found in (b"before", bytes(LARGE))

    async def test_absent_file_is_missing_by_name(self, files: Files) -> None:
        """The error says which."""
        await files.put(NAME, b"x")
        with pytest.raises(ArchiveError, match=r"lane-0/2\.zst is missing from the archive"):
            await files.get("events/2026-01/1/lane-0/2.zst", limit_bytes=10)

    async def test_larger_file_than_was_written_is_refused(self, files: Files) -> None:
        """One byte too many is no file of ours; it is not read into memory."""
        await files.put(NAME, bytes(1001))
        with pytest.raises(ArchiveError, match="not the file that was written"):
            await files.get(NAME, limit_bytes=1000)
