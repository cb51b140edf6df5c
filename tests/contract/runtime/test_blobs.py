"""Memory, a folder and a server that speaks S3 are places for blobs."""

from pathlib import Path

import pytest

from drivewake.lab.servers import free_port
from drivewake.lab.suites.blobs import BlobsContract
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.errors import BlobMissingError, BlobUnavailableError, ConfigurationError


class TestBlobsInMemory(BlobsContract):
    """The contract, in memory."""

    @pytest.fixture
    def blobs(self) -> ObjectBlobs:
        """An empty place."""
        return ObjectBlobs.open("memory:")


class TestBlobsInFolder(BlobsContract):
    """The contract, in a folder that is made first."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> ObjectBlobs:
        """An empty place."""
        return ObjectBlobs.open(f"file://{tmp_path}/a/b")


class TestBlobsInS3(BlobsContract):
    """The contract, over HTTP."""

    @pytest.fixture
    def blobs(self, bucket: str) -> ObjectBlobs:
        """An empty place."""
        return ObjectBlobs.open(bucket)


async def test_prefixes_of_one_bucket_are_apart(bucket: str) -> None:
    """Two installations can share a bucket."""
    mine, other = ObjectBlobs.open(bucket), ObjectBlobs.open(f"{bucket}-2")
    await mine.put("t/c/x", b"1")
    assert [] == [info async for info in other.list("")]
    with pytest.raises(BlobMissingError):
        await other.get("t/c/x", limit_bytes=10)


async def test_server_that_is_away_is_unavailable(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one word for every method, and says no secret and no address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    blobs = ObjectBlobs.open(bucket)
    for attempt in (blobs.put("t/c/x", b""), blobs.get("t/c/x", limit_bytes=1), blobs.delete("x")):
        with pytest.raises(BlobUnavailableError) as caught:
            await attempt
        assert "127.0.0.1" not in str(caught.value)
        assert "canary" not in str(caught.value)
    with pytest.raises(BlobUnavailableError):
        _ = [info async for info in blobs.list("")]


@pytest.mark.parametrize("url", ["", "bucket", "ftp://x/y", "s3://key:secret@bucket", "s3://"])
def test_bad_address_is_refused_without_being_repeated(url: str) -> None:
    """The error says what an address looks like."""
    with pytest.raises(ConfigurationError) as caught:
        ObjectBlobs.open(url)
    assert "secret" not in str(caught.value)
