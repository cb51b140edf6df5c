"""Port of the place for what is too large for a message, and its adapter over object storage.

`ObjectBlobs` speaks to S3 (and what speaks like it), Google's and Azure's storage, a local
folder, or memory, all by obstore; `drivewake.lab.suites.blobs` is what each must do. Its calls
block, in threads of ours: those of obstore that can be awaited answer from a thread of Rust,
which aborts the whole process if that happens while the interpreter ends (tried with obstore
on Python 3.11: 4 of 10 short commands).
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, from_url

from drivewake.runtime.errors import (
    BlobMissingError,
    BlobTooLargeError,
    BlobUnavailableError,
    ConfigurationError,
)

CHUNK_BYTES: Final = 1 << 20
PAGE: Final = 500
SCHEMES: Final = frozenset({"s3", "gs", "az", "abfs", "file", "memory"})
_CLIENT: Final[Mapping[str, Any]] = {
    "timeout": dt.timedelta(seconds=30),
    "connect_timeout": dt.timedelta(seconds=5),
    "allow_http": True,  # decided by the endpoint's own address
}
_RETRY: Final[Mapping[str, Any]] = {
    "max_retries": 2,
    "retry_timeout": dt.timedelta(seconds=20),
}


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A blob as a listing shows it."""

    name: str
    size_bytes: int
    modified_at: dt.datetime


class Blobs(Protocol):
    """Bytes by name: `a/b/c`, relative, without dots. May raise BlobUnavailableError: try later.

    Safe to share between tasks.
    """

    async def put(self, name: str, data: bytes) -> None:
        """Keep a blob; returning means that it is kept. One of that name is replaced whole."""
        ...

    async def get(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a blob; BlobMissingError, or BlobTooLargeError before the limit is passed."""
        ...

    async def delete(self, name: str) -> None:
        """Remove a blob; nothing happens if there is none."""
        ...

    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Iterate over the blobs below `prefix` (whole parts of a name), in no order."""
        ...


def checked_url(url: str) -> str:
    """Return the address of a place for blobs; raise ValueError if it can be none."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or parts.username or parts.password:
        known = ", ".join(sorted(SCHEMES))
        raise ValueError(f"must begin with one of {known}, and hold no password")
    return url


class ObjectBlobs:
    """Blobs in object storage, a folder or memory."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - a union of obstore's classes
        self._store = store

    @classmethod
    def open(cls, url: str) -> "ObjectBlobs":
        """Return the blobs at an address; credentials come from the environment (AWS_…).

        `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///folder` (made if absent), `memory:`.
        Raises ConfigurationError, without asking anybody.
        """
        try:
            parts = urlsplit(checked_url(url))
            if parts.scheme == "memory":
                return cls(MemoryStore())
            if parts.scheme == "file":
                return cls(LocalStore(prefix=Path(parts.path), mkdir=True))
            return cls(
                from_url(url, client_options=dict(_CLIENT), retry_config=dict(_RETRY))  # type: ignore[call-overload]
            )
        except ValueError as error:
            raise ConfigurationError(f"the address of the place for blobs: {error}") from None
        except (BaseError, OSError) as error:
            kind = type(error).__name__
            raise ConfigurationError(f"the place for blobs cannot be used: {kind}") from None

    async def put(self, name: str, data: bytes) -> None:
        """See Blobs."""
        with _translated():
            await asyncio.to_thread(obstore.put, self._store, name, data)

    async def get(self, name: str, *, limit_bytes: int) -> bytes:
        """See Blobs. Read in chunks: what the store says of the size is not believed."""
        with _translated():
            try:
                return await asyncio.to_thread(self._read, name, limit_bytes)
            except (NotFoundError, FileNotFoundError) as error:
                raise BlobMissingError from error

    def _read(self, name: str, limit_bytes: int) -> bytes:
        found = bytearray()
        result = obstore.get(self._store, name)
        if result.meta["size"] > limit_bytes:
            raise BlobTooLargeError
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            found += chunk
            if len(found) > limit_bytes:
                raise BlobTooLargeError
        return bytes(found)

    async def delete(self, name: str) -> None:
        """See Blobs."""
        with _translated(), contextlib.suppress(NotFoundError, FileNotFoundError):
            await asyncio.to_thread(obstore.delete, self._store, name)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """See Blobs."""
        pages = iter(obstore.list(self._store, prefix or None, chunk_size=PAGE))
        while True:
            with _translated():
                page = await asyncio.to_thread(next, pages, ())
            if not page:
                return
            for meta in page:
                yield BlobInfo(
                    name=meta["path"],
                    size_bytes=meta["size"],
                    modified_at=meta["last_modified"],
                )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> BlobUnavailableError:
    """Say what kind of failure it was: the storage's own words may repeat addresses and keys."""
    return BlobUnavailableError(f"the place for blobs did not answer: {type(error).__name__}")
