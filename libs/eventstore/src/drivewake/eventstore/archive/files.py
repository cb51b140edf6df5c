"""Where the files of an archive are kept: a folder, or object storage."""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from drivewake.eventstore.errors import ArchiveError, ArchiveUnavailableError
from drivewake.runtime.blobs import Blobs, ObjectBlobs, checked_url
from drivewake.runtime.errors import BlobMissingError, BlobTooLargeError, BlobUnavailableError


class Files(Protocol):
    """Files by name: `a/b.c`, relative. Methods may raise ArchiveUnavailableError: try later.

    Safe to share between tasks; `drivewake.lab.suites.archive_files` is what each must do.
    """

    async def put(self, name: str, data: bytes) -> None:
        """Keep a file; returning means durable. A file of that name is replaced, never mixed."""
        ...

    async def get(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a file; raises ArchiveError if it is missing, or larger than the limit."""
        ...


def checked_place(url: str) -> str:
    """Return the address of a place for an archive; raise ValueError if it can be none."""
    parts = urlsplit(checked_url(url))
    if parts.scheme == "memory":
        raise ValueError("memory is no place for an archive")
    if parts.scheme == "file" and (parts.netloc or parts.path in ("", "/")):
        raise ValueError("a folder is written file:///absolute/path")
    if parts.scheme != "file" and not parts.netloc:
        raise ValueError(f"the bucket is missing: {parts.scheme}://bucket/prefix")
    return url


def open_files(url: str) -> Files:
    """Return the files at an address; credentials come from the environment (AWS_…).

    `s3://bucket/prefix`, `gs://…`, `az://…`, or `file:///folder`. Raises ValueError, and
    ConfigurationError, without asking anybody.
    """
    parts = urlsplit(checked_place(url))
    if parts.scheme == "file":
        return Folder(Path(unquote(parts.path)))
    return ObjectFiles(ObjectBlobs.open(url))


class ObjectFiles:
    """Files in object storage: large ones go up in parts, and appear whole or not at all."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put(self, name: str, data: bytes) -> None:
        """See Files."""
        try:
            await self._blobs.put(name, data)
        except BlobUnavailableError as error:
            raise ArchiveUnavailableError(f"{name} cannot be written: {error}") from error

    async def get(self, name: str, *, limit_bytes: int) -> bytes:
        """See Files."""
        try:
            return await self._blobs.get(name, limit_bytes=limit_bytes)
        except BlobMissingError as error:
            raise _missing(name) from error
        except BlobTooLargeError as error:
            raise _too_large(name) from error
        except BlobUnavailableError as error:
            raise ArchiveUnavailableError(f"{name} cannot be read: {error}") from error


class Folder:
    """Files below a folder, which may be a mounted share.

    Not obstore's local store: that does not flush to the disk before it answers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def put(self, name: str, data: bytes) -> None:
        """See Files."""
        await asyncio.to_thread(_write, self.path, self.path / name, data)

    async def get(self, name: str, *, limit_bytes: int) -> bytes:
        """See Files."""
        try:
            data = await asyncio.to_thread(_read, self.path / name, limit_bytes + 1)
        except FileNotFoundError as error:
            raise _missing(name) from error
        except OSError as error:
            raise ArchiveUnavailableError(f"{name} cannot be read: {error.strerror}") from error
        if len(data) > limit_bytes:
            raise _too_large(name)
        return data


def _missing(name: str) -> ArchiveError:
    return ArchiveError(f"{name} is missing from the archive")


def _too_large(name: str) -> ArchiveError:
    return ArchiveError(f"{name}: not the file that was written, but a larger one")


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most_bytes)


def _write(root: Path, path: Path, data: bytes) -> None:
    """Write beside, flush to the disk, put in place, flush the folders up to the root.

    Any of them may be new, and a folder that its own folder does not know after a power cut is
    lost with all that is in it. Beside is a name of its own: a writer that was given up may still
    be at work.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        for folder in (root / part for part in path.relative_to(root).parents):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise ArchiveUnavailableError(f"{path.name} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
