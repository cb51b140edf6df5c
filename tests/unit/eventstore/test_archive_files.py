"""Where an archive is kept: what is put there survives a power cut."""

import os
from pathlib import Path

import pytest

from drivewake.eventstore.archive.files import Folder


async def test_a_file_and_every_folder_above_it_are_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month's rows are deleted on the word of its files: no new folder may be forgotten."""
    flushed: list[Path] = []

    def fsync(descriptor: int, real: object = os.fsync) -> None:
        assert callable(real)
        real(descriptor)
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    root = tmp_path / "archive"
    await Folder(root).put("events/2026-01/1/lane-0/1.zst", b"x")
    folder = root / "events/2026-01/1/lane-0"
    assert "1.zst." in flushed[0].name
    assert [folder, *list(folder.parents)[:4]] == flushed[1:]
    assert b"x" == await Folder(root).get("events/2026-01/1/lane-0/1.zst", limit_bytes=1)
