"""Where the files of an archive are kept."""

import asyncio
import os
from pathlib import Path
from typing import Protocol

from drivewake.runtime.errors import DrivewakeError, NotFoundError


class FilesError(DrivewakeError):
    """The place where the archive is kept refused or failed."""


class Files(Protocol):
    """Files by name: `a/b.c`, relative. Methods may raise FilesError."""

    async def put(self, name: str, data: bytes) -> None:
        """Keep a file; returning means durable. A file of that name is replaced, never mixed."""
        ...

    async def get(self, name: str) -> bytes:
        """Return a file; raises NotFoundError."""
        ...


class Folder:
    """Files below a folder, which may be a mounted share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def put(self, name: str, data: bytes) -> None:
        """See Files."""
        await asyncio.to_thread(_write, self.path / name, data)

    async def get(self, name: str) -> bytes:
        """See Files."""
        try:
            return await asyncio.to_thread((self.path / name).read_bytes)
        except FileNotFoundError as error:
            raise NotFoundError(name) from error
        except OSError as error:
            raise FilesError(f"{name} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """Write beside, flush to the disk, put in place, flush the folders."""
    beside = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        for folder in (path.parent, path.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise FilesError(f"{path.name} cannot be written: {error.strerror}") from error
