from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.node import atomic_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_as_a_whole_with_its_permissions(tmp_path: Path) -> None:
    """No temporary file stays."""
    path = tmp_path / "file"
    for data, mode in ((b"one", 0o600), (b"two", 0o644)):
        atomic_file.replace(path, data, mode)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (data, mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    """A folder has the file's name here."""
    folder = tmp_path / "file"
    folder.mkdir()
    with pytest.raises(OSError, match="file"):
        atomic_file.replace(folder, b"data", 0o600)
    assert list(tmp_path.iterdir()) == [folder]


def test_without_data_the_file_is_removed(tmp_path: Path) -> None:
    """It may be missing already."""
    path = tmp_path / "file"
    atomic_file.replace_or_remove(path, b"data", 0o600)
    assert path.read_bytes() == b"data"
    for _ in range(2):
        atomic_file.replace_or_remove(path, b"", 0o600)
    assert not path.exists()


def test_a_sweep_removes_temporary_files_and_folders_only(tmp_path: Path) -> None:
    """Also a link to a folder, but not that folder."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / ".genie-file").touch()
    (tmp_path / ".genie-folder" / "below").mkdir(parents=True)
    (tmp_path / ".genie-link").symlink_to(kept)
    atomic_file.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
