"""A folder and a server that speaks S3 are places for an archive."""

from pathlib import Path

import pytest

from drivewake.eventstore.archive.files import Files, Folder, ObjectFiles, open_files
from drivewake.eventstore.errors import ArchiveUnavailableError
from drivewake.lab.servers import free_port
from drivewake.lab.suites.archive_files import FilesContract


class TestFolder(FilesContract):
    """The contract, in a folder that is made first."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        """An empty archive."""
        return open_files(f"file://{tmp_path}/an%20archive")


class TestObjectFiles(FilesContract):
    """The contract, over HTTP."""

    @pytest.fixture
    def files(self, bucket: str) -> Files:
        """An empty archive."""
        return open_files(bucket)


def test_address_says_what_is_opened(bucket: str, tmp_path: Path) -> None:
    """A folder is written by us, who flush it; all else by the library."""
    folder = open_files(f"file://{tmp_path}/an%20archive")
    assert isinstance(folder, Folder)
    assert tmp_path / "an archive" == folder.path
    assert isinstance(open_files(bucket), ObjectFiles)


@pytest.mark.parametrize(
    "url",
    ["", "/mnt/archive", "memory:", "file://mnt/archive", "file:///", "s3:///x", "s3://k:secret@b"],
)
def test_what_is_no_place_is_refused_without_being_repeated(url: str) -> None:
    """A path, memory, a forgotten slash or bucket, a password."""
    with pytest.raises(ValueError, match=r".") as caught:
        open_files(url)
    assert "secret" not in str(caught.value)


async def test_place_that_is_away_is_unavailable(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one error everywhere; it names the file, and no secret and no address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "a-file").touch()
    for url in (bucket, f"file://{tmp_path}/a-file"):
        files = open_files(url)
        for attempt in (files.put("a/b/x", b""), files.get("a/b/x", limit_bytes=1)):
            with pytest.raises(ArchiveUnavailableError, match="x cannot be") as caught:
                await attempt
            assert "127.0.0.1" not in str(caught.value)
            assert "canary" not in str(caught.value)
